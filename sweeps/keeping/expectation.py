"""What to expect of a strategy's model on rows that it has not seen: the scores of its final evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

import numpy as np

from lossfleet.conf.deciding import Decision
from lossfleet.runners.metrics.calibration import COLDEST, HOTTEST
from lossfleet.runners.records import ReplicateRecord
from lossfleet.sweeps.comparison.evaluated import rows_of
from lossfleet.sweeps.comparison.statistics import corrected_t

# So far from the ends of its range a temperature was found by the fit.
SLACK = 1.001
# What stands before the metrics of a decision in a final evaluation.
PREFIXES = {
    "argmax": "test_",
    "prior": "test_corrected_",
    "threshold": "test_decided_",
    "costs": "test_decided_",
}


def expected_scores(replicates: Sequence[ReplicateRecord]) -> dict[str, dict[str, float | None]]:
    """Mean, 95 % interval, standard error and deviation of each metric on the test parts, by its name.

    Splits overlap, so the error is that of the corrected t-test, sqrt((1 / J + n_test / n_learned) var); see
    `evaluated.rows_of`.

    Args:
        replicates: of one final evaluation, those that were measured.

    Returns:
        `mean`, `low`, `high`, `error` and `deviation` of each; None for what cannot be said of one split, or of a
        metric that does not vary.
    """
    import pandas as pd

    names = [name for name in replicates[0].metrics if is_expected(name)]
    rows = rows_of(pd.DataFrame([each.metrics for each in replicates]))
    scores: dict[str, dict[str, float | None]] = {}
    for name in names:
        values = np.array([each.metrics[name] for each in replicates])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        scores[name] = {
            "mean": float(values.mean()),
            "low": None,
            "high": None,
            "error": None,
            "deviation": None,
        }
        if len(values) > 1:
            scores[name]["deviation"] = float(values.std(ddof=1))
            test = corrected_t(values, **rows)
            if math.isfinite(test.low) and test.t:
                error = float(values.mean()) / test.t
                scores[name] |= {"low": test.low, "high": test.high, "error": error}
    return scores


def interval_within_scale(metric: str, score: Mapping[str, float | None]) -> tuple[float, float] | None:
    """The 95 % interval of a metric that the card and `evaluate` show, as far as the metric can be.

    Student's t knows nothing of the ends of a scale, and its interval may reach beyond them.

    Args:
        metric: such as `test_mcc` or `recall[rare]`.
        score: of `expected_scores`.

    Returns:
        Its ends; None where there is none.
    """
    low, high = score.get("low"), score.get("high")
    if low is None or high is None:
        return None
    least = -1.0 if metric.endswith("mcc") else 0.0
    most = math.inf if metric.endswith("cost") else 1.0
    return max(low, least), min(high, most)


def is_expected(name: str) -> bool:
    """Whether a metric says what to expect: a score on the test part, not a count."""
    return name.startswith("test_") and not name.startswith("test_confusion") and not name.endswith("_rows")


def typical_epochs(replicates: Sequence[ReplicateRecord]) -> int | None:
    """The median of the epochs at which replicates were best, the lower of two; None where the last one counts."""
    best = [each.metrics["best_epoch"] for each in replicates if "best_epoch" in each.metrics]
    return int(median_low(best)) if best else None


def typical_temperature(replicates: Sequence[ReplicateRecord]) -> float:
    """The geometric mean of the temperatures, each of which was fitted on a validation part.

    Where every prediction was right none is best, and the fit ends at the end of its range: those are left out,
    and 1 is taken where no other is left.
    """
    fitted = [each.metrics["temperature"] for each in replicates]
    logarithms = [math.log(each) for each in fitted if COLDEST * SLACK < each < HOTTEST / SLACK]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else 1.0


def typical_exponent(replicates: Sequence[ReplicateRecord]) -> float:
    """The mean exponent of the correction for the prior, each of which was fitted on a validation part."""
    return float(np.mean([each.metrics["prior_exponent"] for each in replicates]))


def typical_rule(
    decision: Decision, replicates: Sequence[ReplicateRecord], class_names: Sequence[str], rarest_class: int
) -> dict[str, Any]:
    """What a model knows of its decision beside the name: the mean threshold and its class, or the costs."""
    if decision.name == "threshold":
        fitted = [each.metrics["decision_threshold"] for each in replicates]
        class_name = decision.class_name or class_names[rarest_class]
        return {"threshold": {"class": class_name, "at_least": float(np.mean(fitted))}}
    return {"costs": decision.cost_matrix(class_names)} if decision.name == "costs" else {}
