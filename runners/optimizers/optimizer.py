"""What an optimizer is: coefficients from the host for every step, and an update of the buffers of all members."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor


class Optimizer(ABC):
    """An optimizer of many members; a frozen dataclass whose fields are its settings.

    `lr` and `weight_decay` are each member's own, and come as coefficients; the other settings are numbers in the
    graph.
    """

    lr: float
    weight_decay: float

    @abstractmethod
    def coefficients(
        self, learning_rate: np.ndarray, weight_decay: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """What an update needs beside the gradient, computed in float64, so that schedules are data.

        Args:
            learning_rate: (S, K), of each step of an epoch and each member.
            weight_decay: (K,).
            step: (S, K) int, the number of the step, from 1.

        Returns:
            Arrays (S, K).
        """

    def packed(self, learning_rate: np.ndarray, weight_decay: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The coefficients as a graph takes them, (N, S, K, 1) float32; arguments as for `coefficients`."""
        return np.stack(self.coefficients(learning_rate, weight_decay, step))[..., None].astype(np.float32)

    @abstractmethod
    def update(
        self,
        parameters: Tensor,
        first_moment: Tensor,
        second_moment: Tensor,
        gradient: Tensor,
        coefficients: tuple[Tensor, ...],
        trainable: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step on the buffers of all members, in a graph.

        Args:
            parameters, gradient: (K, P).
            first_moment, second_moment: (K, P), 0 before the first step; what it has no use for it returns as it is.
            coefficients: of this step, each (K, 1).
            trainable: (1, P), 1 where a parameter may change and 0 where it must stay.

        Returns:
            The new parameters, first_moment and second_moment.
        """

    @abstractmethod
    def stock(self, parameters: list[Parameter]) -> Any:
        """MindSpore's own optimizer of these settings, from `mindspore.experimental.optim`."""
