"""How long until something happens: help, an error, the first training, the first run in MLflow."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections import defaultdict
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
REPORTED = b'"intermediate_value"'
POLL = 0.02
LONGEST_WAIT = 300.0


def run(quick: bool) -> Report:
    """Every command in turn, round after round."""
    rounds = 2 if quick else 9
    with fresh_folder() as folder:
        # So that there are kernels of an earlier sweep.
        run_command([*LOSSFLEET, "sweep", "budget.trials=1"], folder)
    samples: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        samples["--help"].append(seconds("--help"))
        samples["sweep --help"].append(seconds("sweep", "--help"))
        samples["configuration error"].append(seconds(*ERROR, expected_code=2))
        samples["one training of one epoch, and the final one"].append(seconds(*TINY))
        samples["launch to the main job's first epoch"].append(seconds_to_first_epoch())
        samples["the same, first time on a machine"].append(seconds_to_first_epoch(is_first=True))
        first_run, first_replicate = seconds_to_mlflow()
        samples["launch to the sweep's run in MLflow"].append(first_run)
        samples["launch to the first replicate's run in MLflow"].append(first_replicate)
    rows = [
        {"what": name, "median s": median(values), "min s": min(values), "max s": max(values)}
        for name, values in samples.items()
    ]
    notes = (
        f"{rounds} rounds, the commands in turn, each in an empty folder.",
        "One training is launch to end of a sweep of 1 trial, 1 replicate, 1 epoch on breast_cancer without "
        "tracking: imports, the compilation of the graph, an epoch, and a final replicate of one epoch.",
        "The main job's first epoch is done when Optuna's journal has a report of it. The first time on a "
        "machine the fused kernels are compiled.",
        f"MLflow's times are those of `sweep experiment=quick`; its database is read every {POLL} s.",
    )
    return Report("Latency", rows, notes, dict(samples))


def seconds(*arguments: str, expected_code: int = 0) -> float:
    """Wall time of a command."""
    with fresh_folder() as folder:
        return run_command([*LOSSFLEET, *arguments], folder, expected_code=expected_code).seconds


def seconds_to_first_epoch(*, is_first: bool = False) -> float:
    """Seconds until a fleet of the main job has trained an epoch; what runs then is ended.

    Args:
        is_first: as on a machine that has no fused kernels of earlier sweeps.
    """
    with fresh_folder() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*LOSSFLEET, *MAIN],
            cwd=folder,
            env=command_environment(folder / "cache" if is_first else None),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while time.perf_counter() - start < LONGEST_WAIT:
                if any(REPORTED in file.read_bytes() for file in folder.glob("studies/*/optuna.journal")):
                    return time.perf_counter() - start
                time.sleep(POLL)
            raise TimeoutError(f"no epoch of {' '.join(MAIN)} after {LONGEST_WAIT:g} s")
        finally:
            process.terminate()
            process.wait()


def seconds_to_mlflow() -> tuple[float, float]:
    """Seconds until the sweep's own run and until the first replicate's can be read."""
    with fresh_folder() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*LOSSFLEET, *WATCHED],
            cwd=folder,
            env=command_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            times = [wait_for(folder / "mlflow.db", kind, start) for kind in ("sweep", "replicate")]
        finally:
            process.wait()
    return times[0], times[1]


def wait_for(database: Path, kind: str, start: float) -> float:
    """Seconds from start until a run of this kind is in the database.

    Raises:
        TimeoutError: it never came.
    """
    while (elapsed := time.perf_counter() - start) < LONGEST_WAIT:
        if has_run(database, kind):
            return elapsed
        time.sleep(POLL)
    raise TimeoutError(f"no {kind} in {database} after {LONGEST_WAIT:g} s")


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
