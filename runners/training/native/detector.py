"""Detectors of one stage that the core trains."""

from __future__ import annotations

import numpy as np

from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.training import Training
from lossfleet.runners.portable.objects.decoding import detections
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.detector_training import NativeTraining, rows, suppress_natively


class NativeDetector(NativeTraining):
    """One training of RetinaNet by the native core."""

    def __init__(self, training: Training) -> None:
        assert isinstance(training.network, RetinaNet)
        self._network = training.network
        super().__init__(training, "train_detector_epoch", training.network, training.targets)

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, A, C) and deltas (N, A, 4) of images (N, channels, height, width) uint8."""
        network = self._network
        logits = np.empty((len(images), network.anchor_count, network.classes), np.float32)
        deltas = np.empty((len(images), network.anchor_count, 4), np.float32)
        Call(
            "predict_detector_images",
            self._told,
            self._parameters,
            rows(images),
            self.training.standardisation,
            logits,
            deltas,
        )()
        return logits, deltas

    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""
        network = self._network
        return detections(
            *self.predict(images), network.anchor_boxes, network.image_shape, suppression=suppress_natively
        )
