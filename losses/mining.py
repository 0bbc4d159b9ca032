"""Hard example mining: masks that choose which examples of a batch count.

A row is the last axis: the batch of each model, or all examples of one. Rows do not touch each other. Masks have
no gradient: multiply the losses by one, and divide the sum by the number of kept examples.
"""

from __future__ import annotations

from typing import Annotated

import mindspore as ms
from annotated_types import Gt, Le
from mindspore import Tensor, ops

from lossfleet.losses.checks import check_number, check_same_shape
from lossfleet.losses.numerics import over_leading_axes

# What a count is scaled by before it is rounded up: 0.3 of 10 examples are 3, though float32 says 3.0000001.
_ROUNDING = 1.0 - 2.0**-22


def hard_example_mask(
    losses: Tensor, *, keep: Annotated[float, Gt(0), Le(1)] | Tensor, valid: Tensor | None = None
) -> Tensor:
    """Marks the hardest examples of each row.

        those among the ceil(keep * n) highest losses of n

    Equal losses are taken in order of position, so that exactly so many are marked. A loss that is NaN counts as
    the highest, so that it is seen.

    Args:
        losses: (..., B), float.
        keep: fraction in (0, 1], a number or over the leading axes of losses; 1 marks all examples.
        valid: (..., B), 1 for examples and 0 for empty places, which are never marked; n counts the examples.
            None: all B are examples.

    Returns:
        (..., B) float32, 1 for the kept examples and 0 for the others.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Shrivastava et al. 2016, Training region-based object detectors with online hard example mining,
        arXiv 1604.03540.
    """
    check_same_shape("valid", valid, losses)
    check_number("keep", keep, losses.shape[:-1], 0.0, 1.0, True)
    candidates = _present(losses, valid)
    return highest(losses, candidates, _share_of(keep, candidates.sum(-1)))


def hard_example_mask_ratio(
    losses: Tensor,
    labels: Tensor,
    *,
    negatives_per_positive: Annotated[float, Gt(0)] | Tensor,
    valid: Tensor | None = None,
) -> Tensor:
    """Marks all positives of each row and a number of hardest negatives for each.

        all P positives, and the negatives among the max(1, ceil(k * P)) highest losses of negatives

    A row without a positive keeps its one hardest negative, so that no mean is over nothing. Equal losses and NaN
    are taken as in `hard_example_mask`.

    Args:
        losses: (..., B), float.
        labels: (..., B), 1 for positives; all others are negatives.
        negatives_per_positive: k, above 0, a number or over the leading axes of losses; 3 is the focal loss
            paper's "OHEM 1:3".
        valid: as for `hard_example_mask`.

    Returns:
        (..., B) float32, 1 for the kept examples and 0 for the others.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Liu et al. 2015, SSD: Single shot multibox detector, arXiv 1512.02325, section 2.2.
    """
    check_same_shape("labels", labels, losses)
    check_same_shape("valid", valid, losses)
    check_number("negatives_per_positive", negatives_per_positive, losses.shape[:-1], 0.0, None, True)
    present = _present(losses, valid)
    positives = ops.cast(labels == 1, ms.float32) * present
    count = ops.maximum(_share_of(negatives_per_positive, positives.sum(-1)), 1.0)
    return positives + highest(losses, present - positives, count)


def highest(losses: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """Marks the highest losses of each row among its candidates, the earlier of equal ones first.

    Args:
        losses: (..., B), float.
        candidates: (..., B) float32, 1 or 0.
        count: (...) float32, how many; all candidates are marked if they are fewer.

    Returns:
        (..., B) float32, 1 or 0.
    """
    losses = ops.cast(ops.stop_gradient(losses), ms.float32)
    infinity = ops.full_like(losses, float("inf"))
    ranked = ops.select(losses == losses, losses, infinity)
    ranked = ops.select(candidates > 0, ranked, -infinity)
    count = ops.expand_dims(count, -1)
    last = ops.cast(ops.clamp(count - 1.0, 0.0, losses.shape[-1] - 1.0), ms.int32)
    threshold = ops.gather_elements(ops.sort(ranked, -1, True)[0], -1, last)
    above = ops.cast(ranked > threshold, ms.float32)
    equal = ops.cast(ranked == threshold, ms.float32)
    room = count - above.sum(-1, keepdims=True)
    return (above + equal * ops.cast(ops.cumsum(equal, -1) <= room, ms.float32)) * candidates


def _present(losses: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return ops.ones(losses.shape, ms.float32)
    return ops.cast(valid > 0, ms.float32)


def _share_of(fraction: float | Tensor, total: Tensor) -> Tensor:
    """ceil(fraction * total), untroubled by the rounding of the fraction."""
    fraction = over_leading_axes(fraction, total.ndim)
    return ops.ceil(ops.cast(fraction, ms.float32) * total * _ROUNDING)
