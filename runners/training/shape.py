"""What shapes a fleet's graph, derived from the parts; all else is data."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.schema import Config
from lossfleet.runners.models.layers import Layer
from lossfleet.runners.optimizers.optimizer import Optimizer
from lossfleet.runners.training.objective import Objective


@dataclass(frozen=True)
class FleetShape:
    """All that shapes the compiled graph: replicates of equal shape can share a fleet.

    Layers and optimizers are equal where they differ in each member's own numbers alone.
    """

    features: int
    classes: int
    train_rows: int
    batch_size: int
    layers: tuple[Layer, ...]
    optimizer: Optimizer
    objective: Objective

    @classmethod
    def of(cls, config: Config, *, features: int, classes: int, train_rows: int) -> FleetShape:
        """The shape that a configuration trains in, on data of this size."""
        return cls(
            features=features,
            classes=classes,
            train_rows=train_rows,
            batch_size=config.batch_size,
            layers=tuple(config.model.call(features=features, classes=classes)),
            optimizer=config.optimizer.call(),
            objective=Objective.of(config.loss, config.mining, stacked=True),
        )

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch."""
        return -(-self.train_rows // self.batch_size)
