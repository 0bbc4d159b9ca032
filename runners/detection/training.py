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

    Fields: images (N, channels, height, width) uint8, of which it trains on those of the plan; targets and objects of
    all of them; standardisation (2, channels height width) float32, the mean and the factor of each pixel; initial, the
    first parameters of each layer; plan (epochs, n), the images of each epoch in the order in which batches take them;
    seeds (epochs, n) int32, of what two stages draw of each; rates (epochs, steps), the learning rate of each step;
    clip_norm, the longest gradient, None for any.
    """

    network: RetinaNet | TwoStage
    loss: DetectionLoss | SampledLoss
    optimizer: AdamW | Adam | SGD
    images: np.ndarray
    targets: Targets
    objects: Objects
    standardisation: np.ndarray
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
