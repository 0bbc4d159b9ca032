"""Boxes x1, y1, x2, y2 with exclusive ends: overlap, coding against anchors, and suppression of double finds.

All compute in the precision of the boxes that they are given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# The most that a decoded box outgrows its anchor: an untrained head gives no infinite boxes. As Detectron has it.
LARGEST_GROWTH = np.log(1000 / 16)


def area(boxes: np.ndarray) -> np.ndarray:
    """(N,): of boxes (N, 4); 0 where one ends before it begins."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M): the area that boxes a (N, 4) and b (M, 4) have in common."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.maximum(width, 0) * np.maximum(height, 0)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes a (N, 4) and b (M, 4).

    Returns:
        (N, M) in 0..1; 0 where both are empty.
    """
    common = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def encode(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """What a box head learns: the way from each anchor (N, 4) to its box (N, 4), neither of them empty.

    Returns:
        (N, 4): (x - x_a) / w_a, (y - y_a) / h_a, log(w / w_a), log(h / h_a), of centres, widths and heights.

    Reference: Girshick et al. 2014, arXiv 1311.2524, appendix C.
    """
    centre, size = _centres(boxes)
    anchor, anchor_size = _centres(anchors)
    return np.concatenate([(centre - anchor) / anchor_size, np.log(size / anchor_size)], axis=1)


def decode(deltas: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) that deltas (N, 4) from anchors say: `encode` turned round, logarithms at most log 62.5."""
    anchor, anchor_size = _centres(anchors)
    centre = anchor + deltas[:, :2] * anchor_size
    half = np.exp(np.minimum(deltas[:, 2:], LARGEST_GROWTH)) * anchor_size / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def clip(boxes: np.ndarray, height: float, width: float) -> np.ndarray:
    """What of boxes (N, 4) is inside of an image; those outside of it become empty ones at its edge."""
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def suppress(
    boxes: np.ndarray, scores: np.ndarray, *, iou_threshold: float, most: int | None = None
) -> np.ndarray:
    """Greedy non-maximum suppression: the best box, then the best that overlaps no kept one by more than the threshold.

    Args:
        boxes: (D, 4).
        scores: (D,); of equal ones the first is the better.
        iou_threshold: in 0..1; an overlap of exactly that is kept.
        most: are kept, None for any number.

    Returns:
        The kept indices, best first, int64.
    """
    labels = np.zeros(len(scores), np.int32)
    return suppress_by_class(boxes, scores, labels, iou_threshold=iou_threshold, most=most)


def suppress_by_class(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    iou_threshold: float,
    most: int | None = None,
) -> np.ndarray:
    """`suppress`, where boxes of different labels (D,) leave each other alone."""

    def is_double(best: int, others: np.ndarray) -> np.ndarray:
        overlaps = iou(boxes[best : best + 1], boxes[others])[0]
        return (overlaps > iou_threshold) & (labels[others] == labels[best])

    return greedy(scores, is_double, most=most)


def greedy(
    scores: np.ndarray, is_double: Callable[[int, np.ndarray], np.ndarray], *, most: int | None = None
) -> np.ndarray:
    """The best, then the best of those that are no double of a kept one.

    Args:
        scores: (D,); of equal ones the first is the better.
        is_double: of a kept one and of the indices (n,) of worse ones, which of these are doubles of it, (n,) bool.
        most: are kept, None for any number.

    Returns:
        The kept indices, best first, int64.
    """
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) != most:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[~is_double(best, left)]
    return np.array(kept, np.int64)


def _centres(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centres (N, 2) and the widths and heights (N, 2) of boxes."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
