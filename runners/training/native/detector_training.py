"""Trainings of detectors by the core, of one stage and of two, each in a thread of its own."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np

from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.targets import Targets
from lossfleet.runners.detection.training import Training
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.translation import (
    flat_parameters,
    of_optimizer,
    stock_parameters,
)

# The places of the arguments that change from epoch to epoch, and of what comes behind those of one stage.
PLAN, COEFFICIENTS, FURTHER = 9, 12, 14


class NativeTraining(ABC):
    """One training by the native core; the same bits on every run, whoever else trains."""

    def __init__(
        self,
        training: Training,
        function: str,
        network: RetinaNet,
        targets: Targets,
        further: Sequence[np.ndarray] = (),
    ) -> None:
        """Args:
        training: what is trained.
        function: of the core.
        network: of one stage, or the first of two.
        targets: of its anchors.
        further: what the function takes besides, see detectors.cpp.
        """
        self.training = training
        self._told = told(network)
        self._parameters = flat_parameters(training.initial)
        self._losses = np.zeros(2, np.float32)
        self._coefficients = _coefficients(training)
        state = [np.zeros_like(self._parameters) for _ in range(2)]
        # An array must not be empty.
        matched = (targets.matched, targets.deltas) if len(targets.matched) else _ONE_IGNORED
        kind, numbers = of_optimizer(training.optimizer)
        self._call = Call(
            function,
            self._told,
            self._parameters,
            *state,
            rows(training.images),
            targets.starts,
            *matched,
            network.anchor_boxes,
            self._plan(0),
            np.array([training.batch_size, kind], np.int32),
            np.array([*training.loss.numbers, *numbers, training.clip_norm or 0.0], np.float32),
            self._coefficients[0],
            training.standardisation,
            *further,
            self._parameters,
            *state,
            self._losses,
        )

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Train for an epoch, counted from 0; returns the mean losses of classes and boxes."""
        self._call.set(PLAN, self._plan(epoch))
        self._call.set(COEFFICIENTS, self._coefficients[epoch])
        self._call()
        return float(self._losses[0]), float(self._losses[1])

    @abstractmethod
    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""

    def parameters(self) -> list[Parameters]:
        """The parameters of each layer."""
        return stock_parameters(self._parameters.copy(), self.training.initial)

    def load(self, parameters: Sequence[Parameters]) -> None:
        """Takes the parameters of each layer; to look at images, not to train on."""
        self._parameters[:] = flat_parameters(parameters)

    def _plan(self, epoch: int) -> np.ndarray:
        return np.ascontiguousarray(self.training.plan[epoch], np.int32)


_ONE_IGNORED = (np.array([[0, -2]], np.int32), np.zeros((1, 4), np.float32))


def told(network: RetinaNet) -> np.ndarray:
    """What the core is told of a network: DetectorRow in detector.h and the channels of the body."""
    return np.array(
        [
            *network.image_shape,
            len(network.anchors.strides),
            network.width,
            network.depth,
            network.anchors.per_place,
            network.classes,
            *network.body,
        ],
        np.int32,
    )


def suppress_natively(
    boxes: np.ndarray, labels: np.ndarray, starts: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """A Suppression by the core."""
    kept = np.zeros(len(boxes), np.uint8)
    if len(boxes):
        limit = np.array([iou_threshold], np.float32)
        Call("suppress_boxes", np.ascontiguousarray(boxes, np.float32), labels, starts, limit, kept)()
    return kept.astype(bool)


def train_epochs(
    detectors: Sequence[NativeTraining], epoch: int, *, threads: int | None = None
) -> list[tuple[float, float]]:
    """An epoch of each detector, side by side; returns the losses of each.

    Args:
        detectors: to train.
        epoch: counted from 0.
        threads: None is one a core of this process. Results are the same.
    """
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as executor:
        return list(executor.map(lambda each: each.train_epoch(epoch), detectors))


def rows(images: np.ndarray) -> np.ndarray:
    """Images (N, channels, height, width) as the core takes them."""
    return np.ascontiguousarray(images.reshape(len(images), prod(images.shape[1:])))


def _coefficients(training: Training) -> np.ndarray:
    """What the optimizer needs at each step of the whole training, (epochs, N, S) float32."""
    step = np.arange(1, training.rates.size + 1)[:, None]
    decay = np.array([training.optimizer.weight_decay])
    packed = training.optimizer.packed(training.rates.reshape(-1, 1), decay, step)
    return np.ascontiguousarray(packed.reshape(-1, *training.rates.shape).transpose(1, 0, 2))
