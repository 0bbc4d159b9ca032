"""What benchmarks train: configurations, made as the commands make them from overrides, and their data.

Nothing in here imports MindSpore, for the sake of those who measure without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lossfleet.conf.schema import Config, Data, Part
from lossfleet.runners.data.samplers import index_plan, training_rows
from lossfleet.runners.data.splits import Split
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.build import build_config
from lossfleet.sweeps.planning.compose import Composer, hydra_session

# Of the main job.
STRATEGIES = ("ce", "weighted_ce", "ohem", "resampling", "focal")


@dataclass(frozen=True, eq=False)
class Rows:
    """What a training sees of its data: examples, an order of them for each epoch, and the other parts."""

    features: np.ndarray
    labels: np.ndarray
    plan: np.ndarray
    split: Split


@cache
def configuration(*overrides: str) -> Config:
    """The configuration that `lossfleet train` makes of these overrides."""
    with hydra_session() as config_loader:
        return build_config(Composer(config_loader, ()), overrides)


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """A configuration with other settings, by dotted key; composing one anew takes a thousand times as long."""
    plain = config.to_dict()
    for key, value in settings.items():
        group, _, setting = key.rpartition(".")
        (plain[group] if group else plain)[setting] = value
    return Config.from_dict(plain)


@cache
def factory(data: Data) -> ReplicateFactory:
    """The replicates of a data set, which is read once a process."""
    return ReplicateFactory(data)


def rows_of(config: Config, seed: int, number: int) -> Rows:
    """What a replicate of lossfleet's sees with this seed and split."""
    split = factory(config.data).split(seed, number)
    features, labels = made_rows(config.data, config.sampler, seed, number)
    draws, epochs = len(split.train_labels), config.budget.epochs
    plan = index_plan(config.sampler, draws, features, labels, seed=seed, epochs=epochs)
    return Rows(features, labels, plan, split)


@cache
def made_rows(data: Data, sampler: Part, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The training rows of a sampler, made once a process."""
    features, labels = training_rows(sampler, factory(data).split(seed, number), seed=seed)
    return np.asarray(features), labels
