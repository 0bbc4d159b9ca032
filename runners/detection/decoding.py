"""From what a detector says of every anchor to the objects that it finds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from lossfleet.runners.detection.boxes import clip, decode, suppress_by_class
from lossfleet.runners.detection.detections import Detections
from lossfleet.runners.detection.regions import DELTA_SCALES

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
        anchors: (A, 4), or of each image its own (N, A, 4).
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
    begun = np.broadcast_to(anchors, deltas.shape)[image, anchor]
    boxes = clip(decode(deltas[image, anchor], begun), *image_shape[1:])
    starts = np.searchsorted(image, np.arange(len(logits) + 1)).astype(np.int32)
    kept = suppression(boxes, label, starts, IOU_THRESHOLD)
    found = []
    for first, end in pairwise(starts):
        own = first + np.flatnonzero(kept[first:end])[:MOST_GIVEN]
        found.append(Detections(boxes[own], 1 / (1 + np.exp(-logit[own])), label[own]))
    return found


def region_detections(
    logits: np.ndarray,
    deltas: np.ndarray,
    regions: np.ndarray,
    image_shape: tuple[int, int, int],
    *,
    suppression: Suppression = suppress_in_numpy,
) -> list[Detections]:
    """The objects that a second stage finds in each of N images, as `detections` has them.

    Args:
        logits: (N, R, C + 1), the last of no object; the score of a class is its softmax.
        deltas: (N, R, 4), times `DELTA_SCALES`.
        regions: (N, R, 4), what deltas are from; what is empty finds nothing.
        image_shape: channels, height and width.
        suppression: leaves out double finds.
    """
    # A class that is never there has a logit of -inf, one that is always there inf.
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.exp(logits.astype(float) - logits.max(axis=2, keepdims=True))
        others = odds.sum(axis=2, keepdims=True) - odds[:, :, :-1]
        of_classes = (np.log(odds[:, :, :-1]) - np.log(others)).astype(np.float32)
    of_classes[regions[:, :, 2] <= regions[:, :, 0]] = -np.inf
    return detections(of_classes, deltas / DELTA_SCALES, regions, image_shape, suppression=suppression)


def _taken(places: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    return [each[places] for each in arrays]
