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

import mindspore as ms
from mindspore import Tensor, ops

# Low enough to be no rival to any logit, and still finite.
_NO_RIVAL = -3e38

_largest = ops.ArgMaxWithValue(1, True)
_product = ops.BatchMatMul()
_softplus_kernel = ops.Softplus()


def rival_margin(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's rival margin in two parts, r = lead + crowd, since each keeps digits that the sum rounds off.

    Args:
        logits: (N, C, ...) float32 or float64.
        labels: (N, 1, ...) int32.

    Returns:
        lead (N, 1, ...): the largest other logit less the label's.
        crowd (N, 1, ...): the logarithm of the other classes' number, each counted by its e^(logit - largest).
    """
    of_label = ops.gather_elements(logits, 1, labels)
    others = ops.tensor_scatter_elements(logits, labels, ops.full(labels.shape, _NO_RIVAL, dtype=logits.dtype), 1)
    largest = ops.stop_gradient(_largest(others)[1])
    return largest - of_label, log(sum_of_classes(exp(others - over_classes(largest, logits))))


def rival_margins(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The rival margin of every class, as if it were the label, in the same two parts.

    Args:
        logits: (N, C, ...) float32 or float64.

    Returns:
        lead and crowd (N, C, ...).
    """
    top, largest = _largest(logits)
    shifted = logits - over_classes(ops.stop_gradient(largest), logits)
    exponentials = exp(shifted)
    # Taking a class from the total is exact enough but for the largest, whose rivals may be tiny beside it.
    others = over_classes(sum_of_classes(exponentials), logits) - exponentials
    top_lead, top_crowd = rival_margin(logits, top)
    lead = ops.tensor_scatter_elements(-shifted, top, top_lead, 1)
    return lead, ops.tensor_scatter_elements(log(ops.maximum(others, 0.5)), top, top_crowd, 1)


def over_classes(values: Tensor, logits: Tensor) -> Tensor:
    """Values (N, 1, ...) repeated to the shape (N, C, ...) of the logits: ten times faster than to broadcast."""
    return ops.tile(values, (1, logits.shape[1]) + (1,) * (logits.ndim - 2))


def sum_of_classes(values: Tensor) -> Tensor:
    """The sum (N, 1, ...) over the class axis of (N, C, ...): a matrix product is ten times faster than `sum`."""
    if values.ndim == 2:
        return values.sum(1, keepdims=True)
    shape = values.shape
    ones = ops.ones((shape[0], 1, shape[1]), values.dtype)
    return _product(ones, values.reshape(shape[0], shape[1], -1)).reshape(shape[:1] + (1,) + shape[2:])


def exp(values: Tensor) -> Tensor:
    """e^x for x <= 0, to an absolute error of 6e-8."""
    return ops.expm1(values) + 1.0


def log(values: Tensor) -> Tensor:
    """The logarithm for x >= 1."""
    return _derived_from(ops.log(values), ops.asinh((values - 1.0 / values) * 0.5))


def softplus(margin: Tensor) -> Tensor:
    """log(1 + e^r), precise in both tails: -log p_t of the rival margin r."""
    # log(1 + 1/E) = 2 atanh(1 / (2 E + 1)) with E = e^|r|, which may overflow: then it is 0.
    small = 2.0 * ops.atanh(ops.reciprocal(2.0 * ops.expm1(ops.abs(margin)) + 3.0))
    return _derived_from(_softplus_kernel(margin), ops.relu(margin) + small)


def decay(exponent: Tensor) -> Tensor:
    """e^x for x <= 0, to the last digits even where it is tiny."""
    return _derived_from(ops.exp(exponent), ops.reciprocal(ops.expm1(-exponent) + 1.0))


def _derived_from(kernel: Tensor, value: Tensor) -> Tensor:
    """The value, with the derivatives of the kernel, which is close to it."""
    return kernel + ops.stop_gradient(value - kernel)


def at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, since e^12 is out of float16's range; others unchanged."""
    return values if values.dtype == ms.float64 else ops.cast(values, ms.float32)
