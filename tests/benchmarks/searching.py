"""What it costs to search what shapes a graph: sweeps of one strategy, launch to last line."""

from __future__ import annotations

from collections import defaultdict

from tests.benchmarks.growth import engine_metrics
from tests.benchmarks.measure import LOSSFLEET, Report, fresh_folder, median, run_command

SETTINGS = ("strategy=focal", "budget.trials=20", "references=[]")
SEARCHED = {
    "neither": (),
    "batch_size": ("batch_size=choice(32,48,64,96,128,192)",),
    "optimizer.beta1": ("optimizer.beta1=interval(0.8,0.99)",),
}
QUICK = (
    *("strategy=focal", "data=wine", "budget.trials=1", "budget.replicates=1", "budget.epochs=1"),
    *("budget.rungs=1", "budget.final_replicates=2", "references=[]", "keep=none", "tracking.enabled=false"),
)


def run(quick: bool) -> list[Report]:
    """Each sweep in turn, round after round."""
    searched = {"neither": ()} if quick else SEARCHED
    settings, rounds = (QUICK, 1) if quick else (SETTINGS, 3)
    whole: dict[str, list[float]] = defaultdict(list)
    training: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, more in searched.items():
            with fresh_folder() as folder:
                finished = run_command([*LOSSFLEET, "sweep", *settings, *more], folder)
                whole[name].append(finished.seconds)
                training[name].append(engine_metrics(folder)["engine_seconds"])
    rows = [
        {
            "searched too": name,
            "seconds": median(whole[name]),
            "of these training and search": median(training[name]),
        }
        for name in searched
    ]
    notes = (
        "20 trials of focal loss on Page Blocks, three replicates, 30 epochs, and the winner's model; launch to last "
        f"line, medians of {rounds} rounds, without references.",
        "In graphs each value of these two would be a graph of its own; the native core takes them as numbers.",
    )
    return [Report("Searching what shapes a graph", rows, notes, dict(whole))]
