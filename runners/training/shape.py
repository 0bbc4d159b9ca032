"""What shapes a fleet's graph, named in one place; all else is data."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.schema import Config, Ohem


@dataclass(frozen=True)
class FleetShape:
    """All that shapes the compiled graph: replicates of equal shape can share a fleet.

    `mining` is how hard examples are chosen: not at all, by a fraction, or by a ratio to the positives.
    Cross-entropy is focal loss at gamma 0, so it has no shape of its own.
    """

    features: int
    classes: int
    train_rows: int
    batch_size: int
    widths: tuple[int, ...]
    dropout: bool
    mining: str
    beta1: float
    beta2: float
    epsilon: float

    @classmethod
    def of(cls, config: Config, *, features: int, classes: int, train_rows: int) -> FleetShape:
        """The shape that a configuration trains in, on data of this size."""
        mining = "none"
        if isinstance(config.loss, Ohem):
            mining = "fraction" if config.loss.negatives_per_positive is None else "ratio"
        return cls(
            features=features,
            classes=classes,
            train_rows=train_rows,
            batch_size=config.batch_size,
            widths=config.model.widths,
            dropout=config.model.dropout > 0,
            mining=mining,
            beta1=config.optimizer.beta1,
            beta2=config.optimizer.beta2,
            epsilon=config.optimizer.epsilon,
        )

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch."""
        return -(-self.train_rows // self.batch_size)
