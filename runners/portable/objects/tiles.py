"""Photographs cut into squares of one size, with the boxes in them, and what is found there put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..images import shaped
from .boxes import area, clip, greedy, intersection
from .detections import NOTHING, Detections

# Of the smaller of two finds of different windows.
MOST_SHARED = 0.5


@dataclass(frozen=True)
class Window:
    """A square of a photograph: its first column and row, and its side. It may reach beyond the last ones."""

    x: int
    y: int
    side: int


def windows(height: int, width: int, tile: int | None, overlap: float) -> list[Window]:
    """The squares of a photograph, row by row: as few as cover it, spread evenly.

    Args:
        height, width: of the photograph, in pixels.
        tile: their side; None for one square around all of it.
        overlap: the least share of a side that neighbours have in common, in 0..1, 1 excluded.
    """
    side = tile or max(height, width)
    return [
        Window(x, y, side)
        for y in _starts(height, side, side * (1 - overlap))
        for x in _starts(width, side, side * (1 - overlap))
    ]


def _starts(length: int, side: int, step: float) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / step)) + 1
    return [int(start) for start in np.rint(np.linspace(0, length - side, count))]


def inside(boxes: np.ndarray, window: Window, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The boxes whose centre is in a window, clipped to it, so that without overlap each is in one tile alone.

    Args:
        boxes: (M, 4) of the photograph.
        window: of it.
        size: the side that the window is resized to.

    Returns:
        The indices of those inside, their boxes (m, 4) float32 in pixels of the resized window, and how many of them
        are clipped.
    """
    moved = boxes - np.array([window.x, window.y, window.x, window.y])
    centres = (moved[:, :2] + moved[:, 2:]) / 2
    kept = np.flatnonzero(((centres >= 0) & (centres < window.side)).all(axis=1))
    clipped = clip(moved[kept], window.side, window.side)
    count = int((area(clipped) < area(moved[kept])).sum())
    return kept, (clipped * (size / window.side)).astype(np.float32), count


def cut(pixels: np.ndarray, window: Window, size: int) -> np.ndarray:
    """A window of a photograph (channels, height, width) uint8, resized bilinearly to (channels, size, size); beyond
    the photograph it has the mean of each channel."""
    from PIL import Image

    channels = len(pixels)
    part = pixels[:, window.y : window.y + window.side, window.x : window.x + window.side]
    if part.shape[1:] != (window.side, window.side):
        whole = np.empty((channels, window.side, window.side), np.uint8)
        whole[:] = np.rint(pixels.mean(axis=(1, 2)))[:, None, None]
        whole[:, : part.shape[1], : part.shape[2]] = part
        part = whole
    last = np.ascontiguousarray(part.transpose(1, 2, 0))
    return shaped(Image.fromarray(last[:, :, 0] if channels == 1 else last), (channels, size, size))


def joined(found: Sequence[Detections], squares: Sequence[Window], sizes: tuple[int, int, int]) -> Detections:
    """What is found in the windows of a photograph as one, in its pixels, the surest first.

    An edge cuts objects, and the IoU of a part with its whole may be small: a find is left out if it has more than half
    of itself, or of it, in common with a surer one of its class in another window.

    Args:
        found: in each window.
        squares: the windows.
        sizes: the side that windows were resized to, and the height and the width of the photograph, at whose edges
            boxes are cut.

    Reference: Akyon et al. 2022, Slicing aided hyper inference, arXiv 2202.06934; its default for what is joined.
    """
    size, height, width = sizes
    moved = [
        each.boxes * (square.side / size) + np.array([square.x, square.y] * 2)
        for each, square in zip(found, squares, strict=True)
    ]
    boxes = clip(np.concatenate([NOTHING.boxes, *moved]), height, width).astype(np.float32)
    scores = np.concatenate([NOTHING.scores, *(each.scores for each in found)])
    labels = np.concatenate([NOTHING.labels, *(each.labels for each in found)])
    windows_of, areas = np.repeat(np.arange(len(found)), [len(each) for each in found]), area(boxes)

    def is_double(best: int, others: np.ndarray) -> np.ndarray:
        common = intersection(boxes[best : best + 1], boxes[others])[0]
        is_part = common > MOST_SHARED * np.minimum(areas[best], areas[others])
        return is_part & (labels[others] == labels[best]) & (windows_of[others] != windows_of[best])

    kept = greedy(scores, is_double)
    # What lies beyond the edge of the photograph is nothing.
    kept = kept[areas[kept] > 0]
    return Detections(boxes[kept], scores[kept], labels[kept])
