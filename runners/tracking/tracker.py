"""MLflow: writing a sweep's runs and reading them back. The only importer of mlflow."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.records import EndRecord, SweepRecord
from lossfleet.runners.tracking.curves import (
    Curves,
    curves_from_database,
    curves_from_server,
    finite_or_infinite,
)
from lossfleet.runners.tracking.rows import run_rows
from lossfleet.runners.tracking.runs import (
    FRONT_TAG,
    KEY_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Run,
    curve_names,
    end_tags,
    experiment_tags,
    front_keys,
    milliseconds,
    replicate_row,
    sweep_key,
    sweep_params,
    sweep_tags,
)
from lossfleet.runners.tracking.store import (
    database_path,
    deleted_experiment,
    is_local,
    require_store,
    serve_ui,
    tracking_uri,
)
from lossfleet.runners.tracking.writer import Writer, start_writer, sync

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun
    from sqlalchemy import Engine

__all__ = [
    "Tracker",
    "Writer",
    "read_replicates",
    "read_sweeps",
    "serve_ui",
    "start_writer",
    "sync",
    "tracking_uri",
]

# What MLflow takes in one call.
METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
RUNS_A_PAGE = 1000
# What the folder of a sweep has for the artifacts of its run.
CONFIG = "config.yaml"
FIGURES = "figures"


class Tracker:
    """Writes one sweep's runs to MLflow, each of them once.

    A run is known by its key. What MLflow has of the sweep already, from a writer that was killed, is left as
    it is or, where it had not ended, completed. After an exception a new Tracker continues.
    """

    def __init__(self, uri: str, experiment: str, sweep: SweepRecord) -> None:
        if is_local(uri):
            make_store(database_path(uri))
        self._client = _connect(uri)
        self._experiment = _find_or_create_experiment(self._client, experiment)
        self._is_server = uri.startswith("http")
        self._engine = _engine(uri) if is_local(uri) else None
        self._ids: dict[str, str] = {}
        self._unfinished: set[str] = set()
        self._sweep_id = ""
        self._sweep = sweep
        for run in _search(self._client, [self._experiment], f"tags.`{SWEEP_TAG}` = '{sweep_key(sweep)}'"):
            self._remember(run)

    def _remember(self, run: MlflowRun) -> None:
        key = run.data.tags[KEY_TAG]
        if key in self._ids:
            # A server that answers too late has created a run that was then asked for again.
            self._client.delete_run(run.info.run_id)
            return
        self._ids[key] = run.info.run_id
        if run.info.status == "RUNNING":
            self._unfinished.add(key)

    def open_sweep(self, sweep: SweepRecord) -> None:
        """The sweep's own run: made, or set back to RUNNING where the sweep is continued."""
        key = sweep_key(sweep)
        if key in self._ids:
            self._client.update_run(self._ids[key], status="RUNNING")
        else:
            created = self._client.create_run(
                self._experiment.experiment_id,
                start_time=milliseconds(sweep.started),
                tags=sweep_tags(sweep),
                run_name=sweep.sweep,
            )
            self._ids[key] = created.info.run_id
        # Logged again where the sweep is continued: a writer may have been killed before it came to this.
        self._sweep_id = self._ids[key]
        self._log(self._sweep_id, [], sweep_params(sweep))
        self._client.log_inputs(self._sweep_id, datasets=[_dataset_input(sweep)])

    def write(self, runs: list[Run]) -> int:
        """Writes ended runs, parents before their children; those that MLflow has are skipped.

        Returns:
            How many were written or completed.
        """
        unfinished = [run for run in runs if run.key in self._unfinished]
        for run in unfinished:
            self._complete(run)
        new = [run for run in runs if run.key not in self._ids]
        if self._engine is not None:
            self._ids |= insert_runs(self._engine, self._experiment, new, self._ids)
            return len(unfinished) + len(new)
        for run in new:
            created = self._client.create_run(
                self._experiment.experiment_id,
                start_time=milliseconds(run.started),
                tags={**run.tags, "mlflow.parentRunId": self._ids[run.parent]},
                run_name=run.name,
            )
            self._ids[run.key] = created.info.run_id
            self._complete(run)
        return len(unfinished) + len(new)

    def close_sweep(self, end: EndRecord | None, folder: Path) -> None:
        """Ends the sweep's run, with its configuration and figures as artifacts.

        Args:
            end: None where the sweep was interrupted.
            folder: of the sweep; what it does not have is left out.
        """
        self._log_artifacts(folder)
        if end is None:
            self._client.set_terminated(self._sweep_id, "KILLED")
            return
        self._mark_front(front_keys(self._sweep, end))
        for name, value in end_tags(end, has_figures=(folder / FIGURES).is_dir()).items():
            self._client.set_tag(self._sweep_id, name, value)
        if end.metrics:
            from mlflow.entities import Metric

            ended = milliseconds(end.ended)
            self._log(self._sweep_id, [Metric(*metric, ended, 0) for metric in end.metrics.items()], {})
        self._client.set_terminated(self._sweep_id, end.state, end_time=milliseconds(end.ended))

    def _log_artifacts(self, folder: Path) -> None:
        if self._experiment.artifact_location.startswith("mlflow-artifacts:") and not self._is_server:
            # A server made this experiment, and only over that server its artifacts can be reached.
            return
        if (folder / CONFIG).exists():
            self._client.log_artifact(self._sweep_id, str(folder / CONFIG))
        if (folder / FIGURES).is_dir():
            self._client.log_artifacts(self._sweep_id, str(folder / FIGURES), FIGURES)

    def _mark_front(self, keys: set[str]) -> None:
        """Tags the trials of the Pareto fronts; in a continued sweep others may have been there before."""
        marked = f"tags.`{SWEEP_TAG}` = '{sweep_key(self._sweep)}' AND tags.`{FRONT_TAG}` = 'true'"
        for run in _search(self._client, [self._experiment], marked):
            if run.data.tags[KEY_TAG] not in keys:
                self._client.set_tag(run.info.run_id, FRONT_TAG, "false")
        for key in keys & self._ids.keys():
            self._client.set_tag(self._ids[key], FRONT_TAG, "true")

    def _complete(self, run: Run) -> None:
        from mlflow.entities import Metric

        run_id = self._ids[run.key]
        metrics = [Metric(point.name, point.value, point.time, point.step) for point in run.points]
        self._log(run_id, metrics, run.params)
        self._client.set_terminated(run_id, run.status, end_time=milliseconds(run.ended))
        self._unfinished.discard(run.key)

    def _log(self, run_id: str, metrics: list[Any], params: dict[str, str]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, value) for name, value in params.items()]
        calls = max(-(-len(metrics) // METRICS_A_CALL), -(-len(entries) // PARAMS_A_CALL))
        for call in range(calls):
            self._client.log_batch(
                run_id,
                metrics=metrics[call * METRICS_A_CALL : (call + 1) * METRICS_A_CALL],
                params=entries[call * PARAMS_A_CALL : (call + 1) * PARAMS_A_CALL],
            )


def make_store(path: Path) -> None:
    """Makes MLflow's database where there is none, whole or not at all.

    MLflow makes its tables one by one: where it is killed meanwhile, or another process does the same, the
    database can never be used. So it is made under another name, by one process at a time.
    """
    if path.exists():
        return
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = path.with_name(f"{path.name}.new")
    with new.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists():
            # A process that was killed may have left a part.
            file.truncate(0)
            Path(f"{new}-journal").unlink(missing_ok=True)
            store = SqlAlchemyStore(f"sqlite:///{new}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
            store.engine.dispose()
            new.rename(path)
        else:
            new.unlink(missing_ok=True)


def insert_runs(
    engine: Engine, experiment: Experiment, runs: list[Run], ids: dict[str, str]
) -> dict[str, str]:
    """Adds ended runs to a local database in one transaction, by MLflow's own table definitions.

    MlflowClient needs ten times as long a run, on a machine that should be training. A test shows that both
    ways give the same runs.

    Args:
        ids: the run ids of parents that MLflow has.

    Returns:
        The new runs' ids by their keys.
    """
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from sqlalchemy import insert

    new_ids = {run.key: uuid.uuid4().hex for run in runs}
    known = ids | new_ids
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        run_id = new_ids[run.key]
        own = run_rows(run, run_id, known[run.parent])
        own["runs"][0] |= {
            "experiment_id": int(experiment.experiment_id),
            "artifact_uri": f"{experiment.artifact_location}/{run_id}/artifacts",
        }
        for name, table_rows in own.items():
            rows[name] += table_rows
    with engine.begin() as connection:
        for table in (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric):
            if rows[table.__tablename__]:
                connection.execute(insert(table), rows[table.__tablename__])
    return new_ids


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
        One dict a replicate, see `tracking_runs.replicate_row`.

    Raises:
        UserError: no store, no such experiment, no such sweep.
    """
    chosen_uri = tracking_uri(uri)
    client = _connect_to_existing(chosen_uri)
    chosen = _choose_experiments(client, experiments)
    rows = []
    for sweep_run in _choose_sweeps(client, chosen, sweep):
        key = sweep_run.data.tags[SWEEP_TAG]
        own = [each for each in chosen if each.experiment_id == sweep_run.info.experiment_id]
        wanted = f"tags.`{SWEEP_TAG}` = '{key}' AND tags.`{KIND_TAG}` = 'replicate'"
        runs = list(_search(client, own, wanted))
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
        One dict a sweep: sweep, data, started (unix seconds), environment and params (strings by name).
    """
    client = _connect_to_existing(tracking_uri(uri))
    prefix = "environment."
    return [
        {
            "sweep": run.data.tags["sweep"],
            "data": run.data.tags["data"],
            "started": run.info.start_time / 1000,
            "environment": {
                name.removeprefix(prefix): value
                for name, value in run.data.tags.items()
                if name.startswith(prefix)
            },
            "params": dict(run.data.params),
        }
        for run in _choose_sweeps(client, _choose_experiments(client, experiments), sweep)
    ]


def _connect(uri: str) -> MlflowClient:
    # Where this program retries, MLflow's own minutes of retrying a request only hide what is wrong.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    return MlflowClient(uri)


def _connect_to_existing(uri: str) -> MlflowClient:
    from mlflow.exceptions import MlflowException

    require_store(uri)
    try:
        client = _connect(uri)
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise UserError(
            what=f"MLflow at {uri} cannot be read ({str(error).splitlines()[0]})",
            expected="a tracking server or a database of this MLflow's version",
            hint="start the server, or name another store with MLFLOW_TRACKING_URI",
        ) from error
    return client


def _engine(uri: str) -> Engine:
    from sqlalchemy import create_engine, event

    engine = create_engine(uri)

    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def wait_for_others(connection: Any, _: object) -> None:
            connection.execute("PRAGMA busy_timeout = 20000")

    return engine


def _find_or_create_experiment(client: MlflowClient, name: str) -> Experiment:
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise deleted_experiment(name, experiment.experiment_id)
    if experiment is not None:
        return experiment
    identifier = client.create_experiment(name, tags=experiment_tags(name))
    return client.get_experiment(identifier)


def _dataset_input(sweep: SweepRecord) -> Any:
    from mlflow.entities import Dataset, DatasetInput

    dataset = sweep.dataset
    profile = {name: dataset[name] for name in ("class_names", "class_counts", "notes") if name in dataset}
    return DatasetInput(
        Dataset(
            name=sweep.data,
            digest=dataset.get("digest", "unknown"),
            source_type="code",
            source=json.dumps(
                {"loader": "lossfleet.runners.data.tables.open_dataset", "origin": dataset.get("source", "")}
            ),
            profile=json.dumps(profile, ensure_ascii=False),
        ),
        tags=[],
    )


def _search(client: MlflowClient, experiments: list[Experiment], wanted: str) -> Iterator[MlflowRun]:
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id for experiment in experiments],
            wanted,
            max_results=RUNS_A_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


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
    for run in _search(client, experiments, f"tags.`{KIND_TAG}` = 'sweep'"):
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
    return curves_from_database(_engine(uri), names)


def _class_names(sweep_run: MlflowRun) -> list[str]:
    datasets = [each.dataset for each in sweep_run.inputs.dataset_inputs]
    return json.loads(datasets[0].profile or "{}").get("class_names", []) if datasets else []
