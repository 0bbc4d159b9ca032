"""Stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Interval
from mindspore import Parameter, Tensor
from mindspore.experimental import optim

from lossfleet.runners.optimizers.optimizer import Optimizer


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent with momentum; weight decay is part of the gradient.

        g_t = gradient + weight_decay x_(t-1),  m_t = momentum m_(t-1) + g_t,
        x_t = x_(t-1) - lr m_t, or with `nesterov` x_t = x_(t-1) - lr (g_t + momentum m_t)

    Reference: Sutskever et al. 2013 (ICML), in the form of PyTorch and MindSpore.
    """

    lr: Annotated[float, Gt(0)] = 1e-1
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    nesterov: bool = False

    def coefficients(
        self, learning_rate: np.ndarray, weight_decay: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Learning rate and weight decay; see Optimizer."""
        return learning_rate, np.broadcast_to(weight_decay, learning_rate.shape)

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
        learning_rate, weight_decay = coefficients
        gradient = gradient + weight_decay * parameters
        first_moment = self.momentum * first_moment + gradient
        direction = gradient + self.momentum * first_moment if self.nesterov else first_moment
        return parameters - learning_rate * trainable * direction, first_moment, second_moment

    def stock(self, parameters: list[Parameter]) -> Any:
        """`mindspore.experimental.optim.SGD`."""
        return optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            # Without momentum there is nothing to look ahead by, and MindSpore refuses to.
            nesterov=self.nesterov and self.momentum > 0,
        )
