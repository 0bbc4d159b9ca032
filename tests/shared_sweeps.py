"""Small sweeps that several workers share: how they are started, and what must hold of them at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import optuna
from forks import run_command
from mlflow import MlflowClient

from lossfleet.runners.cluster.work_queue import WorkQueue
from lossfleet.runners.records import EndRecord, Record, ReplicateRecord, TrialRecord

STRATEGIES, TRIALS, REPLICATES, FINAL = ("ce", "focal"), 4, 2, 3
SMALL = (
    "data=wine",
    "strategy=ce,focal",
    "search=random",
    "search.concurrent_trials=1",
    "pruner=none",
    f"budget.trials={TRIALS}",
    f"budget.replicates={REPLICATES}",
    "budget.epochs=2",
    "budget.rungs=2",
    f"budget.final_replicates={FINAL}",
    "batch_size=19",
    "name=small",
    "references=[]",
    "keep=none",
)
# Silence of 3 s ends a worker.
FAST = "engine.heartbeat=0.5"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lossfleet.sweeps.commands.cli", *arguments]


def run(folder: Path, *arguments: str) -> str:
    """Run a command of lossfleet in a folder; returns what it printed."""
    done = run_command(arguments, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(records: list[Record]) -> dict[tuple, tuple]:
    """All that must be the same wherever a sweep is trained: every record without its times.

    The last digits of a loss depend on how many slots a fleet has, so numbers are rounded.
    """
    found: dict[tuple, tuple] = {}
    for record in records:
        if isinstance(record, TrialRecord):
            value = None if record.value is None else round(record.value, 9)
            key = (record.strategy, record.stage, record.trial)
            found[key] = (record.state, value, tuple(sorted(record.params.items())))
        elif isinstance(record, ReplicateRecord):
            score = round(record.metrics["validation_balanced_accuracy"], 9)
            key = (record.strategy, record.stage, record.trial, record.replicate)
            found[key] = (record.state, record.epochs, score)
    return found


def check_complete(storage: str, uri: str) -> None:
    """Every trial and replicate once, in the queue, in Optuna and in MLflow, none left running."""
    queue = WorkQueue(storage, "small")
    records = queue.records.read()
    kinds = Counter(
        (type(record).__name__, record.stage, record.state)
        for record in records
        if isinstance(record, TrialRecord | ReplicateRecord)
    )
    studies = len(STRATEGIES)
    assert kinds == {
        ("TrialRecord", "search", "COMPLETE"): studies * TRIALS,
        ("TrialRecord", "final", "COMPLETE"): studies,
        ("ReplicateRecord", "search", "COMPLETE"): studies * TRIALS * REPLICATES,
        ("ReplicateRecord", "final", "COMPLETE"): studies * FINAL,
    }
    assert isinstance(records[-1], EndRecord)
    assert records[-1].state == "FINISHED"
    assert all(count.total == count.done == count.tracked for count in queue.counts().values())
    assert queue.workers.heartbeats() == {}

    values = {key: result[1] for key, result in results(records).items() if key[1:2] == ("search",)}
    for strategy in STRATEGIES:
        study = optuna.load_study(study_name=f"small/{strategy}", storage=storage)
        assert [trial.number for trial in study.trials] == list(range(TRIALS))
        assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
        for trial in study.trials:
            assert round(trial.value, 9) == values[strategy, "search", trial.number]

    client = MlflowClient(uri)
    (experiment,) = (each for each in client.search_experiments() if each.name == "wine")
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    keys = Counter(run.data.tags["lossfleet.key"] for run in runs)
    assert set(keys.values()) == {1}
    assert len(keys) == 1 + studies * (TRIALS * (1 + REPLICATES) + 1 + FINAL)
    assert {run.info.status for run in runs} == {"FINISHED"}


def wait_for(condition, what: str, seconds: float = 900) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
