"""Which trial is better: constraints first, then the metrics that are optimised."""

from __future__ import annotations

from collections.abc import Iterable

from lossfleet.conf.schema import Search
from lossfleet.runners.records import TrialRecord


def best_trial(trials: Iterable[TrialRecord], search: Search) -> TrialRecord | None:
    """The trial to evaluate at last; None when none is complete.

    Of those that hold all constraints the one with the best first metric, of equals the one with the best
    second and so on, then the earliest: a member of the Pareto front. Where none holds them, the one that
    misses them least.
    """
    complete = [trial for trial in trials if trial.state == "COMPLETE"]
    return max(
        complete,
        key=lambda trial: (-violation(trial), *gains(trial, search), -trial.trial),
        default=None,
    )


def violation(trial: TrialRecord) -> float:
    """By how much a trial misses its constraints, in sum; 0 where it holds them all."""
    return sum(max(0.0, missed) for missed in trial.violations.values())


def gains(trial: TrialRecord, search: Search) -> list[float]:
    """A complete trial's values, with signs that make more better."""
    values = trial.values or {search.metric: float(trial.value or 0)}
    return [each.sign * values[each.name] for each in search.measures]


def trials_without_improvement(trials: Iterable[TrialRecord], search: Search) -> int:
    """How many trials have ended since one was better than all before in some metric.

    Args:
        trials: in the order of their ends.
        search: what is optimised.
    """
    leaders: list[TrialRecord] = []
    count = 0
    for trial in trials:
        count += 1
        if trial.state == "COMPLETE" and not any(_covers(leader, trial, search) for leader in leaders):
            leaders = [leader for leader in leaders if not _covers(trial, leader, search)] + [trial]
            count = 0
    return count


def _covers(one: TrialRecord, other: TrialRecord, search: Search) -> bool:
    """Whether one trial is at least as good as the other in everything."""
    if violation(one) != violation(other):
        return violation(one) < violation(other)
    return all(a >= b for a, b in zip(gains(one, search), gains(other, search), strict=True))
