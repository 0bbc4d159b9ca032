"""Writing a sweep's runs to MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.runners.records import (
    CONFUSION,
    EXAMPLES_FILE,
    FIGURES,
    MISTAKES,
    PAGE,
    PUBLISHED,
    ContinuationRecord,
    EndRecord,
    SweepRecord,
)
from lossfleet.runners.tracking.database import insert_runs, make_store, open_engine
from lossfleet.runners.tracking.models.registry import register_models
from lossfleet.runners.tracking.rows import mlflow_name
from lossfleet.runners.tracking.runs import Run, milliseconds, sweep_params
from lossfleet.runners.tracking.store import connect, database_path, deleted_experiment, is_local, search_runs
from lossfleet.runners.tracking.tags import (
    FRONT_TAG,
    KEY_TAG,
    SWEEP_TAG,
    continued_tags,
    end_tags,
    experiment_tags,
    front_keys,
    published_tag,
    sweep_key,
    sweep_tags,
)
from lossfleet.runners.tracking.views import prepared_view

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

# What MLflow takes in one call.
METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
# What the folder of a sweep has for the artifacts of its run.
CONFIG = "config.yaml"
# What was read of a table of the user's.
DATA = "data.txt"


class Tracker:
    """Writes one sweep's runs to MLflow, each of them once.

    A run is known by its key. What MLflow has of the sweep already, from a writer that was killed, is left as
    it is or, where it had not ended, completed. After an exception a new Tracker continues.
    """

    def __init__(self, uri: str, experiment: str, sweep: SweepRecord) -> None:
        if is_local(uri):
            make_store(database_path(uri))
        self._client = connect(uri)
        self._experiment = _find_or_create_experiment(self._client, experiment)
        self._is_server = uri.startswith("http")
        self._engine = open_engine(uri) if is_local(uri) else None
        self._ids: dict[str, str] = {}
        self._unfinished: set[str] = set()
        self._sweep_id = ""
        self._sweep = sweep
        for run in search_runs(
            self._client, [self._experiment], f"tags.`{SWEEP_TAG}` = '{sweep_key(sweep)}'"
        ):
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

    def open_sweep(self, sweep: SweepRecord, continuations: Sequence[ContinuationRecord] = ()) -> None:
        """The sweep's own run: made, or set back to RUNNING where the sweep is continued.

        Args:
            sweep: its first run.
            continuations: what later runs did otherwise.
        """
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
        latest = continuations[-1].config if continuations else sweep.config
        for name, value in (continued_tags(continuations) | published_tag(latest)).items():
            self._client.set_tag(self._sweep_id, name, value)
        self._client.log_inputs(self._sweep_id, datasets=[_dataset_input(sweep)])

    def log_examples(self, folder: Path) -> None:
        """The sheet of examples in the folder of the sweep, if there is one, as an artifact before its end."""
        file = folder / FIGURES / EXAMPLES_FILE
        if file.exists() and self._reaches_artifacts():
            self._client.log_artifact(self._sweep_id, str(file), FIGURES)

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
        """Ends the sweep's run, with its configuration, figures and mistakes as artifacts, and registers its models.

        Args:
            end: None where the sweep was interrupted.
            folder: of the sweep; what it does not have is left out.
        """
        self._log_artifacts(folder)
        if end is None:
            self._client.set_terminated(self._sweep_id, "KILLED")
            return
        self._mark_front(front_keys(self._sweep, end))
        tags = end_tags(
            end, has_figures=(folder / FIGURES / PAGE).exists(), has_mistakes=(folder / MISTAKES).exists()
        )
        for name, value in tags.items():
            self._client.set_tag(self._sweep_id, name, value)
        if end.metrics:
            from mlflow.entities import Metric

            ended = milliseconds(end.ended)
            self._log(
                self._sweep_id,
                [Metric(mlflow_name(name), value, ended, 0) for name, value in end.metrics.items()],
                {},
            )
        for name, value in prepared_view(self._sweep, end).items():
            self._client.set_experiment_tag(self._experiment.experiment_id, name, value)
        self._client.set_terminated(self._sweep_id, end.state, end_time=milliseconds(end.ended))
        # Last: a registry that cannot be written leaves the sweep's run as it should be.
        if end.state == "FINISHED" and self._reaches_artifacts():
            register_models(self._client, self._sweep_id, end.best, folder)

    def _reaches_artifacts(self) -> bool:
        # An experiment that a server made has artifacts that can be reached over that server alone.
        return self._is_server or not self._experiment.artifact_location.startswith("mlflow-artifacts:")

    def _log_artifacts(self, folder: Path) -> None:
        if not self._reaches_artifacts():
            return
        for name in (CONFIG, MISTAKES, PUBLISHED):
            if (folder / name).exists():
                self._client.log_artifact(self._sweep_id, str(folder / name))
        if lines := self._sweep.dataset.get("read"):
            self._client.log_text(self._sweep_id, "\n".join([*lines, ""]), DATA)
        for name in (FIGURES, CONFUSION):
            if (folder / name).is_dir():
                self._client.log_artifacts(self._sweep_id, str(folder / name), name)

    def _mark_front(self, keys: set[str]) -> None:
        """Tags the trials of the Pareto fronts; in a continued sweep others may have been there before."""
        marked = f"tags.`{SWEEP_TAG}` = '{sweep_key(self._sweep)}' AND tags.`{FRONT_TAG}` = 'true'"
        for run in search_runs(self._client, [self._experiment], marked):
            if run.data.tags[KEY_TAG] not in keys:
                self._client.set_tag(run.info.run_id, FRONT_TAG, "false")
        for key in keys & self._ids.keys():
            self._client.set_tag(self._ids[key], FRONT_TAG, "true")

    def _complete(self, run: Run) -> None:
        from mlflow.entities import Metric

        run_id = self._ids[run.key]
        metrics = [
            Metric(mlflow_name(point.name), point.value, point.time, point.step) for point in run.points
        ]
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
