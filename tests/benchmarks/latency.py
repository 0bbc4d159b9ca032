"""How long until something happens: help, an error, the first training, the first run in MLflow."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measure import LOSSFLEET, Report, command_environment, fresh_folder, median, run_command

TINY = (
    "sweep",
    "strategy=ce",
    "data=breast_cancer",
    "budget.trials=1",
    "budget.replicates=1",
    "budget.epochs=1",
    "budget.rungs=1",
    "budget.final_replicates=1",
    "tracking.enabled=false",
)
ERROR = ("sweep", "strategy=focal", "loss.gamma=-1")
WATCHED = ("sweep", "experiment=quick")
# The main job, reporting every epoch; stopped after the first.
MAIN = ("sweep", "budget.rungs=30")
# Instead of these where only to see that it runs.
QUICK = (
    *("sweep", "strategy=ce", "data=wine", "references=[]", "engine.native=off"),
    *("budget.trials=1", "budget.replicates=1", "budget.rungs=2"),
)
REPORTED = b'"intermediate_value"'
POLL = 0.02
LONGEST_WAIT = 300.0


def run(quick: bool) -> list[Report]:
    """Every command in turn, round after round."""
    rounds = 1 if quick else 9
    main, watched = (QUICK, QUICK) if quick else (MAIN, WATCHED)
    samples: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        samples["--help"].append(seconds("--help"))
        samples["sweep --help"].append(seconds("sweep", "--help"))
        samples["configuration error"].append(seconds(*ERROR, expected_code=2))
        samples["one training of one epoch, and the final one"].append(seconds(*TINY))
        samples["launch to the main job's first epoch"].append(seconds_to_first_epoch(main))
        samples["the same, first time on a machine"].append(seconds_to_first_epoch(main, is_first=True))
        first_run, first_replicate = seconds_to_mlflow(watched)
        samples["launch to the sweep's run in MLflow"].append(first_run)
        samples["launch to the first replicate's run in MLflow"].append(first_replicate)
    rows = [
        {"what": name, "median s": median(values), "min s": min(values), "max s": max(values)}
        for name, values in samples.items()
    ]
    notes = (
        f"{rounds} rounds, the commands in turn, each in an empty folder.",
        "One training is launch to end of a sweep of 1 trial, 1 replicate, 1 epoch on breast_cancer without "
        "tracking: imports, an epoch, and a final replicate of one epoch.",
        "The main job's first epoch is done when Optuna's journal has a report of it. The first time on a "
        "machine no cache of earlier sweeps is there.",
        f"MLflow's times are those of `sweep experiment=quick`; its database is read every {POLL} s.",
    )
    return [Report("Latency", rows, notes, dict(samples))]


def seconds(*arguments: str, expected_code: int = 0) -> float:
    """Wall time of a command."""
    with fresh_folder() as folder:
        return run_command([*LOSSFLEET, *arguments], folder, expected_code=expected_code).seconds


def seconds_to_first_epoch(command: Sequence[str], *, is_first: bool = False) -> float:
    """Seconds until a fleet of this sweep has trained an epoch; what runs then is ended.

    Args:
        is_first: as on a machine that has no cache of earlier sweeps.
    """
    with fresh_folder() as folder, started(command, folder, is_first=is_first) as seconds_until:
        return seconds_until(
            lambda: any(REPORTED in file.read_bytes() for file in folder.glob("studies/*/optuna.journal"))
        )


def seconds_to_mlflow(command: Sequence[str]) -> tuple[float, float]:
    """Seconds until a sweep's own run and until its first replicate's can be read; what runs then is ended."""
    with fresh_folder() as folder, started(command, folder) as seconds_until:
        database = folder / "mlflow.db"
        sweep = seconds_until(lambda: has_run(database, "sweep"))
        return sweep, seconds_until(lambda: has_run(database, "replicate"))


@contextmanager
def started(
    command: Sequence[str], folder: Path, *, is_first: bool = False
) -> Iterator[Callable[[Callable[[], bool]], float]]:
    """A command that runs in a folder; gives a function that waits for something and returns the seconds till then.

    Raises:
        TimeoutError: it never happened, or not before the command's end.
    """
    output = folder / "output"
    with output.open("wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*LOSSFLEET, *command],
            cwd=folder,
            env=command_environment(folder / "cache" if is_first else None),
            stdout=file,
            stderr=file,
        )

    def seconds_until(happened: Callable[[], bool]) -> float:
        while time.perf_counter() - start < LONGEST_WAIT:
            has_ended = process.poll() is not None
            if happened():
                return time.perf_counter() - start
            if has_ended:
                break
            time.sleep(POLL)
        raise TimeoutError(f"{' '.join(command)} did not come so far:\n{output.read_text()[-3000:]}")

    try:
        yield seconds_until
    finally:
        process.terminate()
        process.wait()


def has_run(database: Path, kind: str) -> bool:
    """Whether the database, which may not exist yet, has a run of this kind."""
    if not database.is_file():
        return False
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0)
        try:
            query = "SELECT 1 FROM tags WHERE key = 'lossfleet.kind' AND value = ? LIMIT 1"
            return connection.execute(query, (kind,)).fetchone() is not None
        finally:
            connection.close()
    except sqlite3.OperationalError:
        # Its tables are not made yet, or it is locked for writing.
        return False
