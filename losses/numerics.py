"""The numbers under the losses: the odds of the true class, and functions of them that keep their digits.

The odds against the true class t are (1 - p_t) / p_t = crowd * e^-lead: its *lead* is x_t less the largest other
logit, and its *crowd* counts the other classes, each by its e^(logit - largest), so that it is at least 1. They
say everything that a softmax loss needs, and are as precise for confident predictions, where p_t rounds to 1, as
for wrong ones. A sigmoid loss has a crowd of 1 and a lead of x for label 1, -x for label 0.

MindSpore's float32 kernels on the CPU are fast approximations: exp is off by up to 2e-5 relative, log1p(x) is
log(1 + x), softplus(-17) is 0. Values are therefore computed by expm1, asinh and pow, which are exact to the
last rounding. Cells give derivatives in closed form, from what the values left; they can be derived again.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

# Low enough to be no rival to any logit, and still finite.
_NO_RIVAL = -3e38
_SMALLEST = float(np.finfo(np.float32).tiny)

_largest = ops.ArgMaxWithValue(1)
_product = ops.BatchMatMul()
_sum = ops.ReduceSum()
_ones = ops.Ones()
_tile = ops.Tile()
_reshape = ops.Reshape()
_expand_dims = ops.ExpandDims()


class OverClasses(nn.Cell):
    """Values (N, ...) repeated for each of the classes, (N, C, ...): ten times faster than to broadcast."""

    def construct(self, values: Tensor, classes: int) -> Tensor:
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


class Rivals(nn.Cell):
    """The label's lead and crowd (N, ...), and the e^(logit - largest other) that the crowd is the sum of.

    Those are (N, C, ...), 0 at the label, and right to an absolute 6e-8. They are the crowd's derivative: its
    label's largest rival cancels out of every loss, and counts as a constant.

    Inputs:
        logits: (N, C, ...) float32 or float64.
        is_label: the shape and type of logits, 1 at the label and 0 elsewhere; it has no derivative.
    """

    def construct(self, logits: Tensor, is_label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        others = logits + is_label * _NO_RIVAL
        largest = _largest(others)[1]
        counted = ops.expm1(others - over_classes(largest, logits.shape[1])) + 1.0
        return sum_of_classes(logits * is_label) - largest, sum_of_classes(counted), counted

    def bprop(
        self,
        logits: Tensor,
        is_label: Tensor,
        out: tuple[Tensor, Tensor, Tensor],
        dout: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        classes = logits.shape[1]
        by_counted = over_classes(dout[1], classes) + dout[2]
        return by_counted * out[2] + over_classes(dout[0], classes) * is_label, is_label


class Surprise(nn.Cell):
    """-log p_t and 1 - p_t of a lead and a crowd, both to the last digits in both tails."""

    def construct(self, lead: Tensor, crowd: Tensor) -> tuple[Tensor, Tensor]:
        behind = ops.minimum(lead, 0.0)
        # The odds, as if a label that is behind were level. Not relu, which makes 0 of NaN.
        odds = crowd / (ops.expm1(lead - behind) + 1.0)
        rest = odds + ops.expm1(behind)
        total = rest + 1.0
        # log(1 + r) = asinh((r + r / (1 + r)) / 2)
        return ops.asinh((rest + rest / total) * 0.5) - behind, odds / total

    def bprop(
        self, lead: Tensor, crowd: Tensor, out: tuple[Tensor, Tensor], dout: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """By the logarithm of the odds: d(-log p_t) = q and dq = q (1 - q)."""
        q = out[1]
        slope = q * (dout[0] + (1.0 - q) * dout[1])
        return -slope, slope / crowd


class Power(nn.Cell):
    """base^exponent for a base in [0, 1], with derivatives that are finite where the base is 0.

    The exponent is a number, or has the shape of the base.
    """

    def construct(self, base: Tensor, exponent: float | Tensor) -> Tensor:
        return ops.pow(base, exponent)

    def bprop(
        self, base: Tensor, exponent: float | Tensor, out: Tensor, dout: Tensor
    ) -> tuple[Tensor, float | Tensor]:
        slope = dout * out
        base = ops.maximum(base, _SMALLEST)
        by_exponent = slope * ops.log(base) if isinstance(exponent, Tensor) else exponent
        return slope * exponent / base, by_exponent


# Cells, since PyNative's second derivatives of gather, tile, sum and views are wrong; of primitives and other
# cells only, since a graph's second derivative cannot call functions.
over_classes = OverClasses()
sum_of_classes = SumOfClasses()
rivals = Rivals()
surprise = Surprise()
power = Power()


def rivals_of_each(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Lead and crowd of every class, as if it were the label.

    Args:
        logits: (N, C, ...) float32 or float64.

    Returns:
        lead and crowd (N, C, ...).
    """
    classes = logits.shape[1]
    top, largest = _largest(ops.stop_gradient(logits))
    is_top = one_hot(top, logits)
    is_rival = 1.0 - is_top
    top_lead, top_crowd, _ = rivals(logits, is_top)
    shifted = logits - over_classes(largest, classes)
    exponentials = ops.expm1(shifted) + 1.0
    # Taking a class from the total is exact enough but for the largest, whose rivals may be tiny beside it.
    others = over_classes(sum_of_classes(exponentials), classes) - exponentials
    return (
        over_classes(top_lead, classes) * is_top + shifted * is_rival,
        over_classes(top_crowd, classes) * is_top + others * is_rival,
    )


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Labels (N, ...) as 1 and 0 in the shape and type of `like`, (N, C, ...)."""
    return ops.cast(ops.one_hot(ops.cast(labels, ms.int32), like.shape[1], 1.0, 0.0, 1), like.dtype)


def modulated(lead: Tensor, crowd: Tensor, gamma: float | Tensor | None) -> Tensor:
    """-(1 - p_t)^gamma log p_t of a lead and a crowd; gamma None is 0."""
    cross_entropy, rest = surprise(lead, crowd)
    if gamma is None:
        return cross_entropy
    if isinstance(gamma, Tensor):
        # One gamma an example: the power's derivative has the shape of what it is given.
        gamma = gamma * ops.ones_like(rest)
    return power(rest, gamma) * cross_entropy


def at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, since e^12 is out of float16's range; others unchanged."""
    return values if values.dtype == ms.float64 else ops.cast(values, ms.float32)


def over_leading_axes(values: Any, axes: int) -> Any:
    """A Tensor over the leading axes of something with so many axes, as it broadcasts; others unchanged."""
    if not isinstance(values, Tensor) or values.ndim == 0:
        return values
    return values.reshape(values.shape + (1,) * (axes - values.ndim))
