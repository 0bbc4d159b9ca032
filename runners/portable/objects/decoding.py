"""From what a detector says of every anchor to the objects that it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .boxes import clip, decode, suppress_by_class
from .detections import Detections
from .regions import DELTA_SCALES


@dataclass(frozen=True)
class Limits:
    """Which of all scored boxes are finds; the defaults are RetinaNet's.

    Fields: least_score, lower ones are none; most_considered, so many of the highest of an image; iou_threshold, a box
    that overlaps a better one of its class by more is left out; most_given, of an image.
    """

    least_score: float = 0.05
    most_considered: int = 1000
    iou_threshold: float = 0.5
    most_given: int = 100


LIMITS = Limits()
# Of boxes (D, 4) and labels (D,) of N images, of each the best first, starts (N + 1,) and an IoU: which are kept, (D,).
Suppression = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def suppress_in_numpy(
    boxes: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    iou_threshold: float,
    *,
    most: int | None = None,
) -> np.ndarray:
    """A Suppression that needs no compiler; it ends once it has kept so many boxes of an image, None for no end."""
    kept = np.zeros(len(boxes), bool)
    for first, end in pairwise(starts):
        own = slice(first, end)
        falling = -np.arange(end - first)
        found = suppress_by_class(boxes[own], falling, labels[own], iou_threshold=iou_threshold, most=most)
        kept[first + found] = True
    return kept


def detections(
    logits: np.ndarray,
    deltas: np.ndarray,
    anchors: np.ndarray,
    image_shape: tuple[int, int, int],
    *,
    limits: Limits = LIMITS,
    suppression: Suppression = suppress_in_numpy,
) -> list[Detections]:
    """The objects found in each of N images.

    Args:
        logits, deltas: (N, A, C) and (N, A, 4).
        anchors: (A, 4), or of each image its own (N, A, 4).
        image_shape: channels, height and width; boxes are cut at its edges.
        limits: which are finds.
        suppression: leaves out double ones.

    Reference: Lin et al. 2017, arXiv 1708.02002, section 4; the paper considers 1,000 of each level, here of all.
    """
    least = np.log(limits.least_score / (1 - limits.least_score))
    image, anchor, label = (each.astype(np.int32) for each in np.nonzero(logits > least))
    logit = logits[image, anchor, label]
    # By image, the best first.
    image, anchor, label, logit = _taken(np.lexsort((-logit, image)), image, anchor, label, logit)
    first = np.searchsorted(image, np.arange(len(logits)))
    considered = np.arange(len(image)) - first[image] < limits.most_considered
    image, anchor, label, logit = _taken(considered, image, anchor, label, logit)
    begun = np.broadcast_to(anchors, deltas.shape)[image, anchor]
    boxes = clip(decode(deltas[image, anchor], begun), *image_shape[1:])
    starts = np.searchsorted(image, np.arange(len(logits) + 1)).astype(np.int32)
    kept = suppression(boxes, label, starts, limits.iou_threshold)
    found = []
    for first, end in pairwise(starts):
        own = first + np.flatnonzero(kept[first:end])[: limits.most_given]
        found.append(Detections(boxes[own], 1 / (1 + np.exp(-logit[own])), label[own]))
    return found


def region_detections(
    logits: np.ndarray,
    deltas: np.ndarray,
    regions: np.ndarray,
    image_shape: tuple[int, int, int],
    *,
    limits: Limits = LIMITS,
    suppression: Suppression = suppress_in_numpy,
) -> list[Detections]:
    """The objects that a second stage finds in each of N images, as `detections` has them.

    Args:
        logits: (N, R, C + 1), the last of no object; the score of a class is its softmax.
        deltas: (N, R, 4), times `DELTA_SCALES`.
        regions: (N, R, 4), what deltas are from; what is empty finds nothing.
        image_shape: channels, height and width.
        limits: which are finds.
        suppression: leaves out double ones.
    """
    # A class that is never there has a logit of -inf, one that is always there inf.
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.exp(logits.astype(float) - logits.max(axis=2, keepdims=True))
        others = odds.sum(axis=2, keepdims=True) - odds[:, :, :-1]
        of_classes = (np.log(odds[:, :, :-1]) - np.log(others)).astype(np.float32)
    of_classes[regions[:, :, 2] <= regions[:, :, 0]] = -np.inf
    return detections(
        of_classes, deltas / DELTA_SCALES, regions, image_shape, limits=limits, suppression=suppression
    )


def _taken(places: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    return [each[places] for each in arrays]
