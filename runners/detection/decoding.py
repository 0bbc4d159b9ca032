"""From what a detector says of every anchor to the objects that it finds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from lossfleet.runners.detection.boxes import clip, decode, suppress_by_class
from lossfleet.runners.detection.detections import Detections

# RetinaNet's: lower scores are no finds, so many of the highest are considered, of which a box that overlaps a better
# one of its class by more than this is left out, and so many are given.
LEAST_SCORE, MOST_CONSIDERED, IOU_THRESHOLD, MOST_GIVEN = 0.05, 1000, 0.5, 100

# Of boxes (D, 4) and labels (D,) of N images, of each the best first, starts (N + 1,) and an IoU: which are kept, (D,).
Suppression = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def suppress_in_numpy(
    boxes: np.ndarray, labels: np.ndarray, starts: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """A Suppression that needs no compiler."""
    kept = np.zeros(len(boxes), bool)
    for first, end in pairwise(starts):
        own = slice(first, end)
        falling = -np.arange(end - first)
        kept[first + suppress_by_class(boxes[own], falling, labels[own], iou_threshold=iou_threshold)] = True
    return kept


def detections(
    logits: np.ndarray,
    deltas: np.ndarray,
    anchors: np.ndarray,
    image_shape: tuple[int, int, int],
    *,
    suppression: Suppression = suppress_in_numpy,
) -> list[Detections]:
    """The objects found in each of N images.

    Args:
        logits, deltas: (N, A, C) and (N, A, 4).
        anchors: (A, 4).
        image_shape: channels, height and width; boxes are cut at its edges.
        suppression: leaves out double finds.

    Reference: Lin et al. 2017, arXiv 1708.02002, section 4; the paper considers 1,000 of each level, here of all.
    """
    least = np.log(LEAST_SCORE / (1 - LEAST_SCORE))
    image, anchor, label = (each.astype(np.int32) for each in np.nonzero(logits > least))
    logit = logits[image, anchor, label]
    # By image, the best first.
    image, anchor, label, logit = _taken(np.lexsort((-logit, image)), image, anchor, label, logit)
    first = np.searchsorted(image, np.arange(len(logits)))
    considered = np.arange(len(image)) - first[image] < MOST_CONSIDERED
    image, anchor, label, logit = _taken(considered, image, anchor, label, logit)
    boxes = clip(decode(deltas[image, anchor], anchors[anchor]), *image_shape[1:])
    starts = np.searchsorted(image, np.arange(len(logits) + 1)).astype(np.int32)
    kept = suppression(boxes, label, starts, IOU_THRESHOLD)
    found = []
    for first, end in pairwise(starts):
        own = first + np.flatnonzero(kept[first:end])[:MOST_GIVEN]
        found.append(Detections(boxes[own], 1 / (1 + np.exp(-logit[own])), label[own]))
    return found


def _taken(places: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    return [each[places] for each in arrays]
