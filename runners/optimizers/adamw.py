"""AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Interval
from mindspore import Parameter, Tensor, ops
from mindspore.experimental import optim

from lossfleet.runners.optimizers.optimizer import Optimizer


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay.

        m_t = beta1 m_(t-1) + (1 - beta1) g_t,  v_t = beta2 v_(t-1) + (1 - beta2) g_t^2,
        x_t = (1 - lr weight_decay) x_(t-1) - lr m_hat / (sqrt(v_hat) + epsilon)

    with m_hat = m_t / (1 - beta1^t) and v_hat = v_t / (1 - beta2^t).

    Reference: Loshchilov and Hutter 2019, arXiv 1711.05101; Kingma and Ba 2015, arXiv 1412.6980.
    """

    lr: Annotated[float, Gt(0)] = 1e-2
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    beta1: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Gt(0)] = 1e-8

    def coefficients(
        self, learning_rate: np.ndarray, weight_decay: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Step size, shifted epsilon and decay; see Optimizer.

        Moments are kept without their factors, M_t = beta1 M_(t-1) + g = m_t / (1 - beta1) and
        V_t = beta2 V_(t-1) + g^2 = v_t / (1 - beta2), which spares two operations on the buffer a moment. Then
        lr m_hat / (sqrt(v_hat) + epsilon) = step_size M / (sqrt(V) + shifted_epsilon), where, with
        r = sqrt((1 - beta2^t) / (1 - beta2)), step_size = lr r (1 - beta1) / (1 - beta1^t) and
        shifted_epsilon = epsilon r. In float32 1 - beta2^t would lose four digits at the first steps.
        """
        root = np.sqrt(sum_of_powers(self.beta2, step))
        step_size = learning_rate * root / sum_of_powers(self.beta1, step)
        return step_size, self.epsilon * root, learning_rate * weight_decay

    def update(
        self,
        parameters: Tensor,
        first_moment: Tensor,
        second_moment: Tensor,
        gradient: Tensor,
        coefficients: tuple[Tensor, ...],
        trainable: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See Optimizer."""
        step_size, shifted_epsilon, decay = coefficients
        first_moment = self.beta1 * first_moment + gradient
        second_moment = self.beta2 * second_moment + gradient * gradient
        direction = ops.RealDiv()(first_moment, ops.sqrt(second_moment) + shifted_epsilon)
        kept = parameters * (1.0 - decay * trainable)
        return kept - step_size * trainable * direction, first_moment, second_moment

    def stock(self, parameters: list[Parameter]) -> Any:
        """`mindspore.experimental.optim.AdamW`."""
        return optim.AdamW(
            parameters,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )


def sum_of_powers(beta: float, count: np.ndarray) -> np.ndarray:
    """1 + beta + ... + beta^(count - 1) = (1 - beta^count) / (1 - beta)."""
    return np.expm1(count * np.log(beta)) / (beta - 1) if beta > 0 else np.ones(count.shape)
