"""What the commands do; heavy modules are imported when they are needed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.sweeps.report.printing import Format

if TYPE_CHECKING:
    from lossfleet.sweeps.planning.plan import Plan


def sweep(
    overrides: Sequence[str], *, print_config: bool, fresh: bool = False, config_dirs: Sequence[str] = ()
) -> int:
    """Plans all sweeps, then runs or prints them one after another; returns the exit code."""
    from lossfleet.sweeps.commands.folders import importable
    from lossfleet.sweeps.planning.compose import run_sweeper, with_folders

    plans: list[Plan] = []
    with importable(config_dirs) as folders:
        run_sweeper(with_folders(overrides, folders), plans.append)
        if print_config:
            _print_yaml({"sweeps": [plan.to_dict() for plan in plans]})
            return 0
        from lossfleet.sweeps.commands.check import check_parts

        # All first, so that nothing is trained where one of them cannot be.
        for plan in plans:
            check_parts(plan)
        return run_plans(plans, fresh=fresh)


def run_plans(plans: Sequence[Plan], *, fresh: bool) -> int:
    """Runs one sweep after another, then compares them; returns 1 if trials of any ended with an exception, else 0."""
    went_well = [run_plan(plan, fresh=fresh) for plan in plans]
    if len(plans) > 1 and plans[0].engine.name == "local":
        from lossfleet.sweeps.report.conclusion import conclude_side_by_side
        from lossfleet.sweeps.running.folder import STUDIES

        conclude_side_by_side([STUDIES / plan.sweep for plan in plans])
    return 0 if all(went_well) else 1


def run_plan(plan: Plan, *, fresh: bool) -> bool:
    """Runs one sweep on its engine; returns whether no trial ended with an exception."""
    # Late: help must not wait for it.
    from lossfleet.sweeps.planning.plan import remarks_ahead

    for remark in remarks_ahead(plan.studies):
        print(remark, file=sys.stderr)
    if plan.engine.name == "local":
        from lossfleet.sweeps.running.sweep import run_sweep

        return run_sweep(plan, fresh=fresh)
    if fresh:
        raise UserError(
            what=f"--fresh with engine={plan.engine.name}",
            expected="a sweep that has its folder to itself",
            hint="write another name=... for a sweep of its own",
        )
    if plan.engine.name == "ray":
        from lossfleet.sweeps.cluster.ray import run_on_ray

        return run_on_ray(plan)
    from lossfleet.sweeps.cluster.shared import publish

    publish(plan)
    print(f"{plan.sweep} waits for workers: lossfleet worker {plan.sweep} --storage URL")
    return True


def worker(sweep: str, *, storage: str, uri: str | None, config_dirs: Sequence[str] = ()) -> bool:
    """Trains a part of a sweep that was published for workers; returns whether the sweep could be compared."""
    from lossfleet.sweeps.cluster.worker import run_worker
    from lossfleet.sweeps.commands.check import check_users_parts
    from lossfleet.sweeps.commands.folders import importable

    with importable(config_dirs):
        end = run_worker(sweep, storage, uri, check=check_users_parts)
    print(f"{sweep} is complete. {end.sentence}")
    return end.state == "FINISHED"


def train(overrides: Sequence[str], *, print_config: bool, config_dirs: Sequence[str] = ()) -> None:
    """Runs or prints one training."""
    from lossfleet.sweeps.commands.folders import importable
    from lossfleet.sweeps.planning.build import build_config
    from lossfleet.sweeps.planning.compose import Composer, hydra_session, split_overrides, with_folders

    with importable(config_dirs) as folders:
        hydra_overrides, others = split_overrides(with_folders(overrides, folders))
        with hydra_session() as config_loader:
            config = build_config(Composer(config_loader, hydra_overrides), others)
        if print_config:
            _print_yaml(config.to_dict())
            return
        from lossfleet.sweeps.commands.check import check_users_parts
        from lossfleet.sweeps.commands.train import run_training
        from lossfleet.sweeps.planning.plan import Study

        check_users_parts([Study(config.strategy, config, ())])
        run_training(config)


def compare(
    experiments: Sequence[str],
    *,
    format: Format,
    uri: str | None,
    sweep: Sequence[str] | None,
    metrics: Sequence[str] | None,
    figures: str | None,
    html: str | None,
    rope: float,
    config_dirs: Sequence[str] = (),
) -> None:
    """Prints the comparison of the strategies in the recorded sweeps; draws and reports it where asked to."""
    from lossfleet.conf.metrics import metrics_in, remember
    from lossfleet.sweeps.commands.folders import importable
    from lossfleet.sweeps.report.html import check_targets, report_from_mlflow

    check_targets(figures, html)
    from lossfleet.sweeps.report.printing import print_comparison

    with importable(config_dirs) as folders:
        remember(metrics_in(folders))
        print_comparison(list(experiments), format, uri, sweep, metrics, rope)
        if figures or html:
            report_from_mlflow(
                list(experiments),
                uri=uri,
                sweep=sweep,
                metrics=metrics,
                rope=rope,
                figures=figures,
                html=html,
            )


def sync(sweeps: Sequence[str], *, uri: str | None) -> None:
    """Sends to MLflow what it lacks of the sweeps in this directory."""
    from lossfleet.sweeps.commands.sync import sync_sweeps

    sync_sweeps(sweeps, uri)


def plot(figure: str, *, output: Path | None) -> None:
    """Draws a figure into a file."""
    path = output or Path(f"{figure}.png")
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UserError(
            what=f"{path} cannot be written",
            expected="a file in a folder that this user may write to",
            hint=f"write for example --output {Path(tempfile.gettempdir()) / path.name}",
        )
    from lossfleet.sweeps.report.figures.losses import draw_losses

    draw_losses(path)
    print(path)


def ui(*, uri: str | None, host: str, port: int, opens: bool = False) -> None:
    """Serves the MLflow UI until it is interrupted."""
    from lossfleet.runners.tracking.ui import serve_ui

    serve_ui(uri, port, host=host, opens=opens)


def _print_yaml(values: dict[str, Any]) -> None:
    import yaml

    print(yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=110), end="")
