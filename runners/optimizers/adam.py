"""Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Interval
from mindspore import Parameter, Tensor, ops
from mindspore.experimental import optim

from lossfleet.runners.optimizers.adamw import sum_of_powers
from lossfleet.runners.optimizers.optimizer import Optimizer


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam; weight decay is part of the gradient.

        g_t = gradient + weight_decay x_(t-1),
        m_t = beta1 m_(t-1) + (1 - beta1) g_t,  v_t = beta2 v_(t-1) + (1 - beta2) g_t^2,
        x_t = x_(t-1) - lr sqrt(1 - beta2^t) / (1 - beta1^t) m_t / (sqrt(v_t) + epsilon)

    This is the form at the end of the paper's section 2, and MindSpore's. In PyTorch's, and in `AdamW`, epsilon is
    that much larger as sqrt(1 - beta2^t) is smaller than 1; at 1e-8 it makes no difference.

    Reference: Kingma and Ba 2015, arXiv 1412.6980.
    """

    lr: Annotated[float, Gt(0)] = 1e-2
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    beta1: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Gt(0)] = 1e-8

    def coefficients(
        self, learning_rate: np.ndarray, weight_decay: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Step size, shifted epsilon and weight decay, for moments without their factors as in AdamW; see Optimizer."""
        step_size = learning_rate * np.sqrt(sum_of_powers(self.beta2, step)) / sum_of_powers(self.beta1, step)
        shifted_epsilon = np.full(step_size.shape, self.epsilon / np.sqrt(1 - self.beta2))
        return step_size, shifted_epsilon, np.broadcast_to(weight_decay, step_size.shape)

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
        step_size, shifted_epsilon, weight_decay = coefficients
        gradient = gradient + weight_decay * parameters
        first_moment = self.beta1 * first_moment + gradient
        second_moment = self.beta2 * second_moment + gradient * gradient
        direction = ops.RealDiv()(first_moment, ops.sqrt(second_moment) + shifted_epsilon)
        return parameters - step_size * trainable * direction, first_moment, second_moment

    def stock(self, parameters: list[Parameter]) -> Any:
        """`mindspore.experimental.optim.Adam`."""
        return optim.Adam(
            parameters,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
