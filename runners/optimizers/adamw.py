"""AdamW for a fleet: every slot has its own learning rate, weight decay and step count."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt
from mindspore import Tensor, ops


class AdamW:
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        lr: Annotated[float, Gt(0)],
        weight_decay: Annotated[float, Ge(0)] = 1e-4,
        beta1: Annotated[float, Ge(0), Lt(1)] = 0.9,
        beta2: Annotated[float, Ge(0), Lt(1)] = 0.999,
        epsilon: Annotated[float, Gt(0)] = 1e-8,
    ) -> None:
        raise NotImplementedError


def adamw_coefficients(
    learning_rate: np.ndarray,
    first_step: np.ndarray,
    steps: int,
    *,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The bias-corrected step size and epsilon of each slot at each step of an epoch.

    The fleet keeps moments without their factors, M_t = beta1 M_(t-1) + g = m_t / (1 - beta1) and
    V_t = beta2 V_(t-1) + g^2 = v_t / (1 - beta2), which spares two operations on the buffer a moment. Then
    lr m_hat / (sqrt(v_hat) + epsilon) = step_size M / (sqrt(V) + shifted_epsilon), where, with
    r = sqrt((1 - beta2^t) / (1 - beta2)), step_size = lr r (1 - beta1) / (1 - beta1^t) and
    shifted_epsilon = epsilon r.
    Computed here in float64: 1 - beta2^t loses four digits in float32 at the first steps.

    Args:
        learning_rate: (K,).
        first_step: (K,) int, the t of the epoch's first step, at least 1.
        steps: S, steps of the epoch.

    Returns:
        step_size and shifted_epsilon, each (S, K, 1) float32.

    Reference: Loshchilov and Hutter 2019, arXiv 1711.05101; Kingma and Ba 2015, arXiv 1412.6980.
    """
    step = first_step + np.arange(steps)[:, None]
    root = np.sqrt(_sum_of_powers(beta2, step))
    step_size = learning_rate * root / _sum_of_powers(beta1, step)
    return step_size[..., None].astype(np.float32), (epsilon * root)[..., None].astype(np.float32)


def adamw_update(
    parameters: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    *,
    step_size: Tensor,
    shifted_epsilon: Tensor,
    decay: Tensor,
    beta1: float,
    beta2: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of AdamW on the buffers (K, P) of all slots.

    Args:
        parameters, first_moment, second_moment, gradient: (K, P); moments as `adamw_coefficients` says.
        step_size: (K, P), from `adamw_coefficients`, 0 where nothing is trained.
        shifted_epsilon: (K, 1), from `adamw_coefficients`.
        decay: (K, P), 1 - lr weight_decay.

    Returns:
        The new parameters, first_moment and second_moment.
    """
    first_moment = beta1 * first_moment + gradient
    second_moment = beta2 * second_moment + gradient * gradient
    direction = ops.RealDiv()(first_moment, ops.sqrt(second_moment) + shifted_epsilon)
    return parameters * decay - step_size * direction, first_moment, second_moment


def _sum_of_powers(beta: float, count: np.ndarray) -> np.ndarray:
    """1 + beta + ... + beta^(count - 1) = (1 - beta^count) / (1 - beta)."""
    return np.expm1(count * np.log(beta)) / (beta - 1) if beta > 0 else np.ones(count.shape)
