"""The sweeper as Hydra sees it: found by name, thin, without traces on disk or in logging."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

from lossfleet.conf.errors import UserError
from lossfleet.sweeps import hydra_plugin
from lossfleet.sweeps.planning.compose import run_sweeper


def test_the_sweeper_is_registered_even_where_hydras_scan_does_not_find_it():
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from hydra_plugins import lossfleet

    known = Plugins.instance().class_name_to_class
    known.pop("hydra_plugins.lossfleet.FleetSweeper", None)
    lossfleet.register()
    assert known["hydra_plugins.lossfleet.FleetSweeper"] is lossfleet.FleetSweeper
    assert "lossfleet.yaml" in ConfigStore.instance().list("hydra/sweeper")


def test_the_task_gets_every_plan_in_order_and_only_when_all_are_sound():
    seen = []
    run_sweeper(["strategy=ce", "data=wine,digits"], lambda plan: seen.append(plan.data.name))
    assert seen == ["wine", "digits"]
    seen.clear()
    with pytest.raises(UserError):
        run_sweeper(["strategy=focal", "data=breast_cancer,wine", "loss.alpha=0.2"], seen.append)
    assert seen == []


def test_arguments_replace_the_parameters_of_the_files():
    seen = []
    run_sweeper(["experiment=paper_grid", "loss.gamma=2", "data=breast_cancer"], seen.append)
    (plan,) = seen
    assert [dimension.name for dimension in plan.studies[0].space] == ["loss.alpha"]
    assert plan.studies[0].config.loss["gamma"] == 2.0
    assert plan.data.name == "breast_cancer"


def test_hydra_leaves_no_files_and_no_log_handlers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    run_sweeper(["strategy=ce"], lambda plan: None)
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().level == level


def test_hydra_can_start_again_and_gives_back_what_was_there():
    from hydra.core.global_hydra import GlobalHydra

    for _ in range(2):
        run_sweeper(["strategy=ce"], lambda plan: None)
    assert not GlobalHydra.instance().is_initialized()


def test_a_task_sees_its_own_errors():
    def fail(plan: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_sweeper(["strategy=ce"], fail)


def test_the_plugin_only_plans():
    """What the plugin imports of ours is the planning: it neither searches nor trains nor records."""
    tree = ast.parse(Path(hydra_plugin.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    ours = {module for module in modules if module.split(".")[0] == "lossfleet"}
    assert ours == {"lossfleet.sweeps.planning.compose", "lossfleet.sweeps.planning.build"}
