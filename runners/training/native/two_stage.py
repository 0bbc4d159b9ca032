"""Detectors of two stages that the core trains."""

from __future__ import annotations

import numpy as np

from lossfleet.runners.detection.targets import Objects
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.portable.objects.decoding import region_detections
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.detector_training import (
    FURTHER,
    NativeTraining,
    rows,
    suppress_natively,
)

# The place of the argument that changes from epoch to epoch.
SEEDS = FURTHER + 4


class NativeTwoStage(NativeTraining):
    """One training of `TwoStage` by the native core."""

    def __init__(self, training: Training) -> None:
        assert isinstance(training.network, TwoStage)
        self._network = network = training.network
        objects = training.objects if len(training.objects.labels) else _none(training.objects)
        further = (
            region_row(network, network.training_proposals),
            objects.starts,
            objects.boxes,
            objects.labels,
            training.seeds[0],
        )
        targets = training.targets.of_any_class
        super().__init__(training, "train_two_stage_epoch", network.proposer, targets, further)

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Train for an epoch, counted from 0; returns the mean losses of classes and boxes."""
        self._call.set(SEEDS, self.training.seeds[epoch])
        return super().train_epoch(epoch)

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the second stage says of images (N, channels, height, width) uint8.

        Returns:
            Logits (N, R, C + 1), the last of no object, deltas (N, R, 4), times `DELTA_SCALES`, and the R regions
            (N, R, 4) of each image; where it has fewer all are 0.
        """
        network, shape = self._network, (len(images), self._network.proposals)
        regions, deltas = (np.zeros((*shape, 4), np.float32) for _ in range(2))
        logits = np.zeros((*shape, network.classes + 1), np.float32)
        Call(
            "predict_two_stage_images",
            self._told,
            self._parameters,
            rows(images),
            self.training.standardisation,
            network.anchor_boxes,
            region_row(network, network.proposals),
            regions,
            logits,
            deltas,
        )()
        return logits, deltas, regions

    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""
        shape = self._network.image_shape
        return region_detections(*self.predict(images), shape, suppression=suppress_natively)


def region_row(network: TwoStage, proposals: int) -> np.ndarray:
    """What the core is told of a second stage: RegionRow in two_stage.h and the units of the hidden layers."""
    return np.array(
        [network.classes, network.cells, network.region_size, proposals, *network.hidden], np.int32
    )


def _none(objects: Objects) -> Objects:
    """One object that no image has, since an array must not be empty."""
    return Objects(objects.starts, np.zeros((1, 4), np.float32), np.zeros(1, np.int32))
