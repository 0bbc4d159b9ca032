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
from lossfleet.runners.detection.timing import speed
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
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

# Of training images and what is learnt of them, beside those in training.
KEPT_BYTES = 128 * 2**20
# What the core trains with.
OPTIMIZERS = (AdamW, Adam, SGD)

Result = TypeVar("Result")


class Detector(Protocol):
    """One training of a detector, by whichever engine."""

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


@dataclass(frozen=True, eq=False)
class Lesson:
    """The training images (N, channels, height, width) uint8 of a split, and what detectors learn of them."""

    images: np.ndarray
    targets: Targets
    objects: Objects

    @classmethod
    def of(cls, scenes: Scenes, anchors: np.ndarray) -> Lesson:
        """That of scenes whose images have these anchors (A, 4)."""
        return cls(scenes.images, Targets.of(scenes, anchors), Objects.of(scenes))

    @property
    def nbytes(self) -> int:
        """Their memory in bytes; that of the objects is small."""
        targets = self.targets
        return self.images.nbytes + targets.starts.nbytes + targets.matched.nbytes + targets.deltas.nbytes


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
        self._lessons: ByteBoundedCache[Lesson] = ByteBoundedCache(KEPT_BYTES)
        # Detectors of one split share what they learn as long as one of them is here.
        self._lesson_of: dict[int, Lesson] = {}
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
        network = network_of(replicate.config, image_shape_of(replicate.split), replicate.classes)
        lesson = self._lessons.get(
            (replicate.rows_key, network.anchors), lambda: self._lesson(replicate.split, network)
        )
        self._detectors[slot] = self._made(training_of(replicate, network, lesson))
        self._lesson_of[slot] = lesson
        self.occupants[slot] = replicate
        self.epochs[slot] = 0

    def leave(self, slot: int) -> None:
        """See TrainingSlots."""
        self.occupants[slot] = None
        for kept in (self._detectors, self._remembered, self._lesson_of):
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
            return self._detectors[slot].detect(self._scenes.images[rows_of(self.split(slot), part)])

        return dict(zip(slots, self._map(detect, slots), strict=True))

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
        return speed(detector.detect, self._scenes.images[rows_of(self.split(slot), "test")])

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

    def _lesson(self, split: Split, network: RetinaNet | TwoStage) -> Lesson:
        return Lesson.of(self._scenes.take(rows_of(split, "train")), network.anchor_boxes)

    def _map(self, function: Callable[[int], Result], slots: Iterable[int]) -> list[Result]:
        """A function of each slot; a thread takes the next one as soon as it is free."""
        # Stock MindSpore has threads of its own.
        return list(self._executor.map(function, slots) if self._native else map(function, slots))


def training_of(replicate: Replicate, network: RetinaNet | TwoStage, lesson: Lesson) -> Training:
    """What either engine is given to train a replicate."""
    config = replicate.config
    random = generator(Stream.REGIONS, replicate.random_seed, replicate.split_number)
    return Training(
        network=network,
        loss=loss_of(config),
        optimizer=config.optimizer.call(),
        images=lesson.images,
        targets=lesson.targets,
        objects=lesson.objects,
        initial=network.initial(generator(Stream.INITIAL, replicate.random_seed)),
        plan=replicate.plan,
        seeds=random.integers(2**31, size=replicate.plan.shape, dtype=np.int32),
        rates=learning_rates(replicate),
        batch_size=config.batch_size,
        clip_norm=config.clip_norm,
    )


def image_shape_of(split: Split) -> tuple[int, int, int]:
    """Channels, height and width of the images of a split."""
    assert split.image_shape is not None
    return split.image_shape


def rows_of(split: Split, part: str) -> np.ndarray:
    """The rows of the data set that a part has: `train`, `validation` or `test`."""
    rows: np.ndarray = getattr(split, f"{part}_rows")
    return rows
