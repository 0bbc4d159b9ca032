"""Decisions by a threshold or by costs, of many members at once: fitted on validation parts, measured on test parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lossfleet.conf.deciding import Decision
from lossfleet.conf.metrics import Metric, find_metric, with_users
from lossfleet.runners.metrics.calibration import softmax, weighted_mean
from lossfleet.runners.metrics.classification import (
    Outputs,
    confusion_matrix,
    decision_metrics,
    decision_values,
)

FITTED, DECIDED, AT_ARGMAX = "validation_decided_", "test_decided_", "test_argmax_"
COST = "cost"
# That of the argmax.
EVEN = 0.5


def decided_metrics(
    validation: Outputs,
    test: Outputs,
    temperature: np.ndarray,
    decision: Decision,
    *,
    rarest_class: int,
    users: Sequence[Metric],
    class_names: Sequence[str],
) -> dict[str, np.ndarray]:
    """What a threshold or costs make of softmax(x / T); nothing for other decisions.

    - `test_decided_<metric>`: all metrics of decisions on the test part.
    - `validation_decided_<metric>`: those that the decision was fitted to, on the part that it was fitted on.
    - `decision_threshold`: of the class that the decision names, else the rarest.
    - `test_decided_cost`, `validation_decided_cost`, `test_argmax_cost`: mean cost of a row, where there are costs.

    Args:
        validation, test: of the same K members, finite.
        temperature: (K,), T.
        decision: of two classes, where it is a threshold.
        rarest_class, users, class_names: as for `classification_metrics`.

    Returns:
        (K,) by name.
    """
    if decision.name not in ("threshold", "costs"):
        return {}
    validated, tested = (softmax(part.logits / temperature[:, None, None]) for part in (validation, test))
    known, classes = with_users(users), len(class_names)

    def values(name: str, confusion: np.ndarray) -> np.ndarray:
        metric = find_metric(name, known)
        return decision_values(metric, confusion, rarest_class=rarest_class, class_names=class_names)

    found = {}
    if decision.name == "costs":
        costs = np.array(decision.cost_matrix(class_names))
        decisions = decide_by_costs(tested, costs)
        found[f"{FITTED}{COST}"] = mean_cost(
            decide_by_costs(validated, costs), validation.labels, costs, validation.weights
        )
        found[f"{DECIDED}{COST}"] = mean_cost(decisions, test.labels, costs, test.weights)
        found[f"{AT_ARGMAX}{COST}"] = mean_cost(test.logits.argmax(axis=1), test.labels, costs, test.weights)
    else:
        positive = rarest_class if decision.class_name is None else class_names.index(decision.class_name)
        fitted = decision.fitted(class_names[positive])

        def score(confusion: np.ndarray) -> np.ndarray:
            best = find_metric(fitted[0], known).sign * values(fitted[0], confusion)
            if decision.bound is None:
                return best
            bounded = values(decision.bound.metric, confusion)
            holds = bounded >= decision.bound.bound
            return np.where(holds, best, -np.inf) if holds.any() else bounded

        threshold = fit_thresholds(validated, validation.labels, positive, score, validation.weights)
        decisions = decide_by_threshold(tested, threshold, positive)
        on_validation = confusion_matrix(
            decide_by_threshold(validated, threshold, positive),
            validation.labels,
            classes,
            validation.weights,
        )
        found["decision_threshold"] = threshold
        found |= {f"{FITTED}{name}": values(name, on_validation) for name in fitted}
    confusion = confusion_matrix(decisions, test.labels, classes, test.weights)
    return found | {
        f"{DECIDED}{name}": values(name, confusion) for name in decision_metrics(class_names, users)
    }


def decided_names(class_names: Sequence[str], users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """All metrics that a final replicate may have beside those of `final_metric_names`, with this decision or that."""
    of_decisions = (*decision_metrics(class_names, users), COST)
    return (
        *(f"{part}{name}" for part in (DECIDED, FITTED) for name in of_decisions),
        f"{AT_ARGMAX}{COST}",
        "decision_threshold",
    )


def decide_by_threshold(probabilities: np.ndarray, threshold: np.ndarray, positive: int) -> np.ndarray:
    """The class `positive` where its probability reaches the threshold, else the other one.

    Args:
        probabilities: (..., 2, N).
        threshold: (...) in [0, 1].
        positive: 0 or 1.

    Returns:
        (..., N) integers.
    """
    return np.where(probabilities[..., positive, :] >= threshold[..., None], positive, 1 - positive)


def decide_by_costs(probabilities: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """The class of least expected cost, argmin_j of sum_i p_i cost_ij, the first one of equals.

    Args:
        probabilities: (..., C, N).
        costs: (C, C), of predicting class j where class i is true.

    Returns:
        (..., N) integers.

    Reference: Elkan 2001 (IJCAI), The foundations of cost-sensitive learning.
    """
    return (costs.T @ probabilities).argmin(axis=-2)


def mean_cost(
    decisions: np.ndarray, labels: np.ndarray, costs: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """The mean over rows of cost_ij for label i and decision j, both (..., N) as weights are, as (...)."""
    return weighted_mean(costs[labels, decisions], weights)


def fit_thresholds(
    probabilities: np.ndarray,
    labels: np.ndarray,
    positive: int,
    score: Callable[[np.ndarray], np.ndarray],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The best threshold of each member.

    Args:
        probabilities: (K, 2, N), of examples that were not trained on.
        labels: (K, N) integers, 0 or 1.
        positive: the class whose probability has the threshold.
        score: of confusion matrices (M, 2, 2), one a threshold, (M,): to be maximised, what is NaN is not taken.
        weights: (K, N) of at least 0; None where all examples count alike.

    Returns:
        (K,) in [0, 1], the middle of the longest interval of thresholds that have the best score, of several the one
        nearest to 1/2; 1/2 where no score is finite.
    """
    return np.array(
        [
            _fit_threshold(member[positive], own == positive, positive, score, weight)
            for member, own, weight in zip(
                probabilities, labels, [None] * len(labels) if weights is None else weights, strict=True
            )
        ]
    )


def _fit_threshold(
    probabilities: np.ndarray,
    is_positive: np.ndarray,
    positive: int,
    score: Callable[[np.ndarray], np.ndarray],
    weights: np.ndarray | None,
) -> float:
    values, place = np.unique(probabilities, return_inverse=True)
    # Thresholds in (low, high] decide alike: from `high` on all is positive.
    low, high = np.concatenate([[0.0], values]), np.concatenate([values, [1.0]])
    confusion = np.empty((len(high), 2, 2), np.int64 if weights is None else np.float64)
    for label, is_of_label in ((positive, is_positive), (1 - positive, ~is_positive)):
        counts = is_of_label if weights is None else is_of_label * weights
        at_value = np.bincount(place, weights=counts, minlength=len(values))
        below = np.concatenate([[0], at_value.cumsum()])
        confusion[:, label, 1 - positive] = below
        confusion[:, label, positive] = below[-1] - below
    scores = np.nan_to_num(score(confusion), nan=-np.inf)
    # None is above a probability of 1.
    scores[low == 1] = -np.inf
    best = np.isclose(scores, scores.max(), rtol=0, atol=1e-12) & np.isfinite(scores)
    if not best.any():
        return EVEN
    edges = np.flatnonzero(np.diff(np.concatenate([[0], best.astype(int), [0]])))
    return max(
        (
            _interval(low[first], high[after - 1])
            for first, after in zip(edges[::2], edges[1::2], strict=True)
        ),
    )[-1]


def _interval(low: float, high: float) -> tuple[float, float, float]:
    """An interval (low, high] of thresholds by its length, then by how near its middle is to 1/2, and the middle."""
    middle = float((low + high) / 2)
    # Between neighbours among floats there is none.
    middle = middle if middle > low else float(high)
    return float(high - low), -abs(middle - EVEN), middle
