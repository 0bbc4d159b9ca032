"""The regions between two stages: which boxes go on to the second, and where their features lie."""

from __future__ import annotations

import numpy as np

from .boxes import area, clip, decode, suppress

# A proposal that overlaps a better one by more is left out, as one whose sides are shorter than a pixel.
PROPOSAL_IOU, LEAST_SIDE = 0.7, 1.0
# What the second stage learns are deltas times these, near a variance of 1, as in Fast R-CNN.
DELTA_SCALES = np.array([10, 10, 5, 5], np.float32)


def proposals(
    logits: np.ndarray, deltas: np.ndarray, anchors: np.ndarray, image_shape: tuple[int, int, int], most: int
) -> np.ndarray:
    """The boxes of an image that go on to the second stage.

    Args:
        logits: (A,), the surer of an object the larger; of equal ones the first is the better.
        deltas, anchors: (A, 4) each.
        image_shape: channels, height and width; boxes are cut at its edges.
        most: how many are given, if there are as many.

    Returns:
        (n, 4) float32, the best first, n <= most.
    """
    order = np.argsort(-logits, kind="stable")
    boxes = clip(decode(deltas[order], anchors[order]), *image_shape[1:])
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) >= LEAST_SIDE).all(1)]
    falling = -np.arange(len(boxes))
    return boxes[suppress(boxes, falling, iou_threshold=PROPOSAL_IOU, most=most)]


def level_of(boxes: np.ndarray, region_size: int, levels: int) -> np.ndarray:
    """The level that each of boxes (N, 4) is pooled from: 0 below an area of region_size^2, and so on by doubled sides.

    Reference: Lin et al. 2016, arXiv 1612.03144, equation 1.
    """
    least = [(region_size * 2.0**level) ** 2 for level in range(levels - 1)]
    found: np.ndarray = (area(boxes)[:, None] >= np.array(least, boxes.dtype)).sum(axis=1)
    return found


def shares(starts: np.ndarray, ends: np.ndarray, *, stride: int, pixels: int, cells: int) -> np.ndarray:
    """What each pixel of a line counts for in each cell of regions: RoIAlign in one direction.

        f(cell) = (1 - t) pixel[n] + t pixel[n + 1], n + t = (middle of the cell) / stride - 1/2

    Args:
        starts, ends: (R,), in pixels of the image.
        stride: from one pixel of the level to the next; its first one's middle is at stride / 2.
        pixels: of the level. What is beyond the middle of the first or last one counts as there.
        cells: that a region is divided into.

    Returns:
        (R, cells, pixels); the features of a region are, of each channel, shares of rows x level x shares of columns'.

    Reference: He et al. 2017, arXiv 1703.06870, section 3, with the one value at the middle of each cell that it finds
    nearly as good as four.
    """
    middles = (np.arange(cells, dtype=starts.dtype) + 0.5) / cells
    places = (starts[:, None] + middles * (ends - starts)[:, None]) / stride - 0.5
    places = np.clip(places, 0, pixels - 1)
    return np.maximum(1 - np.abs(places[..., None] - np.arange(pixels, dtype=starts.dtype)), 0)
