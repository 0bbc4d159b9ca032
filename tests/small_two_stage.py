"""A small detector of two stages with awkward sizes; what it draws, computes and finds, in float64 by definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from small_detectors import forward, pyramid

from lossfleet.runners.detection.anchors import BACKGROUND
from lossfleet.runners.detection.objective import SampledLoss
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.portable.objects.anchors import Anchors
from lossfleet.runners.portable.objects.boxes import clip, decode, encode, iou

ANCHORS = Anchors((4, 8), (6.0, 12.0), (1.0, 1.3))
TWO_STAGE = TwoStage(
    (2, 22, 27),
    3,
    ANCHORS,
    (5, 6, 7),
    width=5,
    hidden=(9,),
    cells=3,
    region_size=6,
    proposals=7,
    training_proposals=13,
)
LOSS = SampledLoss(anchors=30, regions=10, positives=0.2, box_weight=0.7)
SCALES = np.array([10, 10, 5, 5])


@dataclass(frozen=True)
class Drawn:
    """What counts of an image: anchors, and of regions the box, the label and the object, None without one."""

    anchors: list[int]
    regions: list[tuple[np.ndarray, int, np.ndarray | None]]


def key(seed: int, place: int) -> int:
    """lowbias32 of a number of a seed."""
    x = (seed + place * 0x9E3779B9) % 2**32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def by_chance(positive: list[int], negative: list[int], keys: list[int], most: int, total: int) -> list[int]:
    """Positives and negatives with the smallest keys."""
    chosen = sorted(positive, key=keys.__getitem__)[:most]
    return chosen + sorted(negative, key=keys.__getitem__)[: total - len(chosen)]


def proposed(network: TwoStage, logits: np.ndarray, deltas: np.ndarray, most: int) -> list[np.ndarray]:
    """The proposals of an image, one by one."""
    boxes = clip(decode(deltas, network.anchor_boxes.astype(float)), *network.image_shape[1:])
    kept: list[np.ndarray] = []
    for anchor in np.argsort(-logits, kind="stable"):
        left, top, right, bottom = box = boxes[anchor]
        is_new = all(iou(box[None], other[None])[0, 0] <= 0.7 for other in kept)
        if right - left >= 1 and bottom - top >= 1 and is_new and len(kept) < most:
            kept.append(box)
    return kept


def drawn(made: Training, parameters: list[Parameters]) -> list[Drawn]:
    """What counts of each image of the first epoch."""
    network, loss = made.network, made.loss
    logits, deltas = forward(network.proposer, parameters, standard(made, made.images[made.plan[0]]))
    labels, _ = made.targets.dense(made.plan[0], network.anchor_count)
    found = []
    for place, (image, seed) in enumerate(zip(made.plan[0], made.seeds[0].tolist(), strict=True)):
        keys = [key(seed, n) for n in range(network.anchor_count + 100)]
        on, off = (
            np.flatnonzero(each).tolist() for each in (labels[place] >= 0, labels[place] == BACKGROUND)
        )
        anchors = by_chance(on, off, keys, loss.anchors // 2, loss.anchors)
        objects, classes = made.objects.of_image(image)
        boxes = proposed(network, logits[place, :, 0], deltas[place], network.training_proposals)
        boxes += list(objects.astype(float))
        of_object = {}
        for n, box in enumerate(boxes):
            overlaps = iou(box[None], objects.astype(float))[0]
            if len(objects) and overlaps.max() >= 0.5:
                of_object[n] = int(overlaps.argmax())
        others = [n for n in range(len(boxes)) if n not in of_object]
        keys = keys[network.anchor_count :]
        regions = []
        for n in by_chance(list(of_object), others, keys, round(loss.positives * loss.regions), loss.regions):
            object_ = of_object.get(n)
            if object_ is None:
                regions.append((boxes[n], network.classes, None))
            else:
                regions.append((boxes[n], int(classes[object_]), objects[object_].astype(float)))
        found.append(Drawn(anchors, regions))
    return found


def features(network: TwoStage, levels: list[np.ndarray], box: np.ndarray) -> np.ndarray:
    """RoIAlign of a region of an image whose levels are (C, rows, columns): by row, column, channel."""
    left, top, right, bottom = box
    side = np.sqrt((right - left) * (bottom - top))
    number = int(np.clip(np.floor(np.log2(side / network.region_size)) + 1, 0, len(levels) - 1))
    level, stride, found = levels[number], network.anchors.strides[number], []
    for row in range(network.cells):
        for column in range(network.cells):
            y = (top + (row + 0.5) / network.cells * (bottom - top)) / stride - 0.5
            x = (left + (column + 0.5) / network.cells * (right - left)) / stride - 0.5
            found.append(bilinear(level, y, x))
    return np.concatenate(found)


def bilinear(level: np.ndarray, y: float, x: float) -> np.ndarray:
    """The channels of a level at a place between the middles of its pixels, (C,)."""
    _, height, width = level.shape
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    row, column = int(y), int(x)
    below, right = min(row + 1, height - 1), min(column + 1, width - 1)
    of_row = (1 - x + column) * level[:, row, column] + (x - column) * level[:, row, right]
    of_below = (1 - x + column) * level[:, below, column] + (x - column) * level[:, below, right]
    return (1 - y + row) * of_row + (y - row) * of_below


def second_stage(
    network: TwoStage, parameters: list[Parameters], levels: list[np.ndarray], box: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (C + 1,) and scaled deltas (4,) of a region."""
    x = features(network, levels, box)
    for weight, bias in parameters[-len(network.dense) : -1]:
        x = np.maximum(weight @ x + bias, 0)
    weight, bias = parameters[-1]
    x = weight @ x + bias
    odds = np.exp(x[:-4] - x[:-4].max())
    return odds / odds.sum(), x[-4:]


def losses(made: Training, parameters: list[Parameters], of_images: list[Drawn]) -> tuple[float, float]:
    """The losses of classes and of boxes of all images, of what was drawn."""
    network, loss, images = made.network, made.loss, standard(made, made.images[made.plan[0]])
    logits, deltas = forward(network.proposer, parameters, images)
    levels = pyramid(network.proposer, iter(parameters), images)
    labels, targets = made.targets.dense(made.plan[0], network.anchor_count)
    of_classes = of_boxes = 0.0
    for place, own in enumerate(of_images):
        for anchor in own.anchors:
            is_object = labels[place, anchor] >= 0
            logit = logits[place, anchor, 0] * (1 if is_object else -1)
            of_classes += np.logaddexp(0, -logit) / loss.anchors
            if is_object:
                away = deltas[place, anchor] - targets[place, anchor]
                of_boxes += smooth_l1(away, loss.beta) / loss.anchors
        for box, label, object_ in own.regions:
            shares, moved = second_stage(network, parameters, [each[place] for each in levels], box)
            of_classes -= np.log(shares[label]) / loss.regions
            if object_ is not None:
                away = moved - SCALES * encode(object_[None], box[None])[0]
                of_boxes += smooth_l1(away, 1.0) / loss.regions
    return of_classes / len(of_images), loss.box_weight * of_boxes / len(of_images)


def smooth_l1(away: np.ndarray, beta: float) -> float:
    """Of differences."""
    size = np.abs(away)
    return float(np.where(size < beta, size**2 / (2 * beta), size - beta / 2).sum())


def standard(made: Training, images: np.ndarray) -> np.ndarray:
    """Images as the network sees them, in float64."""
    mean, factor = made.standardisation.astype(float).reshape(2, *made.network.image_shape)
    return (images - mean) * factor
