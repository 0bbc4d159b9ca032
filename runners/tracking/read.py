"""Reading a sweep's runs back from MLflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.tracking.client import connect_to_existing, search_runs
from lossfleet.runners.tracking.curves import (
    Curves,
    curves_from_database,
    curves_from_server,
    finite_or_infinite,
)
from lossfleet.runners.tracking.database import open_engine
from lossfleet.runners.tracking.replicates import curve_names, replicate_row
from lossfleet.runners.tracking.store import tracking_uri
from lossfleet.runners.tracking.tags import CONTINUED_TAG, KIND_TAG, SWEEP_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun


def read_replicates(
    experiments: list[str] | None = None,
    *,
    uri: str | None = None,
    sweep: str | None = None,
    curves: bool = True,
) -> list[dict[str, Any]]:
    """The replicates of one sweep an experiment, as MLflow has them; what lossfleet did not write is ignored.

    Args:
        experiments: names; None for all that have a sweep.
        uri: None for the default, see `tracking_uri`.
        sweep: the sweep's name; None for the latest finished one of each experiment.
        curves: whether to read the curves, or leave them empty.

    Returns:
        One dict a replicate, see `replicates.replicate_row`.

    Raises:
        UserError: no store, no such experiment, no such sweep.
    """
    chosen_uri = tracking_uri(uri)
    client = connect_to_existing(chosen_uri)
    chosen = _choose_experiments(client, experiments)
    rows = []
    for sweep_run in _choose_sweeps(client, chosen, sweep):
        key = sweep_run.data.tags[SWEEP_TAG]
        own = [each for each in chosen if each.experiment_id == sweep_run.info.experiment_id]
        wanted = f"tags.`{SWEEP_TAG}` = '{key}' AND tags.`{KIND_TAG}` = 'replicate'"
        runs = list(search_runs(client, own, wanted))
        histories = _curves(chosen_uri, runs) if curves else {}
        rows += [
            replicate_row(
                run.data.tags,
                {name: finite_or_infinite(value) for name, value in run.data.metrics.items()},
                histories.get(run.info.run_id, {}),
                class_names=_class_names(sweep_run),
                started=run.info.start_time,
                ended=run.info.end_time,
            )
            for run in runs
        ]
    return rows


def read_sweeps(
    experiments: list[str] | None = None, *, uri: str | None = None, sweep: str | None = None
) -> list[dict[str, Any]]:
    """The sweeps whose replicates `read_replicates` gives.

    Args and Raises: as for `read_replicates`.

    Returns:
        One dict a sweep: sweep, data, started (unix seconds), environment and params (strings by name) of its first
        run, and continued, what later runs did otherwise (strings by number).
    """
    client = connect_to_existing(tracking_uri(uri))
    return [
        {
            "sweep": run.data.tags["sweep"],
            "data": run.data.tags["data"],
            "started": run.info.start_time / 1000,
            "environment": _tags_of(run, "environment."),
            "continued": _tags_of(run, CONTINUED_TAG),
            "params": dict(run.data.params),
        }
        for run in _choose_sweeps(client, _choose_experiments(client, experiments), sweep)
    ]


def _tags_of(run: MlflowRun, prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for name, value in sorted(run.data.tags.items())
        if name.startswith(prefix)
    }


def _choose_experiments(client: MlflowClient, names: list[str] | None) -> list[Experiment]:
    known = {experiment.name: experiment for experiment in client.search_experiments()}
    for name in names or []:
        if name not in known:
            raise UserError(
                what=f"MLflow has no experiment {name}",
                expected=f"one of {', '.join(sorted(known))}",
                hint=suggest(name, known),
            )
    return [known[name] for name in names] if names else list(known.values())


def _choose_sweeps(client: MlflowClient, experiments: list[Experiment], sweep: str | None) -> list[MlflowRun]:
    """The latest wanted sweep of each experiment."""
    chosen: dict[str, MlflowRun] = {}
    for run in search_runs(client, experiments, f"tags.`{KIND_TAG}` = 'sweep'"):
        wanted = run.info.status == "FINISHED" if sweep is None else run.data.tags["sweep"] == sweep
        if wanted:
            # MLflow gives the latest first.
            chosen.setdefault(run.info.experiment_id, run)
    if not chosen:
        names = ", ".join(experiment.name for experiment in experiments)
        raise UserError(
            what=f"MLflow has no {'finished sweep' if sweep is None else f'sweep {sweep}'} in {names}",
            expected="a sweep to read",
            hint="run lossfleet sweep first" if sweep is None else "look up its name with lossfleet ui",
        )
    return list(chosen.values())


def _curves(uri: str, runs: list[MlflowRun]) -> dict[str, Curves]:
    names = {run.info.run_id: curve_names(run.data.tags) for run in runs}
    if uri.startswith("http"):
        return curves_from_server(uri, names)
    return curves_from_database(open_engine(uri), names)


def _class_names(sweep_run: MlflowRun) -> list[str]:
    datasets = [each.dataset for each in sweep_run.inputs.dataset_inputs]
    return json.loads(datasets[0].profile or "{}").get("class_names", []) if datasets else []
