"""Reading a sweep's runs back from MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.records import FIGURES
from lossfleet.runners.tracking.curves import (
    Curves,
    curves_from_database,
    curves_from_server,
    finite_or_infinite,
)
from lossfleet.runners.tracking.database import open_engine
from lossfleet.runners.tracking.replicates import curve_names, replicate_row
from lossfleet.runners.tracking.rows import metric_name, mlflow_name
from lossfleet.runners.tracking.store import connect_to_existing, search_runs, tracking_uri
from lossfleet.runners.tracking.tags import (
    CONTINUED_TAG,
    KIND_TAG,
    MISTAKES_TAG,
    NESTED_TAG,
    PUBLISHED_TAG,
    SWEEP_TAG,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun


def read_replicates(
    experiments: list[str] | None = None,
    *,
    uri: str | None = None,
    sweep: str | Sequence[str] | None = None,
    curves: bool = True,
    unfinished: bool = False,
) -> list[dict[str, Any]]:
    """The replicates of sweeps, as MLflow has them; what lossfleet did not write is ignored.

    Args:
        experiments: names; None for all that have a sweep.
        uri: None for the default, see `tracking_uri`.
        sweep: the name of a sweep, or of several; None for the latest finished one of each experiment.
        curves: whether to read the curves, or leave them empty.
        unfinished: whether an experiment without a finished sweep gives its latest one.

    Returns:
        One dict a replicate, see `replicates.replicate_row`.

    Raises:
        UserError: no store, no such experiment, no such sweep.
    """
    chosen_uri = tracking_uri(uri)
    client = connect_to_existing(chosen_uri)
    chosen = _choose_experiments(client, experiments)
    rows = []
    for sweep_run in _choose_sweeps(_sweep_runs(client, chosen), chosen, sweep, unfinished):
        key = sweep_run.data.tags[SWEEP_TAG]
        own = [each for each in chosen if each.experiment_id == sweep_run.info.experiment_id]
        wanted = f"tags.`{SWEEP_TAG}` = '{key}' AND tags.`{KIND_TAG}` = 'replicate'"
        runs = list(search_runs(client, own, wanted))
        histories = _curves(chosen_uri, runs) if curves else {}
        rows += [
            replicate_row(
                run.data.tags,
                run.data.params,
                {metric_name(name): finite_or_infinite(value) for name, value in run.data.metrics.items()},
                histories.get(run.info.run_id, {}),
                class_names=_class_names(sweep_run),
                started=run.info.start_time,
                ended=run.info.end_time,
            )
            for run in runs
        ]
    return rows


def read_sweeps(
    experiments: list[str] | None = None,
    *,
    uri: str | None = None,
    sweep: str | Sequence[str] | None = None,
    unfinished: bool = False,
) -> list[dict[str, Any]]:
    """The sweeps whose replicates `read_replicates` gives.

    Args and Raises: as for `read_replicates`.

    Returns:
        One dict a sweep: run (MLflow's id of its own run), sweep, data, status (MLflow's), newer (the name of the
        latest sweep of the experiment where that is another one and has not finished, and none was named), started
        (unix seconds), environment and params (strings by name) of its first run, continued, what later runs did
        otherwise (strings by number), mistakes, where the rows are that the best strategy gets wrong (empty where that
        is not known), and published, what it is set beside, see `lossfleet.conf.published` (empty where it is not).
    """
    client = connect_to_existing(tracking_uri(uri))
    chosen = _choose_experiments(client, experiments)
    runs = _sweep_runs(client, chosen)
    found = []
    sweeps = _choose_sweeps(runs, chosen, sweep, unfinished)
    for run in sweeps:
        latest = next(each for each in runs if each.info.experiment_id == run.info.experiment_id)
        is_newer = sweep is None and latest.info.status != "FINISHED" and latest not in sweeps
        found.append(
            {
                "run": run.info.run_id,
                "sweep": run.data.tags["sweep"],
                "data": run.data.tags["data"],
                "status": run.info.status,
                "newer": latest.data.tags["sweep"] if is_newer else "",
                "started": run.info.start_time / 1000,
                "environment": _tags_of(run, "environment."),
                "continued": _tags_of(run, CONTINUED_TAG),
                "params": dict(run.data.params),
                "mistakes": run.data.tags.get(MISTAKES_TAG, ""),
                "published": json.loads(run.data.tags.get(PUBLISHED_TAG, "{}")),
            }
        )
    return found


def read_pictures(run: str, *, uri: str | None = None) -> dict[str, bytes]:
    """The PNG files among the figures of a sweep, by their names without the ending.

    Args:
        run: MLflow's id of the sweep's own run.
        uri: as for `read_replicates`.

    Raises:
        OSError: they cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    client = connect_to_existing(tracking_uri(uri))
    try:
        paths = [PurePosixPath(each.path) for each in client.list_artifacts(run, FIGURES)]
        with TemporaryDirectory() as folder:
            return {
                path.stem: Path(client.download_artifacts(run, str(path), folder)).read_bytes()
                for path in paths
                if path.suffix == ".png"
            }
    except MlflowException as error:
        raise OSError(" ".join(str(error).split())) from error


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


def _sweep_runs(client: MlflowClient, experiments: list[Experiment]) -> list[MlflowRun]:
    """The own runs of all sweeps, the latest first."""
    return list(search_runs(client, experiments, f"tags.`{KIND_TAG}` = 'sweep'"))


def _choose_sweeps(
    runs: list[MlflowRun],
    experiments: list[Experiment],
    sweep: str | Sequence[str] | None,
    unfinished: bool,
) -> list[MlflowRun]:
    """The latest sweep of each name that is wanted, else the latest finished one, of each experiment.

    A nested evaluation, which is wanted by its name or is the latest, has a sweep for each of its outer parts.
    """
    names = [sweep] if isinstance(sweep, str) else sweep
    chosen: dict[tuple[str, str], MlflowRun] = {}
    if names is None:
        finished = [run for run in runs if run.info.status == "FINISHED"]
        candidates = [*finished, *runs] if unfinished else finished
        latest: dict[str, MlflowRun] = {}
        for run in candidates:
            first = latest.setdefault(run.info.experiment_id, run)
            is_part = NESTED_TAG in _names(run) and _names(run)[NESTED_TAG] == _names(first).get(NESTED_TAG)
            if run is first or is_part:
                chosen.setdefault((run.info.experiment_id, run.data.tags["sweep"]), run)
    for name in names or ():
        for run in runs:
            if name in _names(run).values():
                chosen.setdefault((run.info.experiment_id, run.data.tags["sweep"]), run)
    missing = [
        name for name in names or () if not any(name in _names(run).values() for run in chosen.values())
    ]
    if missing or not chosen:
        where = ", ".join(experiment.name for experiment in experiments)
        wanted = f"sweep {missing[0]}" if missing else "sweep" if unfinished else "finished sweep"
        raise UserError(
            what=f"MLflow has no {wanted} in {where}",
            expected="a sweep to read",
            hint="look up its name with lossfleet ui" if missing else "run lossfleet sweep first",
        )
    return list(chosen.values())


def _names(run: MlflowRun) -> dict[str, str]:
    """A sweep's own name, and that of its nested evaluation if it is an outer part of one."""
    return {tag: run.data.tags[tag] for tag in ("sweep", NESTED_TAG) if tag in run.data.tags}


def _curves(uri: str, runs: list[MlflowRun]) -> dict[str, Curves]:
    names = {run.info.run_id: list(map(mlflow_name, curve_names(run.data.tags))) for run in runs}
    is_server = uri.startswith("http")
    found = curves_from_server(uri, names) if is_server else curves_from_database(open_engine(uri), names)
    return {
        run_id: {metric_name(name): curve for name, curve in own.items()} for run_id, own in found.items()
    }


def _class_names(sweep_run: MlflowRun) -> list[str]:
    datasets = [each.dataset for each in sweep_run.inputs.dataset_inputs]
    return json.loads(datasets[0].profile or "{}").get("class_names", []) if datasets else []
