"""The boxes that a dense detector begins with, and which object each of them learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossfleet.runners.detection.boxes import iou

BACKGROUND, IGNORED = -1, -2


@dataclass(frozen=True)
class Anchors:
    """Anchors of the levels of a pyramid.

    Fields: strides, the pixels from one place of a level to the next; sizes, of each level in pixels; scales, that
    multiply them; ratios, height / width. Each place has an anchor for each pair of scale and ratio, of the area
    (size scale)^2.
    """

    strides: tuple[int, ...]
    sizes: tuple[float, ...]
    scales: tuple[float, ...] = (1.0,)
    ratios: tuple[float, ...] = (1.0,)

    @property
    def per_place(self) -> int:
        """The anchors of a place."""
        return len(self.scales) * len(self.ratios)

    def boxes(self, height: int, width: int) -> np.ndarray:
        """The anchors of an image, which may reach beyond its edges.

        Returns:
            (A, 4) float32, ordered by level, row, column, scale, ratio; a level has ceil(height / stride) rows and
            ceil(width / stride) columns, the first place's centre at stride / 2.
        """
        return np.concatenate(
            [
                self._level(stride, size, height, width)
                for stride, size in zip(self.strides, self.sizes, strict=True)
            ]
        ).astype(np.float32)

    def _level(self, stride: int, size: float, height: int, width: int) -> np.ndarray:
        sides = size * np.repeat(self.scales, len(self.ratios))
        roots = np.sqrt(np.tile(self.ratios, len(self.scales)))
        half = np.stack([sides / roots, sides * roots], axis=1) / 2
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = (np.indices((rows, columns)) + 0.5) * stride
        centres = np.stack([x, y], axis=-1)[:, :, None]
        return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)


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
