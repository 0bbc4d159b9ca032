"""Slots of detectors, each trained by itself: by the native core in threads, or on stock MindSpore."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from lossfleet.conf.schema import Config
from lossfleet.runners.cache import ByteBoundedCache
from lossfleet.runners.data.splits import Split
from lossfleet.runners.detection.objective import DetectionLoss, SampledLoss
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.detection.solo.detector import SoloDetector
from lossfleet.runners.detection.solo.two_stage import SoloTwoStage
from lossfleet.runners.detection.targets import Objects, Targets
from lossfleet.runners.detection.timing import TOGETHER, speed
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.images.pixels import StandardisedImages
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.optimizers.adam import Adam
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.optimizers.sgd import SGD
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.streams import Stream, generator
from lossfleet.runners.training.native.detector import NativeDetector
from lossfleet.runners.training.native.detector_training import NativeTraining
from lossfleet.runners.training.native.two_stage import NativeTwoStage
from lossfleet.runners.training.pool import Key
from lossfleet.runners.training.replicate import Replicate, learning_rates
from lossfleet.runners.training.slots import Engine, TrainingSlots

# Of what is learnt of all images with other anchors than those in training have.
KEPT_BYTES = 128 * 2**20
# That a detector is given at a time: what it says of all anchors of an image is several times as large as its pixels.
DETECTED_IMAGES = 256
# What the core trains with.
OPTIMIZERS = (AdamW, Adam, SGD)

Result = TypeVar("Result")


class Detector(Protocol):
    """One training of a detector, by whichever engine; training: what it is given."""

    training: Training

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Train for an epoch, counted from 0; returns the mean losses of classes and boxes."""

    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""

    def parameters(self) -> list[Parameters]:
        """The parameters of each layer."""

    def load(self, parameters: Sequence[Parameters]) -> None:
        """Take the parameters of each layer; to look at images, not to train on."""


@dataclass(frozen=True)
class DetectorShape:
    """All that detectors have in common who share slots: who trains them."""

    native: bool


def network_of(config: Config, image_shape: tuple[int, int, int], classes: int) -> RetinaNet | TwoStage:
    """The network of a configuration.

    Raises:
        UserError: its settings do not fit together.
    """
    network: RetinaNet | TwoStage = config.model.call(input_shape=image_shape, classes=classes)
    return network


def loss_of(config: Config) -> DetectionLoss | SampledLoss:
    """The loss of a configuration, with its mining.

    Raises:
        UserError: the mining says too little.
    """
    loss: DetectionLoss | SampledLoss = config.loss.call()
    if isinstance(loss, SampledLoss) or config.mining.target is None:
        return loss
    return replace(loss, mining=config.mining.call())


class DetectorSlots(TrainingSlots):
    """K slots of detectors; see TrainingSlots."""

    def __init__(
        self, shape: DetectorShape, scenes: Scenes, *, slots: int, threads: int | None = None
    ) -> None:
        """Args:
        shape: who trains.
        scenes: all of the data set.
        slots: how many detectors are in training.
        threads: that train side by side; None is one a core of this process. Results are the same.
        """
        super().__init__(slots)
        self._native = shape.native
        self._scenes = scenes
        self._detectors: dict[int, Detector] = {}
        self._remembered: dict[int, list[Parameters]] = {}
        self._told: set[str] = set()
        self._objects = Objects.of(scenes)
        # Detectors of equal anchors share theirs, whatever their splits.
        self._targets: ByteBoundedCache[Targets] = ByteBoundedCache(KEPT_BYTES)
        self._executor = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)))

    def engine(self, slot: int) -> Engine:
        """See TrainingSlots."""
        return "native" if isinstance(self._detectors[slot], NativeTraining) else "stock"

    def has_room(self, key: Key) -> bool:
        """See TrainingSlots."""
        return True

    def enter(self, slot: int, replicate: Replicate) -> None:
        """See TrainingSlots."""
        self.require_free(slot)
        image_shape = replicate.split.image_shape
        assert image_shape is not None
        network = network_of(replicate.config, image_shape, replicate.classes)
        targets = self._targets.get(network.anchors, lambda: Targets.of(self._scenes, network.anchor_boxes))
        self._detectors[slot] = self._made(
            training_of(replicate, network, self._scenes.images, targets, self._objects)
        )
        self.occupants[slot] = replicate
        self.epochs[slot] = 0

    def leave(self, slot: int) -> None:
        """See TrainingSlots."""
        self.occupants[slot] = None
        for kept in (self._detectors, self._remembered):
            kept.pop(slot, None)

    def train_epoch(self) -> np.ndarray:
        """See TrainingSlots; the loss is that of classes and boxes together."""
        losses = np.full(self.slots, np.nan)

        def train(slot: int) -> None:
            losses[slot] = sum(self._detectors[slot].train_epoch(int(self.epochs[slot])))

        self._map(train, self._detectors)
        self.epochs[list(self._detectors)] += 1
        return losses

    def detections(self, part: str, slots: Collection[int]) -> dict[int, list[Detections]]:
        """The objects found in each image of a part of the own split of each slot.

        Args:
            part: `validation` or `test`.
            slots: that are taken.
        """

        def detect(slot: int) -> list[Detections]:
            rows = rows_of(self.split(slot), part)
            blocks = np.split(rows, range(DETECTED_IMAGES, len(rows), DETECTED_IMAGES))
            return [
                found
                for block in blocks
                for found in self._detectors[slot].detect(self._scenes.images[block])
            ]

        return dict(zip(slots, self._map(detect, slots), strict=True))

    def training(self, slot: int) -> Training:
        """What a detector is trained with."""
        return self._detectors[slot].training

    def logits(self, slot: int, rows: np.ndarray) -> np.ndarray:
        """What a detector of one stage says of each class at each anchor (N, A, C) of N rows of the data set."""
        detector = self._detectors[slot]
        assert isinstance(detector, NativeDetector | SoloDetector)
        return detector.predict(self._scenes.images[rows])[0]

    def parameters(self, slot: int) -> list[Parameters]:
        """The parameters of each layer of a detector."""
        return self._detectors[slot].parameters()

    def speed(self, slot: int) -> dict[str, float] | None:
        """See `timing.speed`, on images of the test part; None without the native core."""
        detector = self._detectors[slot]
        if not isinstance(detector, NativeTraining):
            return None
        return speed(detector.detect, self._scenes.images[rows_of(self.split(slot), "test")[:TOGETHER]])

    def remember(self, slots: Collection[int]) -> None:
        """See TrainingSlots."""
        for slot in slots:
            self._remembered[slot] = self._detectors[slot].parameters()

    def recall(self, slots: Collection[int]) -> None:
        """See TrainingSlots."""
        for slot in slots:
            self._detectors[slot].load(self._remembered[slot])

    def _made(self, training: Training) -> Detector:
        has_two_stages = isinstance(training.network, TwoStage)
        if self._native and isinstance(training.optimizer, OPTIMIZERS):
            return NativeTwoStage(training) if has_two_stages else NativeDetector(training)
        optimizer = type(training.optimizer).__name__
        if self._native and optimizer not in self._told:
            self._told.add(optimizer)
            print(
                f"lossfleet: the native core does not know the optimizer {optimizer}: stock MindSpore trains it, "
                "much slower",
                file=sys.stderr,
                flush=True,
            )
        return SoloTwoStage(training) if has_two_stages else SoloDetector(training)

    def _map(self, function: Callable[[int], Result], slots: Iterable[int]) -> list[Result]:
        """A function of each slot; a thread takes the next one as soon as it is free."""
        # Stock MindSpore has threads of its own.
        return list(self._executor.map(function, slots) if self._native else map(function, slots))


def training_of(
    replicate: Replicate,
    network: RetinaNet | TwoStage,
    images: np.ndarray,
    targets: Targets,
    objects: Objects,
) -> Training:
    """What either engine is given to train a replicate.

    Args:
        replicate: whose training part is trained on.
        network: of its configuration.
        images: (N, channels, height, width), all of the data set.
        targets, objects: of all of them.
    """
    config, features = replicate.config, replicate.split.train_features
    assert isinstance(features, StandardisedImages)
    random = generator(Stream.REGIONS, replicate.random_seed, replicate.split_number)
    return Training(
        network=network,
        loss=loss_of(config),
        optimizer=config.optimizer.call(),
        images=images,
        targets=targets,
        objects=objects,
        standardisation=features.standardisation,
        initial=network.initial(generator(Stream.INITIAL, replicate.random_seed)),
        plan=rows_of(replicate.split, "train")[replicate.plan],
        seeds=random.integers(2**31, size=replicate.plan.shape, dtype=np.int32),
        rates=learning_rates(replicate),
        batch_size=config.batch_size,
        clip_norm=config.clip_norm,
    )


def rows_of(split: Split, part: str) -> np.ndarray:
    """The rows of the data set that a part has: `train`, `validation` or `test`."""
    rows: np.ndarray = getattr(split, f"{part}_rows")
    return rows
