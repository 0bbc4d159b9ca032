"""Whole sweeps, for the tests: started as a user starts them, looked at on disk and in MLflow."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from forks import LETTERS, ForkedCommand, run_command

from lossfleet.runners.records import Journal, ReplicateRecord, TrialRecord
from lossfleet.sweeps.comparison.frame import frame, frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report.tables import markdown_table

Process = ForkedCommand | subprocess.Popen[str]


@dataclass(frozen=True)
class Size:
    """What a sweep must have in the end."""

    strategies: int
    trials: int
    replicates: int
    final: int
    references: int = 0

    @property
    def runs(self) -> int:
        """MLflow's runs: the sweep, its trials and references, and the replicates of both."""
        finals = (self.strategies + self.references) * (1 + self.final)
        return 1 + self.strategies * self.trials * (1 + self.replicates) + finals


# Random search without pruning: each trial is a function of its number, whatever was interrupted.
TINY = (
    "data=wine",
    "strategy=ce,focal",
    "search=random",
    "pruner=none",
    "search.concurrent_trials=2",
    "budget.trials=5",
    "budget.replicates=2",
    "budget.epochs=4",
    "budget.rungs=2",
    "budget.final_replicates=3",
    "name=tiny",
    "references=[]",
    "keep=none",
)
TINY_SIZE = Size(strategies=2, trials=5, replicates=2, final=3)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lossfleet.sweeps.commands.cli", *arguments]


@cache
def empty_store() -> Path:
    """An empty store of MLflow, whose tables take seconds to make."""
    from mlflow import MlflowClient

    path = Path(tempfile.mkdtemp(prefix="lossfleet-store-")) / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    atexit.register(shutil.rmtree, path.parent)
    return path


def with_store(folder: Path) -> Path:
    """The folder, with an empty store where it has none."""
    if not (folder / "mlflow.db").exists():
        shutil.copy(empty_store(), folder / "mlflow.db")
    return folder


def run(folder: Path, *arguments: str, figures: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder to its end."""
    return run_command(arguments, with_store(folder), figures=figures, COLUMNS="200")


def succeed(folder: Path, *arguments: str, figures: bool = False) -> str:
    """Run a command in a folder; returns what it printed."""
    done = run(folder, *arguments, figures=figures)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(folder: Path, *arguments: str) -> ForkedCommand:
    """Start a command in a folder, in a session of its own."""
    return ForkedCommand(arguments, with_store(folder))


def launch(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in a folder in a process that has imported nothing yet."""
    return subprocess.Popen(
        command(*arguments),
        cwd=with_store(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(happened: Callable[[], bool], process: Process | None = None, *, pause: float = 0.02) -> bool:
    """Wait until something has happened, with pauses in seconds; returns False if the process ended before it."""
    deadline = time.monotonic() + 300
    while not happened():
        if process is not None and process.poll() is not None:
            return happened()
        assert time.monotonic() < deadline
        time.sleep(pause)
    return True


def children(pid: int, kind: str) -> list[int]:
    """The processes that a process started: its "running.processes" (trainers) or its "tracking.writer"."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    found = []
    for child in own:
        try:
            name = Path(f"/proc/{child}/comm").read_text().strip()
            if name == kind[:LETTERS] or kind in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def journal(folder: Path, sweep: str = "*") -> Journal:
    (file,) = folder.glob(f"studies/{sweep}/records.jsonl")
    return Journal(file)


def lines(folder: Path, *words: str, name: str = "records.jsonl") -> int:
    """The lines of a file of the sweep that have all the words."""
    files = list(folder.glob(f"studies/*/{name}"))
    text = files[0].read_text(errors="replace") if files else ""
    return sum(all(word in line for word in words) for line in text.splitlines())


def results(folder: Path, sweep: str = "*") -> dict[tuple, tuple]:
    """All that must repeat of a sweep: every record without its times; nothing of one that is not there."""
    found: dict[tuple, tuple] = {}
    if not list(folder.glob(f"studies/{sweep}/records.jsonl")):
        return found
    for record in journal(folder, sweep).read():
        if isinstance(record, TrialRecord):
            key = (record.strategy, record.stage, record.trial)
            found[key] = (record.state, record.value, tuple(sorted(record.params.items())))
        elif isinstance(record, ReplicateRecord):
            key = (record.strategy, record.stage, record.trial, record.replicate)
            found[key] = (record.state, record.epochs, tuple(sorted(record.metrics.items())))
    return found


def finished(folder: Path) -> dict[tuple, tuple]:
    """The results that no later run may change: ended trials and complete replicates."""
    return {key: value for key, value in results(folder).items() if len(key) == 3 or value[0] == "COMPLETE"}


def table(folder: Path) -> str:
    """The table of the journal, as it is printed."""
    return markdown_table(summary(frame_from_records(journal(folder).read())))


def mlflow_runs(uri: str, experiment: str = "wine") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], max_results=5000)) if found else []


def check_complete(folder: Path, size: Size, uri: str | None = None, sweep: str = "*") -> None:
    """Every trial and final evaluation once, in the journal and in MLflow, none left running."""
    records = journal(folder, sweep).read()
    trials = Counter((r.strategy, r.stage, r.trial) for r in records if isinstance(r, TrialRecord))
    assert set(trials.values()) == {1}
    stages = Counter(stage for _, stage, _ in trials)
    assert stages == {"search": size.strategies * size.trials, "final": size.strategies}
    for strategy in {strategy for strategy, _, _ in trials}:
        numbers = sorted(trial for own, stage, trial in trials if (own, stage) == (strategy, "search"))
        assert numbers == list(range(size.trials))
    uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
    (sweep,) = {record.sweep for record in records if hasattr(record, "sweep")}
    runs = [run for run in mlflow_runs(uri) if run.data.tags["sweep"] == sweep]
    keys = Counter(run.data.tags["lossfleet.key"] for run in runs)
    assert set(keys.values()) == {1}
    assert len(keys) == size.runs
    assert "RUNNING" not in {run.info.status for run in runs}
    pd.testing.assert_frame_equal(frame(["wine"], uri=uri, sweep=sweep), frame_from_records(records))
