"""How a sweep grows: wall time a trial and memory, for 100 to 10,000 trials of a tiny training."""

from __future__ import annotations

from pathlib import Path

from lossfleet.runners.records import EngineRecord, Journal
from lossfleet.sweeps.report.speed import speed_metrics
from tests.benchmarks.measure import LOSSFLEET, Report, fresh_folder, run_command

SETTINGS = (
    "strategy=ce",
    "data=wine",
    "search=random",
    "pruner=none",
    "search.concurrent_trials=32",
    "budget.replicates=1",
    "budget.epochs=1",
    "budget.rungs=1",
    "budget.final_replicates=2",
)
PARTS = ("search", "train", "measure", "write", "enter", "compile")


def run(quick: bool) -> list[Report]:
    """Each number of trials with and without tracking, one after the other."""
    rows = []
    for trials in (5,) if quick else (100, 1000, 10_000):
        for tracking in (True, False):
            settings = [*SETTINGS, f"budget.trials={trials}", f"tracking.enabled={str(tracking).lower()}"]
            if quick:
                settings.append("references=[]")
            with fresh_folder() as folder:
                finished = run_command([*LOSSFLEET, "sweep", *settings], folder)
                metrics = engine_metrics(folder)
            rows.append(
                {
                    "trials": trials,
                    "MLflow": "on" if tracking else "off",
                    "seconds": finished.seconds,
                    "ms a trial": 1000 * finished.seconds / trials,
                    **{f"{part} s": metrics[f"seconds_{part}"] for part in PARTS},
                    "else s": finished.seconds - sum(metrics[f"seconds_{part}"] for part in PARTS),
                    "peak MiB": finished.peak_mebibytes,
                }
            )
    notes = (
        "Wine, cross-entropy, random search, one replicate and one epoch a trial, 32 trials in flight; "
        "launch to last line, one run each.",
        "The parts are those of the process that trains, as it writes them down: search is Optuna's asking, "
        "reporting and telling, write is the journal of records. Else is the start, the table and the figures, "
        "and waiting for MLflow's writer, which works beside the training.",
        "Peak memory is that of the largest process of the command.",
    )
    return [Report("Growth: many trials", rows, notes)]


def engine_metrics(folder: Path) -> dict[str, float]:
    """What the engines of the one sweep in a working directory wrote down."""
    (journal,) = folder.glob("studies/*/records.jsonl")
    return speed_metrics([each for each in Journal(journal).read() if isinstance(each, EngineRecord)])
