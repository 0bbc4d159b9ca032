"""A made-up frame with everything that figures show, small enough to compute them by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lossfleet.runners.tracking.tags import SPEED_TAGS
from lossfleet.sweeps.comparison.frame import FIELDS, SHOWN

STRATEGIES = ("ce", "focal", "mine")
# Hidden in every name that is data: none may be read as HTML or as a formula.
HOSTILE = r"<script>alert(1)</script> & $\frac$"
CONFUSION = {
    "test_confusion[rare][rare]": 6,
    "test_confusion[rare][common]": 2,
    "test_confusion[common][rare]": 1,
    "test_confusion[common][common]": 3,
}


def figures_frame(
    data: str = "wine", *, strategies: tuple[str, ...] = STRATEGIES, trials: int = 16, grid: bool = False
) -> pd.DataFrame:
    """A sweep's frame: every third trial was pruned, the second failed, the last is chosen."""
    random = np.random.default_rng([len(data), trials])
    rows = []
    for level, strategy in enumerate(strategies):
        for trial in range(trials):
            params = {
                "params.optimizer.lr": 10.0 ** random.uniform(-4, -1),
                "params.sampler": "ab"[trial % 2],
            }
            if strategy == "focal":
                gamma, tau = (trial // 4, trial % 4) if grid else (random.uniform(0, 5), random.uniform(0, 1))
                params |= {"params.loss.gamma": float(gamma), "params.loss.tau": tau / 2}
            state = (
                "FAIL" if trial == 1 else "PRUNED" if trial % 3 == 2 and trial < trials - 1 else "COMPLETE"
            )
            for replicate in range(2):
                value = 0.5 + 0.01 * trial + 0.02 * replicate
                rows.append(_row(data, strategy, "search", trial, replicate, state) | params)
                rows[-1]["validation_macro_f1"] = np.nan if state == "FAIL" else value
        for replicate in range(5):
            rows.append(_row(data, strategy, "final", trials - 1, replicate, "COMPLETE") | params)
            score = 0.7 + 0.05 * level + random.normal(0, 0.02)
            rows[-1] |= dict.fromkeys(SHOWN, score) | CONFUSION | {"train_rows": 90.0, "test_rows": 12.0}
            if replicate == 0:
                rows[-1] |= dict(zip(SPEED_TAGS, (level + 1.5, 1000.0 + level), strict=True))
            rows[-1] |= {
                "curves.validation_macro_f1": ((2, 0.5 + 0.1 * replicate), (4, 0.6 + 0.1 * level)),
                "curves.test_precision_at_recall": tuple((step, 1 - step / 200) for step in range(101)),
                "curves.test_reliability_count": ((8, 10.0 + replicate), (15, 40.0)),
                "curves.test_reliability_confidence": ((8, 0.5), (15, 0.98)),
                "curves.test_reliability_accuracy": ((8, 0.1 * replicate), (15, 0.95)),
            }
    return pd.DataFrame(rows)


def several() -> pd.DataFrame:
    """Sweeps on two data sets."""
    return pd.concat([figures_frame(data) for data in ("wine", "iris")])


def _row(data: str, strategy: str, stage: str, trial: int, replicate: int, state: str) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(FIELDS, 0) | dict.fromkeys(("long_tail", *SPEED_TAGS), math.nan)
    row |= {"data": data, "sweep": f"{data}-1", "strategy": strategy, "stage": stage, "trial": trial}
    row |= {"replicate": replicate, "seed": replicate, "split": replicate, "state": state}
    return row | {
        "search_metric": "macro_f1",
        "class_names": ("rare", "common"),
        "feasible": True,
        "objectives": "",
    }
