"""Losses of many models at once, in the form that a fleet trains fastest in.

A loss may name such a form of its own by `stacked_as`. The loss itself stays the definition: a test holds the form to
it, and whoever trains one model calls the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import ArrayLike

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Adjustment:
    """What a loss makes of the logits z before cross-entropy takes them, by what is known of the classes.

        s_c = scale_c z_c + offset_c, less margin_c where c is the label

    Attributes:
        scale, offset, margin: a number, or an array (C,).
    """

    scale: ArrayLike = 1.0
    offset: ArrayLike = 0.0
    margin: ArrayLike = 0.0

    def rows(self, classes: int) -> np.ndarray:
        """Scale, offset and margin of each class, (3, C) float32."""
        parts = (self.scale, self.offset, self.margin)
        return np.stack([np.broadcast_to(np.asarray(each, np.float32), classes) for each in parts])


@dataclass(frozen=True)
class StackedForm:
    """What a fleet calls in the place of a loss.

    Attributes:
        function: takes logits (K, C, B), labels (K, B) and keywords.
        constants: numbers among its keywords that are no settings of the loss.
        times_class_weight: the loss is what it returns times the class weight of the label.
        adjustment: gives what is made of the logits first, from class counts (C,) and settings of the loss.
    """

    function: Callable[..., Tensor]
    constants: tuple[tuple[str, float], ...] = ()
    times_class_weight: bool = False
    adjustment: Callable[..., Adjustment] | None = None


def stacked_as(
    function: Callable[..., Tensor],
    *,
    times_class_weight: bool = False,
    adjustment: Callable[..., Adjustment] | None = None,
    **constants: float,
) -> Callable[[Function], Function]:
    """Marks a loss that is a case of another function, which a fleet calls instead.

    Losses of the same function share a graph, so a loss that is a case of another costs no graph of its own.
    """
    form = StackedForm(function, tuple(constants.items()), times_class_weight, adjustment)

    def mark(original: Function) -> Function:
        original.stacked_form = form  # type: ignore[attr-defined]
        return original

    return mark


class StackedFocal(nn.Cell):
    """Focal loss of the softmax and its slope in closed form, gamma 0 being cross-entropy.

        loss = -q^gamma log p_t,  d loss / d logit_j = q^gamma (1 - gamma p_t log(p_t) / q) (p_j - y_j)

    with q = 1 - p_t summed from the other classes, so that it is exact where p_t rounds to 1. The closed form spares
    the backward graph, and sums over classes are matrix products, since reductions cost ten times as much.
    """

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()
        self.reciprocal = ops.Reciprocal()
        self.divide = ops.RealDiv()
        self.largest = ops.ReduceMax(keep_dims=True)
        self.smallest = float(np.finfo(np.float32).tiny)

    def construct(self, logits: Tensor, labels: Tensor, gamma: Tensor) -> tuple[Tensor, ...]:
        """Losses (K, 1, B), and what the slope needs of the way there.

        Args:
            logits: (K, C, B) float32.
            labels: (K, B) int32.
            gamma: (K, 1, B).
        """
        members, classes, _ = logits.shape
        ones = ops.ones((members, 1, classes), ms.float32)
        one_hot = ops.one_hot(labels, classes, 1.0, 0.0, 1)
        shifted = logits - self.largest(logits, 1)
        exponentials = ops.exp(shifted)
        at_label = exponentials * one_hot
        others = exponentials - at_label
        of_label = self.product(ones, at_label)
        of_others = self.product(ones, others)
        # of_label is 1 where the label has the largest logit: log1p keeps the digits of small others.
        beyond_one = (of_label - 1.0) + of_others
        cross_entropy = log1p(beyond_one) - self.product(ones, shifted * one_hot)
        reciprocal = self.reciprocal(beyond_one + 1.0)
        # Below the smallest normal number the logarithm would be -inf, and gamma 0 times it NaN.
        one_minus_p = ops.maximum(of_others * reciprocal, self.smallest)
        modulation = ops.exp(gamma * ops.log(one_minus_p))
        p_label = of_label * reciprocal
        coefficient = (
            modulation * reciprocal * (1.0 + self.divide(gamma * p_label * cross_entropy, one_minus_p))
        )
        return modulation * cross_entropy, coefficient, others, of_others, one_hot

    def bprop(
        self, logits: Tensor, labels: Tensor, gamma: Tensor, out: tuple[Tensor, ...], dout: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, coefficient, others, of_others, one_hot = out
        # p_t - 1 is taken as -q: the difference would round to 0 for confident predictions.
        slope = coefficient * dout[0] * (others - one_hot * of_others)
        return slope, ops.zeros_like(labels), ops.zeros_like(gamma)


_stacked_focal = StackedFocal()


def stacked_focal(logits: Tensor, labels: Tensor, *, gamma: Tensor) -> Tensor:
    """Focal loss without class weights, of many models; it has no derivative by gamma.

        -(1 - p_t)^gamma log p_t

    Args:
        logits: (K, C, B) float32.
        labels: (K, B) int32 in 0..C-1.
        gamma: (K, B), at least 0.

    Returns:
        (K, B).
    """
    return ops.squeeze(_stacked_focal(logits, labels, ops.expand_dims(gamma, 1))[0], 1)


def adjusted_logits(logits: Tensor, labels: Tensor, scale: Tensor, offset: Tensor, margin: Tensor) -> Tensor:
    """What an `Adjustment` makes of the logits of many models.

    Args:
        logits: (K, C, B) float32.
        labels: (K, B) int32 in 0..C-1.
        scale, offset, margin: (K, C).

    Returns:
        (K, C, B).
    """
    one_hot = ops.one_hot(labels, logits.shape[1], 1.0, 0.0, 1)
    of_label = one_hot * ops.expand_dims(margin, 2)
    return logits * ops.expand_dims(scale, 2) + ops.expand_dims(offset, 2) - of_label


def log1p(x: Tensor) -> Tensor:
    """log(1 + x) = 2 atanh(x / (2 + x)) for x > -1, which no compiler simplifies to the log of the rounded 1 + x."""
    return 2.0 * ops.atanh(ops.RealDiv()(x, 2.0 + x))
