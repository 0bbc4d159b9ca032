"""Which object each anchor learns."""

from __future__ import annotations

import numpy as np

from lossfleet.runners.portable.objects.boxes import iou

BACKGROUND, IGNORED = -1, -2


def match(
    anchors: np.ndarray, boxes: np.ndarray, *, positive: float = 0.5, ignored: float = 0.4
) -> np.ndarray:
    """Which of the boxes (M, 4) each of the anchors (A, 4) learns.

    An anchor learns the box that it overlaps most, the first of equal ones, if their IoU is at least `positive`; it is
    background where all are below `ignored`, and left out in between. Besides, each box has an anchor of its own: its
    best, by falling IoU where several boxes want the same one. The paper does not say so, codes do: Detectron, which is
    the paper's, where that IoU is at least `ignored`, torchvision and MMDetection always, as here. Without it a box
    that no anchor overlaps by half is background to the loss and counts in the metric, so that the anchors' shapes
    would be compared rather than the losses.

    Returns:
        (A,) int32: the index of a box, `BACKGROUND` or `IGNORED`.

    Reference: Lin et al. 2017, arXiv 1708.02002, section 4.
    """
    if not len(boxes):
        return np.full(len(anchors), BACKGROUND, np.int32)
    overlaps = iou(anchors, boxes)
    largest = overlaps.max(axis=1)
    matched = np.where(largest >= positive, overlaps.argmax(axis=1), IGNORED).astype(np.int32)
    matched[largest < ignored] = BACKGROUND
    for box in np.argsort(-overlaps.max(axis=0), kind="stable"):
        best = overlaps[:, box].argmax()
        if overlaps[best, box] > 0:
            matched[best] = box
            # No other box takes it.
            overlaps[best] = 0
    return matched
