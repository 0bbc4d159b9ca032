"""GHM-C: examples count less where many others of their batch pull as hard as they do."""

from __future__ import annotations

from typing import Annotated

import mindspore as ms
from annotated_types import Ge
from mindspore import Tensor, ops

from lossfleet.losses.checks import check_index_labels
from lossfleet.losses.softmax import softmax_cross_entropy, weighted


def gradient_density_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    bins: Annotated[int, Ge(1)] = 10,
    class_weight: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Cross-entropy times the inverse density of gradient lengths in the batch, unreduced.

        w_t beta (-log p_t), beta = n / (examples in the bin of g x bins that have any), g = 1 - p_t

    beta has no derivative, and its mean over a batch is 1. g is the slope by the label's logit. A batch is the last
    axis. The paper's running mean of the counts over batches is left out: its authors' code has it off by default,
    and without it a loss depends on its batch alone.

    Args:
        logits: (N, C, B), or (B, C) as one batch.
        labels: (N, B), or (B,), integers in 0..C-1.
        bins: of equal width in [0, 1]; 1 is cross-entropy.
        class_weight: (C,) or (N, C), at least 0. None: 1.
        valid: the shape of labels, 1 for examples and 0 for empty places, which no bin counts. None: all are examples.

    Returns:
        The shape of labels, one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Li et al. 2019, Gradient harmonized single-stage detector, arXiv 1811.05181, equation 8.
    """
    check_index_labels(labels, logits)
    cross_entropy = softmax_cross_entropy(logits, labels)
    counts_in = ops.ones_like(cross_entropy) if valid is None else ops.cast(valid, cross_entropy.dtype)
    length = 1.0 - ops.exp(-ops.stop_gradient(cross_entropy))
    # On a new axis before the batch.
    places = ops.minimum(ops.cast(ops.floor(length * bins), ms.int32), bins - 1)
    is_in = ops.cast(
        ops.expand_dims(places, -2) == ops.arange(bins).reshape(-1, 1).astype(ms.int32), cross_entropy.dtype
    )
    counts = (is_in * ops.expand_dims(counts_in, -2)).sum(-1, keepdims=True)
    used = ops.cast(counts > 0, cross_entropy.dtype).sum(-2)
    density = (is_in * counts).sum(-2)
    beta = counts_in.sum(-1, keepdims=True) / (ops.maximum(density, 1.0) * used)
    losses = cross_entropy * ops.stop_gradient(beta)
    return weighted(losses, logits, labels, class_weight)
