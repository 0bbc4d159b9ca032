"""What a two-stage detector learns from: anchors and regions drawn by chance, the same in any engine."""

from __future__ import annotations

import numpy as np

from lossfleet.runners.detection.anchors import BACKGROUND
from lossfleet.runners.detection.objective import SampledLoss
from lossfleet.runners.portable.objects.boxes import encode, iou
from lossfleet.runners.portable.objects.regions import DELTA_SCALES

# A region is on the object that it overlaps most if their IoU is at least this.
REGION_IOU = 0.5


def keys(seed: int, first: int, count: int) -> np.ndarray:
    """Random numbers (count,) uint32, those from number `first` on of a seed: the same in any engine.

    Reference: the mixing of 32 bits is lowbias32, github.com/skeeto/hash-prospector.
    """
    x = np.uint32(seed) + np.arange(first, first + count, dtype=np.uint32) * np.uint32(0x9E3779B9)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def sample(
    positive: np.ndarray, negative: np.ndarray, keys: np.ndarray, *, most_positives: int, total: int
) -> np.ndarray:
    """Examples by chance: positives up to a number of them, and negatives up to the total.

    Args:
        positive, negative: (N,) bool, which may be drawn as what.
        keys: (N,), random; those with the smallest are drawn, of equal ones the first.
        most_positives: of all.
        total: if there are as many.

    Returns:
        Their indices, the positives first.
    """
    order = np.argsort(keys, kind="stable")
    positives = order[positive[order]][:most_positives]
    return np.concatenate([positives, order[negative[order]][: total - len(positives)]])


def object_of(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The object (M, 4) that each of boxes (N, 4) overlaps most, the first of equal ones, -1 below an IoU of .5."""
    if not len(objects):
        return np.full(len(boxes), -1)
    overlaps = iou(boxes, objects)
    return np.where(overlaps.max(axis=1) >= REGION_IOU, overlaps.argmax(axis=1), -1)


def sampled_anchors(loss: SampledLoss, labels: np.ndarray, seed: int) -> np.ndarray:
    """The anchors of an image that count, see SampledLoss.

    Args:
        loss: says how many.
        labels: (A,), 0 for those on objects, BACKGROUND or IGNORED.
        seed: of the image in an epoch.
    """
    random = keys(seed, 0, len(labels))
    return sample(
        labels == 0,
        labels == BACKGROUND,
        random,
        most_positives=loss.most_positive_anchors,
        total=loss.anchors,
    )


def sampled_regions(
    loss: SampledLoss,
    found: np.ndarray,
    objects: np.ndarray,
    labels: np.ndarray,
    anchors: int,
    seed: int,
    classes: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The regions of an image that count, see SampledLoss.

    Args:
        loss: says how many.
        found: (P, 4), the proposals.
        objects, labels: (M, 4) and (M,), what there is.
        anchors: of the image, whose random numbers come first.
        seed: of the image in an epoch.
        classes: how many there are.

    Returns:
        Boxes (R, 4), labels (R,), which are `classes` where there is no object, and scaled deltas (R, 4).
    """
    boxes = np.concatenate([found, objects])
    of_object = object_of(boxes, objects)
    random = keys(seed, anchors, len(boxes))
    chosen = sample(
        of_object >= 0,
        of_object < 0,
        random,
        most_positives=loss.most_positive_regions,
        total=loss.regions,
    )
    boxes, of_object = boxes[chosen], of_object[chosen]
    on = of_object >= 0
    region_labels = np.full(len(chosen), classes)
    region_labels[on] = labels[of_object[on]]
    targets = np.zeros((len(chosen), 4), np.float32)
    targets[on] = encode(objects[of_object[on]], boxes[on]) * DELTA_SCALES
    return boxes, region_labels, targets
