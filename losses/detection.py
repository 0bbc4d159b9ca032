"""Online hard example mining for dense detection: thin out overlapping boxes, then keep the hardest.

Boxes are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, in any unit; a row is the last axis of the losses, the
boxes of one image. Memory grows with the square of their number.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops

from lossfleet.losses.checks import check_boxes, check_number, check_same_shape
from lossfleet.losses.mining import highest


def box_iou(boxes: Tensor) -> Tensor:
    """Intersection over union of every two boxes of a row.

        |A and B| / |A or B|, 0 where both are empty

    Args:
        boxes: (..., N, 4), float.

    Returns:
        (..., N, N) float32.

    Raises:
        TypeError, ValueError: boxes has a wrong type, shape or value; the message says which.
    """
    check_boxes(boxes, None)
    boxes = ops.cast(boxes, ms.float32)
    upper_left, lower_right = boxes[..., :2], boxes[..., 2:]
    areas = (lower_right - upper_left).prod(-1)
    overlap = ops.minimum(ops.expand_dims(lower_right, -2), ops.expand_dims(lower_right, -3)) - ops.maximum(
        ops.expand_dims(upper_left, -2), ops.expand_dims(upper_left, -3)
    )
    intersection = ops.relu(overlap).prod(-1)
    union = ops.expand_dims(areas, -1) + ops.expand_dims(areas, -2) - intersection
    empty = ops.cast(union <= 0, ms.float32)
    return intersection / (union + empty)


def nms_mask(losses: Tensor, boxes: Tensor, *, iou_threshold: float) -> Tensor:
    """Marks the boxes that greedy non-maximum suppression by loss leaves.

    From the highest loss to the lowest, a box is kept unless it overlaps a kept one by more than the threshold.
    Of equal losses the earlier goes first. The mask has no gradient.

    Args:
        losses: (..., N), float.
        boxes: (..., N, 4), float.
        iou_threshold: in [0, 1].

    Returns:
        (..., N) float32, 1 for the kept boxes and 0 for the others.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Shrivastava et al. 2016, arXiv 1604.03540, section 4.2.
    """
    check_same_shape("losses", losses, losses)
    check_boxes(boxes, losses.shape)
    check_number("iou_threshold", iou_threshold, (), 0.0, 1.0, False)
    losses = ops.cast(ops.stop_gradient(losses), ms.float32)
    one, other = ops.expand_dims(losses, -1), ops.expand_dims(losses, -2)
    position = ops.arange(losses.shape[-1])
    earlier = ops.expand_dims(position, -1) < ops.expand_dims(position, -2)
    goes_first = ops.logical_or(one > other, ops.logical_and(one == other, earlier))
    overlaps = box_iou(ops.stop_gradient(boxes)) > iou_threshold
    suppresses = ops.cast(ops.logical_and(goes_first, overlaps), ms.float32)
    # Suppress by what is kept so far until nothing changes: each pass settles one more link of every chain of
    # boxes that suppress each other, and the end is what going through them one by one gives.
    kept = ops.ones_like(losses)
    unsettled = ops.ones((), ms.bool_)
    while unsettled:
        suppressed = ops.matmul(ops.expand_dims(kept, -2), suppresses).squeeze(-2)
        settled = ops.cast(suppressed == 0, ms.float32)
        unsettled = (settled != kept).any()
        kept = settled
    return kept


def ohem_with_nms(losses: Tensor, boxes: Tensor, *, iou_threshold: float, examples: int) -> Tensor:
    """Marks what online hard example mining trains a detector on: NMS by loss, then the highest losses.

    Args:
        losses: (..., N), float.
        boxes: (..., N, 4), float.
        iou_threshold: in [0, 1]; the focal loss paper's baselines use 0.5 and 0.7.
        examples: how many of each row to keep at most, at least 1; the paper's batch sizes are 128, 256 and 512.

    Returns:
        (..., N) float32, 1 for the kept examples and 0 for the others.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Shrivastava et al. 2016, arXiv 1604.03540; Lin et al. 2017, arXiv 1708.02002, table 1d.
    """
    check_number("examples", examples, (), 1.0, None, False)
    kept = nms_mask(losses, boxes, iou_threshold=iou_threshold)
    return highest(losses, kept, ops.full(losses.shape[:-1], examples, dtype=ms.float32))
