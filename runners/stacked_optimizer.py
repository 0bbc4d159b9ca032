"""AdamW for a fleet: every slot has its own learning rate, weight decay and step count."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops


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

    lr m_hat / (sqrt(v_hat) + epsilon) = step_size m / (sqrt(v) + shifted_epsilon), where
    step_size = lr sqrt(1 - beta2^t) / (1 - beta1^t) and shifted_epsilon = epsilon sqrt(1 - beta2^t).
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
    first_correction = -np.expm1(step * np.log(beta1)) if beta1 > 0 else np.ones(step.shape)
    second_correction = -np.expm1(step * np.log(beta2)) if beta2 > 0 else np.ones(step.shape)
    root = np.sqrt(second_correction)
    step_size = learning_rate * root / first_correction
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
        parameters, first_moment, second_moment, gradient: (K, P).
        step_size, shifted_epsilon: (K, 1), from `adamw_coefficients`.
        decay: (K, P), 1 - lr weight_decay.

    Returns:
        The new parameters, first_moment and second_moment.
    """
    # Coefficients are tiled: same-shape arithmetic is three times as fast as broadcasting.
    repeat = (1, parameters.shape[1])
    first_moment = first_moment + (1 - beta1) * (gradient - first_moment)
    second_moment = second_moment + (1 - beta2) * (ops.square(gradient) - second_moment)
    denominator = ops.sqrt(second_moment) + ops.tile(shifted_epsilon, repeat)
    parameters = parameters * decay - ops.tile(step_size, repeat) * first_moment / denominator
    return parameters, first_moment, second_moment
