"""The main job from launch to the last line: lossfleet, a PyTorch script, MindSpore's default mode."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.measure import (
    HAS_TORCH,
    LOSSFLEET,
    NO_TORCH,
    Report,
    fresh_folder,
    median,
    peers,
    run_command,
)
from tests.benchmarks.work import STRATEGIES

# What the PyTorch script does.
SAME_WORK = ("pruner=none", "keep=none")
TORCH = (sys.executable, "-m", "tests.benchmarks.torch_sweep")


@dataclass(frozen=True)
class Size:
    """How much a sweep trains, and how many trials of it the PyTorch script is given."""

    trials: int
    replicates: int
    epochs: int
    rungs: int
    final_replicates: int
    torch_trials: int
    rounds: int
    data: str = "page_blocks"
    # For lossfleet alone.
    more: tuple[str, ...] = ()

    def overrides(self, trials: int) -> list[str]:
        """The settings of a sweep of so many trials."""
        names = ("replicates", "epochs", "rungs", "final_replicates")
        budget = [f"budget.{name}={getattr(self, name)}" for name in names]
        return [f"data={self.data}", f"budget.trials={trials}", *budget]


FULL = Size(40, 3, 30, 10, 10, torch_trials=4, rounds=3)
QUICK = Size(
    1, 1, 1, 1, 2, torch_trials=1, rounds=1, data="wine", more=("strategy=ce", "tracking.enabled=false")
)


def run(quick: bool) -> list[Report]:
    """All peers in turn, round after round."""
    size = QUICK if quick else FULL
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    with peers(default=("pynative_page_blocks",)) as mindspore:
        for _ in range(size.rounds):
            rounds["lossfleet, the same work"].append(lossfleet(size, *SAME_WORK))
            rounds["lossfleet as it comes (median pruner)"].append(lossfleet(size))
            if HAS_TORCH:
                rounds["PyTorch script, 1 process"].append(torch_script(size, jobs=1))
                rounds["PyTorch script, joblib 2 processes"].append(torch_script(size, jobs=2))
            epoch = mindspore["default"].seconds()
            trainings = len(STRATEGIES) * (size.trials * size.replicates + size.final_replicates)
            rounds["MindSpore default mode"].append(
                {"measured": epoch, "whole": epoch * trainings * size.epochs}
            )
    base = median([each["whole"] for each in rounds["lossfleet, the same work"]])
    rows: list[dict[str, Any]] = []
    for name, measured in rounds.items():
        values = {key: median([each[key] for each in measured]) for key in measured[0]}
        extrapolated = "measured" in values
        rows.append(
            {
                "what": name,
                "seconds": values["whole"],
                "/ lossfleet, the same work": values["whole"] / base,
                "extrapolated from seconds": values["measured"] if extrapolated else None,
                "of these fixed": values.get("fixed"),
                "peak MiB": values.get("peak"),
            }
        )
    notes = (
        f"Page Blocks, {len(STRATEGIES)} strategies, {size.trials} trials of {size.replicates} replicates, "
        f"{size.epochs} epochs, then {size.final_replicates} replicates of each best trial; launch to last "
        "line, with imports, search, logging to MLflow and evaluation.",
        f"Medians of {size.rounds} rounds, the peers in turn.",
        f"The PyTorch script runs {size.torch_trials} trials a strategy; its search is extrapolated to "
        f"{size.trials}, its fixed costs (imports, stores) and final evaluation are measured in full. TPE "
        "slows down with the number of trials, which this leaves out.",
        "MindSpore default mode is the solo engine without synchronised launches: one epoch of a replicate "
        "was measured and multiplied; imports, search, logging and evaluation come on top.",
        "The PyTorch script prunes nothing, has no references and keeps no model, so lossfleet without them does the "
        "same work. Peak memory is that of the largest process.",
        *(() if HAS_TORCH else (NO_TORCH,)),
    )
    samples = {name: [each["whole"] for each in measured] for name, measured in rounds.items()}
    return [Report("Sweep: the main job", rows, notes, samples)]


def lossfleet(size: Size, *overrides: str) -> dict[str, float]:
    """Seconds of lossfleet's whole sweep."""
    # The peers fit no references.
    command = [*LOSSFLEET, "sweep", "references=[]", *size.overrides(size.trials), *size.more, *overrides]
    with fresh_folder() as folder:
        finished = run_command(command, folder)
    return {"whole": finished.seconds, "peak": finished.peak_mebibytes}


def torch_script(size: Size, *, jobs: int) -> dict[str, float]:
    """Seconds of the PyTorch script with a few trials, and what the whole sweep would take."""
    command = [*TORCH, f"--jobs={jobs}", *size.overrides(size.torch_trials)]
    with fresh_folder() as folder:
        finished = run_command(command, folder)
    inside = json.loads(finished.output.splitlines()[-1])
    fixed = finished.seconds - inside["search"] - inside["final"]
    return {
        "whole": fixed + inside["final"] + inside["search"] * size.trials / size.torch_trials,
        "measured": finished.seconds,
        "fixed": fixed,
        "peak": finished.peak_mebibytes,
    }
