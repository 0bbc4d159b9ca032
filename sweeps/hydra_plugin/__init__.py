"""Hydra's door to lossfleet: a sweeper that plans studies. Imported only as `hydra_plugins.lossfleet`."""

from __future__ import annotations

import json
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from lossfleet.sweeps.planning.build import build_plans
from lossfleet.sweeps.planning.compose import Composer


class FleetSweeper(Sweeper):
    """Gives the plan of each sweep that the arguments ask for to the task function."""

    def __init__(self, params: DictConfig) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.composer = Composer(hydra_context.config_loader, config.hydra.overrides.hydra)
        self.task_function: Any = task_function

    def sweep(self, arguments: list[str]) -> list[Any]:
        params: Any = OmegaConf.to_container(self.params, resolve=True)
        defaults = [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in params.items()
        ]
        plans = build_plans(self.composer, [*defaults, *arguments])
        return [self.task_function(plan) for plan in plans]


def register() -> None:
    """Makes the sweeper known, also where Hydra's scan for plugins does not find it."""
    ConfigStore.instance().store(
        group="hydra/sweeper",
        name="lossfleet",
        node={"_target_": "hydra_plugins.lossfleet.FleetSweeper", "params": {}},
        provider="lossfleet",
    )
    Plugins.instance().register(FleetSweeper)
