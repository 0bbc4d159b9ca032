"""The numbers under the losses: the log-odds of the label, and functions of them that keep their digits.

The log-odds are m = log(p_t / (1 - p_t)): the label's logit less the log-sum-exp of all others. They say everything
that a loss needs, and are as precise for confident predictions, where p_t rounds to 1, as for wrong ones. For a
sigmoid loss they are x for label 1 and -x for label 0.

MindSpore's float32 kernels on the CPU are fast approximations: exp is off by up to 2e-5 relative, log by 4e-6,
log1p(x) is log(1 + x), expm1(1e-8) and softplus(-17) are 0. Values are therefore computed by tanh and expm1 where
they keep their digits, pow, xlogy, and the cross-entropy of the sigmoid, which is right in both tails. What is left is
the rounding of the log-odds: 4e-6 of a loss of 1e-30, twice that with more than two classes.

Cells give derivatives in closed form, which can be derived again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

# Low enough to be no rival to any logit, and still finite.
_NO_RIVAL = -3e38
_ZERO, _ONE = Tensor(0.0, ms.float32), Tensor(1.0, ms.float32)
_SMALLEST = float(np.finfo(np.float32).tiny)

_largest = ops.ArgMaxWithValue(1)
_product = ops.BatchMatMul()
_outer_product = ops.MatMul()
_sum = ops.ReduceSum()
_ones = ops.Ones()
_tile = ops.Tile()
_reshape = ops.Reshape()
_expand_dims = ops.ExpandDims()
_gather = ops.GatherD()
_one_hot = ops.OneHot(1)
_cast = ops.Cast()
_xlogy = ops.Xlogy()
_sigmoid_cross_entropy = ops.SigmoidCrossEntropyWithLogits()


class OverClasses(nn.Cell):
    """Values (N, ...) repeated for each of the classes, (N, C, ...): faster than to broadcast."""

    def construct(self, values: Tensor, classes: int) -> Tensor:
        if values.ndim == 1:
            return _outer_product(_expand_dims(values, 1), _ones((1, classes), values.dtype))
        return _tile(_expand_dims(values, 1), (1, classes) + (1,) * (values.ndim - 1))

    def bprop(self, values: Tensor, classes: int, out: Tensor, dout: Tensor) -> tuple[Tensor, int]:
        return sum_of_classes(dout), classes


class SumOfClasses(nn.Cell):
    """The sum (N, ...) of values (N, C, ...): where C is not last, a matrix product is ten times faster."""

    def construct(self, values: Tensor) -> Tensor:
        shape = values.shape
        if len(shape) == 2:
            return _sum(values, 1)
        ones = _ones((shape[0], 1, shape[1]), values.dtype)
        total = _product(ones, _reshape(values, shape[:2] + (-1,)))
        # The sum over the axis of 1, since PyNative's second derivative is wrong if a view is returned.
        return _sum(_reshape(total, shape[:1] + (1,) + shape[2:]), 1)

    def bprop(self, values: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor]:
        return (over_classes(dout, values.shape[1]),)


class OneHot(nn.Cell):
    """Labels (N, ...) as 1 and 0 in the shape and type of `like`, (N, C, ...)."""

    def construct(self, labels: Tensor, like: Tensor) -> Tensor:
        return _cast(_one_hot(_cast(labels, ms.int32), like.shape[1], _ONE, _ZERO), like.dtype)


class OfLabel(nn.Cell):
    """The values (N, C, ...) at labels (N, ...), in their shape."""

    def construct(self, values: Tensor, labels: Tensor) -> Tensor:
        return _reshape(_gather(values, 1, _expand_dims(labels, 1)), labels.shape)


class Focal(nn.Cell):
    """The focal loss -(1 - p_t)^gamma log p_t of log-odds; gamma is a number or has their shape.

    Args:
        gradient: what is called as `FocalGradient` is.
    """

    def __init__(self, gradient: Callable[..., Tensor]) -> None:
        super().__init__()
        self.gradient = gradient

    def construct(self, log_odds: Tensor, gamma: float | Tensor) -> Tensor:
        cross_entropy, one_minus_p = label_probability(log_odds)
        return ops.pow(one_minus_p, gamma) * cross_entropy

    def bprop(
        self, log_odds: Tensor, gamma: float | Tensor, out: Tensor, dout: Tensor
    ) -> tuple[Tensor, float | Tensor]:
        by_gamma = dout * out * log_one_minus_p(log_odds) if isinstance(gamma, Tensor) else gamma
        return self.gradient(log_odds, gamma, dout), by_gamma


class FocalGradient(nn.Cell):
    """The focal loss's gradient by the log-odds, dout (1 - p_t)^gamma (gamma p_t log p_t - (1 - p_t))."""

    def construct(self, log_odds: Tensor, gamma: float | Tensor, dout: Tensor) -> Tensor:
        cross_entropy, one_minus_p = label_probability(log_odds)
        return (
            ((one_minus_p - 1.0) * cross_entropy * gamma - one_minus_p) * ops.pow(one_minus_p, gamma) * dout
        )


class LabelFocal(nn.Cell):
    """The focal loss of a label in C classes, (N, ...), its log-odds, and what their derivative is made of.

    That is the other classes' odds against the largest of them, e^(logit - largest), (N, C, ...), 0 at the label and
    right to an absolute 2e-7, and their sum over the classes, (N, ...). Only `LabelSlope` may use them:
    they have no derivative of their own.

    Args:
        gradient: what is called as `LabelFocalGradient` is.

    Inputs:
        logits: (N, C, ...) float32 or float64.
        labels: (N, ...) int32.
        gamma: a number, or a Tensor (N, ...).
    """

    def __init__(self, gradient: Callable[..., Tensor]) -> None:
        super().__init__()
        self.gradient = gradient

    def construct(
        self, logits: Tensor, labels: Tensor, gamma: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        others = logits + one_hot(labels, logits) * _NO_RIVAL
        largest = _largest(others)[1]
        # e^x = ((1 + t) / (1 - t))^2 of t = tanh(x / 4), which takes half as long as expm1.
        t = ops.tanh((others - over_classes(largest, logits.shape[1])) * 0.25)
        odds = ops.square(ops.xdivy(1.0 + t, 1.0 - t))
        sum_others = sum_of_classes(odds)
        log_odds = (
            of_label(logits, labels) - largest - _xlogy(_ones(sum_others.shape, sum_others.dtype), sum_others)
        )
        return focal(log_odds, gamma), log_odds, odds, sum_others

    def bprop(
        self,
        logits: Tensor,
        labels: Tensor,
        gamma: float | Tensor,
        out: tuple[Tensor, Tensor, Tensor, Tensor],
        dout: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, float | Tensor]:
        losses, log_odds, odds, sum_others = out
        by_gamma = dout[0] * losses * log_one_minus_p(log_odds) if isinstance(gamma, Tensor) else gamma
        by_logits = self.gradient(logits, labels, gamma, log_odds, odds, sum_others, dout[0], dout[1])
        return by_logits, labels, by_gamma


class LabelFocalGradient(nn.Cell):
    """The gradient by the logits of a `LabelFocal`, of whose outputs the losses and the log-odds have one."""

    def construct(
        self,
        logits: Tensor,
        labels: Tensor,
        gamma: float | Tensor,
        log_odds: Tensor,
        odds: Tensor,
        sum_others: Tensor,
        by_losses: Tensor,
        by_log_odds: Tensor,
    ) -> Tensor:
        dout = focal_gradient(log_odds, gamma, by_losses) + by_log_odds
        return label_slope(logits, labels, odds, sum_others, dout)


class LabelSlope(nn.Cell):
    """The derivative of the label's log-odds by the logits: 1 at the label, elsewhere less the share among the others.

    A cell of its own, for its own derivative. It takes the logits for this alone.
    """

    def construct(
        self, logits: Tensor, labels: Tensor, odds: Tensor, sum_others: Tensor, dout: Tensor
    ) -> Tensor:
        classes = logits.shape[1]
        at_label = over_classes(dout, classes) * one_hot(labels, logits)
        return at_label - over_classes(dout / sum_others, classes) * odds

    def bprop(
        self,
        logits: Tensor,
        labels: Tensor,
        odds: Tensor,
        sum_others: Tensor,
        dout: Tensor,
        out: Tensor,
        by_slope: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        classes = logits.shape[1]
        share = odds / over_classes(sum_others, classes)
        mean = sum_of_classes(share * by_slope)
        by_logits = over_classes(dout, classes) * share * (over_classes(mean, classes) - by_slope)
        by_dout = of_label(by_slope, labels) - mean
        return by_logits, labels, ops.zeros_like(odds), ops.zeros_like(sum_others), by_dout


class LabelProbability(nn.Cell):
    """-log p_t and 1 - p_t of log-odds, both to the last digits in both tails."""

    def construct(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        cross_entropy = _sigmoid_cross_entropy(log_odds, _ones(log_odds.shape, log_odds.dtype))
        return cross_entropy, ops.reciprocal(ops.expm1(log_odds) + 2.0)

    def bprop(
        self, log_odds: Tensor, out: tuple[Tensor, Tensor], dout: tuple[Tensor, Tensor]
    ) -> tuple[Tensor]:
        one_minus_p = out[1]
        return (-one_minus_p * (dout[0] + (1.0 - one_minus_p) * dout[1]),)


class LogOneMinusP(nn.Cell):
    """log(1 - p_t) of log-odds, finite where 1 - p_t is 0."""

    def construct(self, log_odds: Tensor) -> Tensor:
        return ops.log(ops.maximum(label_probability(log_odds)[1], _SMALLEST))


# Cells, since PyNative's second derivatives of gather, tile, sum and views are wrong; of primitives and other
# cells only, since a graph's second derivative cannot call functions.
over_classes = OverClasses()
sum_of_classes = SumOfClasses()
label_probability = LabelProbability()
log_one_minus_p = LogOneMinusP()
one_hot = OneHot()
of_label = OfLabel()
label_slope = LabelSlope()
focal_gradient = FocalGradient()
focal = Focal(focal_gradient)
label_focal_gradient = LabelFocalGradient()
label_focal = LabelFocal(label_focal_gradient)


def log_odds_of_each(logits: Tensor) -> Tensor:
    """The log-odds of every class, as if it were the label.

    Args:
        logits: (N, C, ...) float32 or float64.

    Returns:
        (N, C, ...).
    """
    classes = logits.shape[1]
    top, largest = _largest(ops.stop_gradient(logits))
    is_top = one_hot(top, logits)
    of_top = label_focal(logits, ops.cast(top, ms.int32), 0.0)[1]
    shifted = logits - over_classes(largest, classes)
    exponentials = ops.expm1(shifted) + 1.0
    # Taking a class from the total is exact enough but for the largest, whose rivals may be tiny beside it.
    others = over_classes(sum_of_classes(exponentials), classes) - exponentials + is_top
    of_others = shifted - _xlogy(ops.ones_like(others), others)
    return over_classes(of_top, classes) * is_top + of_others * (1.0 - is_top)


def at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, since e^12 is out of float16's range; others unchanged."""
    return values if values.dtype == ms.float64 else ops.cast(values, ms.float32)


def of_classes(values: Tensor, logits: Tensor) -> Tensor:
    """Values (C,) or (N, C) of the classes as they broadcast with logits (N, C, ...), in their type."""
    return ops.cast(values, logits.dtype).reshape((-1, logits.shape[1]) + (1,) * (logits.ndim - 2))


def with_class_axis(values: Any, axes: int) -> Any:
    """Values over the leading axes of losses with so many axes, as they broadcast with logits (N, C, ...)."""
    values = over_leading_axes(values, axes)
    return ops.expand_dims(values, 1) if isinstance(values, Tensor) and values.ndim else values


def over_leading_axes(values: Any, axes: int) -> Any:
    """A Tensor over the leading axes of something with so many axes, as it broadcasts; others unchanged."""
    if not isinstance(values, Tensor) or values.ndim == 0:
        return values
    return values.reshape(values.shape + (1,) * (axes - values.ndim))
