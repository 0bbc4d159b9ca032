"""The numbers under the losses: one margin an example, and functions of it that keep their digits.

For the true class t the *rival margin* is r = logsumexp of the other classes' logits - x_t. It says everything
a softmax loss needs: p_t = sigmoid(-r), q = 1 - p_t = sigmoid(r), -log p_t = softplus(r), and it is as precise
for confident predictions, where p_t rounds to 1, as for wrong ones. A sigmoid loss has the margin at hand: -x
for label 1, x for label 0.

MindSpore's float32 kernels on the CPU are fast approximations: exp is off by up to 2e-5 relative, log1p(x) is
log(1 + x), softplus(-17) is 0. Values are therefore computed by expm1, atanh and asinh, which are exact to
the last rounding; derivatives of every order are those of the plain kernels.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor, nn, ops

# Low enough to be no rival to any logit, and still finite.
_NO_RIVAL = -3e38

_largest = ops.ArgMaxWithValue(1)
_product = ops.BatchMatMul()
_sum = ops.ReduceSum()
_ones = ops.Ones()
_zeros_like = ops.ZerosLike()
_gather = ops.GatherD()
_put = ops.TensorScatterElements(1)
_tile = ops.Tile()
_reshape = ops.Reshape()
_squeeze = ops.Squeeze(1)
_expand_dims = ops.ExpandDims()
_softplus_kernel = ops.Softplus()


class OfLabel(nn.Cell):
    """What values (N, C, ...) are at the labels (N, ...)."""

    def construct(self, values: Tensor, labels: Tensor) -> Tensor:
        return _squeeze(_gather(values, 1, _expand_dims(labels, 1)))

    def bprop(self, values: Tensor, labels: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return with_label(_zeros_like(values), labels, dout), _zeros_like(labels)


class WithLabel(nn.Cell):
    """Values (N, C, ...) with others (N, ...) put at the labels (N, ...)."""

    def construct(self, values: Tensor, labels: Tensor, others: Tensor) -> Tensor:
        return _put(values, _expand_dims(labels, 1), _expand_dims(others, 1))

    def bprop(
        self, values: Tensor, labels: Tensor, others: Tensor, out: Tensor, dout: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return with_label(dout, labels, _zeros_like(others)), _zeros_like(labels), of_label(dout, labels)


class OverClasses(nn.Cell):
    """Values (N, ...) repeated to the shape of `like`, (N, C, ...): ten times faster than to broadcast."""

    def construct(self, values: Tensor, like: Tensor) -> Tensor:
        return _tile(_expand_dims(values, 1), (1, like.shape[1]) + (1,) * (like.ndim - 2))

    def bprop(self, values: Tensor, like: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return sum_of_classes(dout), _zeros_like(like)


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
        return (over_classes(dout, values),)


# Cells with a derivative of their own, since PyNative's second derivatives of gather, tile, sum and views are
# wrong; of primitives only, since a graph's second derivative cannot call functions.
of_label = OfLabel()
with_label = WithLabel()
over_classes = OverClasses()
sum_of_classes = SumOfClasses()


def rival_margin(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's rival margin in two parts, r = lead + crowd, since each keeps digits that the sum rounds off.

    Args:
        logits: (N, C, ...) float32 or float64.
        labels: (N, ...) int32.

    Returns:
        lead (N, ...): the largest other logit less the label's.
        crowd (N, ...): the logarithm of the other classes' number, each counted by its e^(logit - largest).
    """
    others = with_label(logits, labels, ops.full(labels.shape, _NO_RIVAL, dtype=logits.dtype))
    largest = _largest(ops.stop_gradient(others))[1]
    crowd = log(sum_of_classes(exp(others - over_classes(largest, logits))))
    return largest - of_label(logits, labels), crowd


def rival_margins(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The rival margin of every class, as if it were the label, in the same two parts.

    Args:
        logits: (N, C, ...) float32 or float64.

    Returns:
        lead and crowd (N, C, ...).
    """
    top, largest = _largest(ops.stop_gradient(logits))
    is_top = with_label(_zeros_like(logits), top, ops.ones_like(largest))
    is_rival = 1.0 - is_top
    top_lead, top_crowd = rival_margin(logits, top)
    shifted = logits - over_classes(largest, logits)
    exponentials = exp(shifted)
    # Taking a class from the total is exact enough but for the largest, whose rivals may be tiny beside it.
    others = (over_classes(sum_of_classes(exponentials), logits) - exponentials) * is_rival + is_top
    lead = over_classes(top_lead, logits) * is_top - shifted * is_rival
    return lead, over_classes(top_crowd, logits) * is_top + log(others)


def exp(values: Tensor) -> Tensor:
    """e^x for x <= 0, to an absolute error of 6e-8."""
    return ops.expm1(values) + 1.0


def log(values: Tensor) -> Tensor:
    """The logarithm for x >= 1."""
    return _derived_from(ops.log(values), ops.asinh((values - 1.0 / values) * 0.5))


def softplus(margin: Tensor) -> Tensor:
    """log(1 + e^r), precise in both tails: -log p_t of the rival margin r."""
    return _derived_from(_softplus_kernel(margin), ops.relu(margin) + _beyond_relu(margin))


def modulated(lead: Tensor, crowd: Tensor | float, gamma: float | Tensor | None) -> Tensor:
    """-(1 - p_t)^gamma log p_t of the rival margin r = lead + crowd; gamma None is 0."""
    margin = lead + crowd
    cross_entropy = softplus(margin)
    if gamma is None:
        return cross_entropy
    log_rest = ops.minimum(lead, -crowd) + (crowd - _beyond_relu(margin))
    return decay(_derived_from(margin - cross_entropy, log_rest) * gamma) * cross_entropy


def decay(exponent: Tensor) -> Tensor:
    """e^x for x <= 0, to the last digits even where it is tiny."""
    return _derived_from(ops.exp(exponent), ops.reciprocal(ops.expm1(-exponent) + 1.0))


def _beyond_relu(margin: Tensor) -> Tensor:
    """log(1 + e^-|r|) = 2 atanh(1 / (2 E + 1)) with E = e^|r|, which may overflow: then it is 0."""
    return 2.0 * ops.atanh(ops.reciprocal(2.0 * ops.expm1(ops.abs(margin)) + 3.0))


def _derived_from(kernel: Tensor, value: Tensor) -> Tensor:
    """The value, with the derivatives of the kernel, which is close to it."""
    return kernel + ops.stop_gradient(value - kernel)


def at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, since e^12 is out of float16's range; others unchanged."""
    return values if values.dtype == ms.float64 else ops.cast(values, ms.float32)


def over_leading_axes(values: Any, axes: int) -> Any:
    """A Tensor over the leading axes of something with so many axes, as it broadcasts; others unchanged."""
    if not isinstance(values, Tensor) or values.ndim == 0:
        return values
    return values.reshape(values.shape + (1,) * (axes - values.ndim))
