"""What shapes a graph, derived from the parts; all else is data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lossfleet.conf.parts import Part
from lossfleet.conf.schema import Config
from lossfleet.runners.data.splits import Split
from lossfleet.runners.models.build import build_layers
from lossfleet.runners.models.layers import Layer
from lossfleet.runners.optimizers.optimizer import Optimizer
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import draws_of_member
from lossfleet.runners.training.second_stages import SecondStage, second_stage_of


@dataclass(frozen=True)
class Shape:
    """What shapes the graph of an epoch, whatever the model, and what is around it.

    train_rows are those that a network draws in an epoch; members, a second stage, and whether each epoch has rows of
    its own, are around its graph.
    """

    features: int
    classes: int
    train_rows: int
    batch_size: int
    optimizer: Optimizer
    objective: Objective
    mixes: bool
    augments: bool
    members: int
    second_stage: SecondStage | None
    clips: bool

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch."""
        return -(-self.train_rows // self.batch_size)


@dataclass(frozen=True)
class FleetShape(Shape):
    """All that shapes a fleet's graph: replicates of equal shape can share a fleet.

    Layers are equal where they differ in each member's own numbers alone.
    """

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class CellShape(Shape):
    """All that shapes the graph of a cell of the user's."""

    model: Part


def shape_on(config: Config, split: Split) -> FleetShape | CellShape:
    """The shape that a configuration trains in, on a split of its data."""
    return shape_of(
        config,
        features=split.train_features.shape[1],
        classes=len(split.class_counts),
        train_rows=split.draws,
        weighs=split.train_weights is not None,
        image_shape=split.image_shape,
    )


def shape_of(
    config: Config,
    *,
    features: int,
    classes: int,
    train_rows: int,
    weighs: bool = False,
    image_shape: tuple[int, int, int] | None = None,
) -> FleetShape | CellShape:
    """The shape that a configuration trains in, on data of this size, whose rows may have weights or be images."""
    layers = build_layers(config.model, features, classes, image_shape)
    plain: dict[str, Any] = {
        "features": features,
        "classes": classes,
        "train_rows": draws_of_member(train_rows, config.members),
        "batch_size": config.batch_size,
        "mixes": config.mixing.target is not None,
        "augments": config.augmentation.target is not None,
        "members": config.members,
        "second_stage": second_stage_of(config),
        "clips": config.clip_norm is not None,
    }
    objective = Objective.of(config.loss, config.mining, stacked=True, weighs=weighs)
    # Each member has its own learning rate and decay, as data.
    optimizer = replace(config.optimizer.call(), lr=1.0, weight_decay=0.0)
    if layers is None:
        return CellShape(**plain, optimizer=optimizer, objective=objective, model=config.model)
    return FleetShape(**plain, optimizer=optimizer, objective=objective, layers=layers)
