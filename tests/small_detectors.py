"""A small detector with awkward sizes, scenes of noise for it, and what it computes, in float64 by definition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from image_layers import convolution

from lossfleet.runners.detection.anchors import IGNORED
from lossfleet.runners.detection.objective import DetectionLoss, HardAnchors, SampledLoss
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.detection.targets import Objects, Targets
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.images.pixels import Images, standardised
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.optimizers.sgd import SGD
from lossfleet.runners.portable.objects.anchors import Anchors
from lossfleet.runners.portable.objects.boxes import iou
from lossfleet.runners.training.native.translation import flat_parameters

# Sizes that halving rounds, channels that are no multiple of four, levels of one and of several anchors' sizes.
NETWORK = RetinaNet(
    (2, 22, 27), 3, Anchors((4, 8), (6.0, 12.0), (1.0, 1.3)), body=(5, 6, 7), width=5, prior=0.2
)
# Two blocks of the core's, the second with empty places.
IMAGES, BATCH, EPOCHS = 11, 11, 2
LOSSES = {
    "focal": DetectionLoss(gamma=1.5, alpha=0.3, box_weight=0.7),
    "cross-entropy": DetectionLoss(gamma=0.0, alpha=None, beta=1.0),
    "hardest": DetectionLoss(0.0, None, HardAnchors(examples=9)),
    "hardest after suppression": DetectionLoss(0.0, 0.6, HardAnchors(0.5, 7)),
    "ratio": DetectionLoss(0.0, None, HardAnchors(negatives_per_positive=2.5)),
    "ratio after suppression": DetectionLoss(0.5, 0.4, HardAnchors(0.4, 13, 3.0)),
}


def check_gradient(
    engine: Callable[[Training], Any],
    made: Training,
    expected: Any,
    along: Iterable[tuple[list[Parameters], float]],
) -> None:
    """One step of an engine has these losses, and these slopes along some directions."""
    # One step at rate 1 takes the gradient away.
    plain = replace(
        made,
        optimizer=SGD(lr=1.0, weight_decay=0.0, momentum=0.0),
        rates=np.ones_like(made.rates),
        clip_norm=None,
    )
    detector = engine(plain)
    np.testing.assert_allclose(detector.train_epoch(0), expected, rtol=2e-5)
    gradient = flat_parameters(made.initial) - flat_parameters(detector.parameters())
    for direction, slope in along:
        found = gradient.astype(float) @ flat_parameters(direction)
        np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-4)


def noise(network: RetinaNet | TwoStage = NETWORK, images: int = IMAGES, seed: int = 0) -> Scenes:
    """Scenes of noise; some have no objects."""
    random = np.random.default_rng(seed)
    channels, height, width = network.image_shape
    counts = random.permutation(np.arange(images) % 4)
    boxes = []
    for count in counts:
        size = random.uniform(3, 9, (count, 2))
        corner = random.uniform(0, [width, height] - size)
        boxes.append(np.concatenate([corner, corner + size], axis=1).astype(np.float32))
    return Scenes(
        random.integers(0, 256, (images, channels, height, width)).astype(np.uint8),
        tuple(boxes),
        tuple(random.integers(0, network.classes, count).astype(np.int32) for count in counts),
        tuple("abcdefgh"[: network.classes]),
        np.arange(images),
    )


def training(
    loss: DetectionLoss | SampledLoss, network: RetinaNet | TwoStage = NETWORK, seed: int = 0
) -> Training:
    """Two epochs on noise by AdamW, from parameters whose biases are random too."""
    random, scenes = np.random.default_rng(seed + 100), noise(network, seed=seed)
    initial = [
        tuple((each + random.normal(0, 0.2, each.shape)).astype(np.float32) for each in own)
        for own in network.initial(random)
    ]
    plan = np.stack([random.permutation(IMAGES) for _ in range(EPOCHS)])
    rates = random.uniform(1e-3, 1e-2, (EPOCHS, -(-IMAGES // BATCH)))
    seeds = random.integers(2**31, size=plan.shape, dtype=np.int32)
    return Training(
        network,
        loss,
        AdamW(weight_decay=0.1),
        scenes.images,
        Targets.of(scenes, network.anchor_boxes),
        Objects.of(scenes),
        standardised([Images.of(scenes.images)])[0].standardisation,
        initial,
        plan,
        seeds,
        rates,
        BATCH,
        5.0,
    )


def smaller_batches(made: Training, batch_size: int) -> Training:
    """The same in batches of another size."""
    random = np.random.default_rng(7)
    rates = random.uniform(1e-3, 1e-2, (EPOCHS, -(-IMAGES // batch_size)))
    return replace(made, batch_size=batch_size, rates=rates)


def repeated(made: Training, times: int) -> Training:
    """The epochs of a training again and again."""
    plan, seeds, rates = (np.tile(each, (times, 1)) for each in (made.plan, made.seeds, made.rates))
    return replace(made, plan=plan, seeds=seeds, rates=rates)


def forward(
    network: RetinaNet, parameters: list[Parameters], images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, A, C) and deltas (N, A, 4) of images (N, channels, height, width) in float64."""
    left = iter(parameters)
    levels = pyramid(network, left, images)
    found = []
    for numbers in (network.classes, 4):
        head = [next(left) for _ in range(network.depth + 1)]
        of_levels = []
        for level in levels:
            for own in head[:-1]:
                level = np.maximum(convolution(level, *own, 1), 0)
            level = convolution(level, *head[-1], 1)
            of_levels.append(level.transpose(0, 2, 3, 1).reshape(len(level), -1, numbers))
        found.append(np.concatenate(of_levels, axis=1))
    return found[0], found[1]


def pyramid(network: RetinaNet, left: Iterator[Parameters], images: np.ndarray) -> list[np.ndarray]:
    """Its levels, with the next of the parameters."""
    stages, levels = [], []
    for _ in network.body:
        images = np.maximum(convolution(images, *next(left), 2), 0)
        stages.append(images)
    for stage in stages[-len(network.sizes) :]:
        levels.append(convolution(stage, *next(left), 1))
    for finer, coarser in zip(range(len(levels) - 2, -1, -1), range(len(levels) - 1, 0, -1), strict=True):
        _, _, height, width = levels[finer].shape
        levels[finer] = levels[finer] + levels[coarser].repeat(2, 2).repeat(2, 3)[:, :, :height, :width]
    return levels


def losses(made: Training, parameters: list[Parameters]) -> tuple[float, float]:
    """The loss of the classes and that of the boxes of all images, by definition."""
    network, loss, rows = made.network, made.loss, made.plan[0]
    mean, factor = made.standardisation.astype(float).reshape(2, *network.image_shape)
    logits, deltas = forward(network, parameters, (made.images[rows] - mean) * factor)
    labels, targets = made.targets.dense(rows, network.anchor_count)
    there = labels[..., None] == np.arange(network.classes)
    p_t = 1 / (1 + np.exp(np.where(there, -logits, logits)))
    alpha_t = 1.0 if loss.alpha is None else np.where(there, loss.alpha, 1 - loss.alpha)
    of_anchors = (alpha_t * (1 - p_t) ** loss.gamma * -np.log(p_t)).sum(2)
    total = 0.0
    for own, own_labels in zip(of_anchors, labels, strict=True):
        total += own[kept_anchors(loss.mining, own, own_labels, network.anchor_boxes)].sum()
    away = np.abs(deltas - targets)[labels >= 0]
    of_boxes = np.where(away < loss.beta, away**2 / (2 * loss.beta), away - loss.beta / 2).sum()
    positives = (labels >= 0).sum()
    return total / positives, loss.box_weight * of_boxes / positives


def kept_anchors(
    mining: HardAnchors | None, losses: np.ndarray, labels: np.ndarray, anchors: np.ndarray
) -> list[int]:
    """The anchors of one image that count, one by one from the hardest to the easiest."""
    order = [anchor for anchor in np.argsort(-losses, kind="stable") if labels[anchor] != IGNORED]
    if mining is None:
        return order
    overlaps = iou(anchors, anchors)
    left: list[int] = []
    for anchor in order:
        if overlaps[anchor, left].max(initial=0) <= mining.iou_threshold:
            left.append(anchor)
    examples = len(losses) if mining.examples is None else mining.examples
    ratio = mining.negatives_per_positive
    if ratio is None:
        return left[:examples]
    positives = [anchor for anchor in left if labels[anchor] >= 0][: int(examples / (1 + ratio))]
    negatives = [anchor for anchor in left if labels[anchor] < 0]
    return positives + negatives[: max(1, int(np.ceil(ratio * len(positives))))]
