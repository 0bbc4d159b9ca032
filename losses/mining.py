"""Hard example mining: masks that choose which examples of a batch count."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops

# Taken off a count before it is rounded up: 0.3 of 10 examples are 3, though float32 says 3.0000001.
ROUNDING = 1e-6


def hard_example_mask(losses: Tensor, *, keep: Tensor | float, valid: Tensor | None = None) -> Tensor:
    """Marks the hardest examples: those among the ceil(keep * n) highest losses of their row.

    Equal losses are taken in order of position, so exactly that many are marked. The mask has no gradient.

    Args:
        losses: (..., B), a row of B examples for each model.
        keep: fraction in (0, 1], a scalar or one for each row, shape (...).
        valid: (..., B), 1 for examples and 0 for empty places, which are never marked; n counts the examples.
            None: all B are examples.

    Returns:
        (..., B) float32, 1 for the kept examples and 0 for the others.

    Reference:
        Shrivastava et al., Training region-based object detectors with online hard example mining, 2016,
        arXiv 1604.03540.
    """
    losses = ops.stop_gradient(losses)
    if valid is None:
        valid = ops.ones_like(losses)
    count = ops.ceil(ops.cast(keep, ms.float32) * valid.sum(-1) * (1.0 - ROUNDING))
    return _highest(losses, valid, count)


def hard_example_mask_ratio(
    losses: Tensor, labels: Tensor, *, negatives_per_positive: Tensor | float, valid: Tensor | None = None
) -> Tensor:
    """Marks all positives and the hardest negatives, a given number of them for each positive.

    In a row with P positives the ceil(k * P) negatives of the highest losses are marked, in a row without
    positives the one hardest, so that every batch teaches something. The mask has no gradient.

    Args:
        losses: (..., B), a row of B examples for each model.
        labels: (..., B) integers, 1 for positives and 0 for negatives.
        negatives_per_positive: k, above 0, a scalar or one for each row, shape (...); the focal loss paper's
            "OHEM 1:3" is 3.
        valid: as for `hard_example_mask`.

    Returns:
        (..., B) float32, 1 for the kept examples and 0 for the others.

    Reference:
        Lin et al., Focal loss for dense object detection, 2017, arXiv 1708.02002, section 5.1.
    """
    losses = ops.stop_gradient(losses)
    if valid is None:
        valid = ops.ones_like(losses)
    positive = ops.cast(labels == 1, ms.float32) * valid
    negative = valid - positive
    count = ops.ceil(ops.cast(negatives_per_positive, ms.float32) * positive.sum(-1) * (1.0 - ROUNDING))
    return positive + _highest(losses, negative, ops.maximum(count, ops.ones_like(count)))


def _highest(losses: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """1 for the `count` highest losses of each row among its candidates."""
    is_candidate = candidates > 0
    ranked = ops.select(is_candidate, losses, ops.full_like(losses, -3e38))
    order = ops.sort(ranked, -1, True)[1]
    # The order of the order is each example's rank.
    rank = ops.sort(ops.cast(order, ms.float32), -1)[1]
    kept = ops.cast(rank, ms.float32) < ops.expand_dims(count, -1)
    return ops.cast(ops.logical_and(kept, is_candidate), ms.float32)
