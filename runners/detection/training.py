"""One training of a detector, as data: what any engine needs to make the same detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossfleet.runners.detection.objective import DetectionLoss, SampledLoss
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.targets import Objects, Targets
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.optimizers.adam import Adam
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.optimizers.sgd import SGD


@dataclass(frozen=True, eq=False)
class Training:
    """A training of a detector, of one stage or of two.

    Fields: images (N, channels, height, width) uint8; targets and objects of them; initial, the first parameters of
    each layer; plan (epochs, n), the images of each epoch in the order in which batches take them; seeds (epochs, n)
    int32, of what two stages draw of each; rates (epochs, steps), the learning rate of each step; clip_norm, the
    longest gradient, None for any.
    """

    network: RetinaNet | TwoStage
    loss: DetectionLoss | SampledLoss
    optimizer: AdamW | Adam | SGD
    images: np.ndarray
    targets: Targets
    objects: Objects
    initial: list[Parameters]
    plan: np.ndarray
    seeds: np.ndarray
    rates: np.ndarray
    batch_size: int
    clip_norm: float | None = None

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The images of each step of an epoch; the last one may have fewer."""
        plan = self.plan[epoch]
        return [plan[start : start + self.batch_size] for start in range(0, len(plan), self.batch_size)]


def standardisation(images: np.ndarray) -> np.ndarray:
    """Mean and factor (2, channels height width) float32 that bring each channel to mean 0 and variance 1.

    Args:
        images: (N, channels, height, width) uint8; a channel that does not vary becomes 0.
    """
    _, channels, height, width = images.shape
    counts = np.stack([np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(channels)])
    shares, values = counts / counts.sum(1, keepdims=True), np.arange(256)
    mean = shares @ values
    deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    factor = np.divide(1, deviation, out=np.zeros(channels), where=deviation > 0)
    return np.repeat(np.stack([mean, factor]), height * width, axis=1).astype(np.float32)
