"""How a model does on labelled rows that are new, beside what its final evaluation let expect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lossfleet.runners.metrics.decisions import accuracy, balanced_accuracy, g_mean, macro_f1, mcc, recalls
from lossfleet.sweeps.keeping.expectation import PREFIXES, interval_within_scale

METRICS = {
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "mcc": mcc,
    "g_mean": g_mean,
    "accuracy": accuracy,
}
RESAMPLES = 2000
ALPHA = 0.05


class Score(NamedTuple):
    """A metric: measured on the new rows, expected, and the p of their difference after Holm's correction.

    Fields: name in words; interval, the ends of what was expected, None where unknown, as p is where nothing can be
    tested.
    """

    name: str
    measured: float
    expected: float | None
    interval: tuple[float, float] | None
    p: float | None

    @property
    def differs(self) -> bool | None:
        """Whether the difference is more than chance; None where nothing can be tested."""
        return None if self.p is None else self.p < ALPHA

    @property
    def told(self) -> str:
        """What was expected, in words."""
        if self.expected is None:
            return "unknown"
        if self.interval is None:
            return f"{self.expected:.4f}"
        return f"{self.expected:.4f} ({self.interval[0]:.3f} to {self.interval[1]:.3f})"


def expected_score(metric: str, measured: float, description: Mapping[str, Any]) -> Score:
    """A metric of a detector beside what was expected of it, which is not tested.

    Args:
        metric: such as `ap50` or `class_ap[car]`.
        measured: on new images.
        description: of the model.
    """
    expected = description["expected"].get(f"test_{metric}", {})
    interval = interval_within_scale(metric, expected)
    return Score(metric, measured, expected.get("mean"), interval, None)


def judge(
    confusion: np.ndarray,
    description: Mapping[str, Any],
    decision: str,
    *,
    effective_rows: float | None = None,
    seed: int = 0,
) -> list[Score]:
    """The metrics of decisions on new rows, each tested against what was expected.

    t = (measured - expected) / sqrt(error^2 + max(deviation^2, sampling^2)), with as many degrees of freedom as there
    were final splits, less one. `error` is that of the expected mean, `deviation` that of single trainings and test
    parts around it, `sampling` that of the new rows, from multinomial resamples of the confusion.

    Args:
        confusion: (C, C) counts of (label, prediction) of the new rows, or sums of their weights.
        description: of the model; has `expected`, `classes` and `made.splits`.
        decision: by which the predictions were made; of a threshold of the user's nothing was expected.
        effective_rows: how many rows of equal weight say as much, Kish's (sum w)^2 / sum w^2; None for the counts' sum.
        seed: of the resampling.

    Returns:
        The metrics of METRICS, then the recall of each class that has new rows, and of decisions by costs the mean.
    """
    classes = description["classes"]
    functions = METRICS | {f"recall[{name}]": _recall(label) for label, name in enumerate(classes)}
    names = {f"recall[{name}]": f"recall of {name}" for name in classes}
    if decision == "costs":
        functions["cost"] = _mean_cost(np.array(description["costs"]))
    random = np.random.default_rng(seed)
    rows = round(float(confusion.sum() if effective_rows is None else effective_rows))
    drawn = random.multinomial(rows, confusion.ravel() / confusion.sum(), size=RESAMPLES).reshape(
        -1, *confusion.shape
    )
    prefix = PREFIXES.get(decision)
    scores = []
    for name, function in functions.items():
        measured = float(function(confusion))
        if math.isnan(measured):
            continue
        expected = description["expected"].get(f"{prefix}{name}", {}) if prefix else {}
        p = None
        if expected.get("error") is not None:
            sampling = float(np.nanstd(function(drawn)))
            p = _p(measured - expected["mean"], expected, sampling, description["made"]["splits"])
        words = names.get(name, name.replace("_", " "))
        scores.append(Score(words, measured, expected.get("mean"), interval_within_scale(name, expected), p))
    return _with_holm(scores)


def _recall(label: int) -> Any:
    return lambda confusion: recalls(confusion)[..., label]


def _mean_cost(costs: np.ndarray) -> Any:
    return lambda confusion: (confusion * costs).sum(axis=(-2, -1)) / confusion.sum(axis=(-2, -1))


def _p(difference: float, expected: Mapping[str, float], sampling: float, splits: int) -> float:
    from scipy import stats

    error = math.hypot(expected["error"], max(expected["deviation"], sampling))
    return float(2 * stats.t.sf(abs(difference) / error, splits - 1))


def _with_holm(scores: list[Score]) -> list[Score]:
    from statsmodels.stats.multitest import multipletests

    tested = [score.p for score in scores if score.p is not None]
    corrected = iter(multipletests(tested, method="holm")[1] if tested else [])
    return [score if score.p is None else score._replace(p=float(next(corrected))) for score in scores]
