"""A made-up sweep's records, for the tests of what is done with them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from lossfleet.runners.records import (
    ContinuationRecord,
    EndRecord,
    Record,
    ReplicateRecord,
    SweepRecord,
    TrialRecord,
)

STARTED = 1_700_000_000.125
METRICS = ("balanced_accuracy", "macro_f1", "macro_average_precision", "rarest_recall")
METRICS += ("corrected_balanced_accuracy",)


def start(sweep: str = "first", data: str = "wine", started: float = STARTED) -> SweepRecord:
    environment = {"lossfleet": "0.1.0", "git_commit": "c0ffee", "machine": "two cores"}
    studies = {
        name: {"loss": {"name": name}, "batch_size": 64, "search": {"metric": "macro_f1"}}
        for name in ("ce", "focal")
    }
    dataset = {
        "digest": "0a1b2c3d",
        "class_names": ["rare", "häufig"],
        "class_counts": [17, 101],
        "notes": ["one row dropped"],
        "source": "made up",
    }
    return SweepRecord(sweep, data, {"sweep": sweep, "studies": studies}, environment, started, dataset)


def end(started: float = STARTED) -> EndRecord:
    return EndRecord("FINISHED", started + 60, "| strategy |\n| --- |", "focal is ahead.")


def continued(started: float = STARTED + 3600) -> ContinuationRecord:
    """The start of a later run, of another commit and with more trials."""
    first = start()
    environment = first.environment | {"git_commit": "decade"}
    changes = ["budget.trials: 2 -> 3", "git_commit: 'c0ffee' -> 'decade'"]
    return ContinuationRecord(first.config, environment, changes, started)


def trial(
    strategy: str,
    number: int,
    *,
    stage: str = "search",
    state: str = "COMPLETE",
    replicates: int = 3,
    level: float = 0.8,
    started: float = STARTED,
) -> list[Record]:
    """A trial's replicates and then the trial; scores depend on strategy, trial and split, around `level`."""
    records: list[Record] = []
    began = started + number
    for replicate in range(replicates):
        split = replicate if stage == "search" else 1000 + replicate
        random = np.random.default_rng([number, split, len(strategy)])
        parts = ("validation", "test") if stage == "final" else ("validation",)
        curves = {
            f"{part}_{name}": [(epoch, level + float(random.normal(0, 0.01))) for epoch in (2, 5, 7)]
            for part in parts
            for name in METRICS
        }
        metrics = {name: curve[-1][1] for name, curve in curves.items()}
        if stage == "final":
            # Steps of recall and of bins go on where the epochs end, and a bin may be empty.
            curves["test_precision_at_recall"] = [(step, 1 - step / 200) for step in range(101)]
            bins = (3, 15) if replicate else (3, 9, 15)
            for index, name in enumerate(("count", "accuracy", "confidence")):
                curves[f"test_reliability_{name}"] = [(step, step * 0.5**index) for step in bins]
        metrics |= {"train_loss": 0.25 + replicate, "train_rows": 107.0, "test_rows": 36.0}
        records.append(
            ReplicateRecord(
                strategy=strategy,
                stage=stage,
                trial=number,
                replicate=replicate,
                seed=100 + replicate if stage == "final" else replicate,
                split=split,
                state=state,
                epochs=7,
                metrics=metrics,
                curves=curves,
                started=began,
                ended=began + 1.5,
                reason="it diverged" if state == "FAIL" else None,
                engine={"ce": "native", "focal": "graph"}.get(strategy),
            )
        )
    params = {"loss.gamma": 0.1 * number, "sampler": "shuffle"} if strategy == "focal" else {}
    records.append(
        TrialRecord(
            strategy=strategy,
            stage=stage,
            trial=number,
            state=state,
            params=params,
            config={
                "strategy": strategy,
                "loss": {"name": strategy, "tau": None, **({"gamma": 0.1 * number} if params else {})},
                "sampler": {"name": "shuffle"},
                "optimizer": {"lr": 0.01},
                "budget": {"epochs": 7},
                "seed": 0,
            },
            value=level if state == "COMPLETE" else None,
            started=began,
            ended=began + 2.0,
            reason="it diverged" if state == "FAIL" else None,
        )
    )
    return records


def sweep(
    sweep: str = "first", data: str = "wine", started: float = STARTED, levels: Iterable[float] = (0.8, 0.9)
) -> list[Record]:
    """Two strategies, with pruned, failed and not finite replicates, and their final evaluations."""
    ce, focal = levels
    records: list[Record] = [start(sweep, data, started)]
    records += trial("ce", 0, level=ce, started=started)
    records += trial("focal", 0, state="PRUNED", started=started)
    failed = trial("focal", 1, state="FAIL", started=started)
    failed[0].metrics.update(train_loss=math.nan, validation_macro_f1=math.nan)
    failed[1].metrics.update(train_loss=math.inf)
    failed[2].metrics.update(train_loss=-math.inf)
    records += failed
    records += trial("focal", 2, level=focal, started=started)
    records += trial("ce", 0, stage="final", level=ce, replicates=5, started=started)
    records += trial("focal", 2, stage="final", level=focal, replicates=5, started=started)
    return [*records, end(started)]
