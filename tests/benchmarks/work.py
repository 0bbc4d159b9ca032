"""What benchmarks train: configurations and replicates, made as the commands make them, from overrides."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from lossfleet.conf.schema import Config, Data
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.build import build_config
from lossfleet.sweeps.planning.compose import Composer, hydra_session

# Of the main job.
STRATEGIES = ("ce", "weighted_ce", "ohem", "resampling", "focal")


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
