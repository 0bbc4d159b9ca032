"""How a sweep grows: wall time a trial and memory, for 100 to 10,000 trials of a tiny training."""

from __future__ import annotations

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


def run(quick: bool) -> Report:
    """Each number of trials with and without tracking, one after the other."""
    rows = []
    for trials in (100,) if quick else (100, 1000, 10_000):
        for tracking in (True, False):
            settings = (*SETTINGS, f"budget.trials={trials}", f"tracking.enabled={str(tracking).lower()}")
            with fresh_folder() as folder:
                finished = run_command([*LOSSFLEET, "sweep", *settings], folder)
            rows.append(
                {
                    "trials": trials,
                    "MLflow": "on" if tracking else "off",
                    "seconds": finished.seconds,
                    "ms a trial": 1000 * finished.seconds / trials,
                    "peak MiB": finished.peak_mebibytes,
                }
            )
    notes = (
        "Wine, cross-entropy, random search, one replicate and one epoch a trial, 32 trials in flight; "
        "launch to last line, one run each.",
        "Peak memory is that of the largest process of the command.",
        "The command does not tell its time in search, tracking and training; what MLflow costs shows in the "
        "difference between on and off.",
    )
    return Report("Growth: many trials", rows, notes)
