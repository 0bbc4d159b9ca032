"""When a study stops asking for trials before it has them all, and what is said about it at the end.

The studies of a sweep train side by side, so that the same number of seconds is the same share of the machine
for each of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from lossfleet.conf.schema import Budget, Search
from lossfleet.runners.records import Record, TrialRecord
from lossfleet.sweeps.planning.plan import Plan, total_trials
from lossfleet.sweeps.search.choice import best_trial, trials_without_improvement, violation


class Stop:
    """Says when a study has searched long enough, counting the seconds of earlier processes too."""

    def __init__(self, budget: Budget, search: Search, trials: Sequence[TrialRecord]) -> None:
        self._budget = budget
        self._search = search
        self._spent = searched_seconds(trials)
        self._started = time.monotonic()

    def is_due(self, trials: Iterable[TrialRecord]) -> bool:
        """Whether no further trial shall be asked for.

        Args:
            trials: of the study, in the order of their ends.
        """
        budget = self._budget
        if budget.seconds is not None and self._spent + time.monotonic() - self._started >= budget.seconds:
            return True
        return is_stalled(trials, budget, self._search)


def is_stalled(trials: Iterable[TrialRecord], budget: Budget, search: Search) -> bool:
    """Whether the last `budget.patience` trials brought no improvement."""
    return budget.patience is not None and trials_without_improvement(trials, search) >= budget.patience


def searched_seconds(trials: Sequence[TrialRecord]) -> float:
    """The time in which at least one of the trials was under way."""
    seconds, until = 0.0, float("-inf")
    for trial in sorted(trials, key=lambda trial: trial.started):
        seconds += max(0.0, trial.ended - max(until, trial.started))
        until = max(until, trial.ended)
    return seconds


def remarks(plan: Plan, records: Sequence[Record]) -> list[str]:
    """What is worth saying of the studies at the end: why they stopped, and which hold no constraint."""
    said = []
    for study in plan.studies:
        budget, search = study.config.budget, study.config.search
        trials = [
            record
            for record in records
            if isinstance(record, TrialRecord)
            and (record.strategy, record.stage) == (study.strategy, "search")
        ]
        repeated = sum(trial.state == "COMPLETE" and trial.reason is not None for trial in trials)
        if repeated:
            said.append(
                f"{repeated} of {len(trials)} trials of {study.strategy} had values that were there already, and took "
                "their results"
            )
        if budget.seconds is not None or budget.patience is not None:
            if len(trials) >= total_trials(study):
                reason = "it has all its trials"
            elif is_stalled(trials, budget, search):
                reason = f"the last {budget.patience} brought no improvement"
            else:
                reason = f"its {budget.seconds:g} s are over"
            said.append(f"{study.strategy} stopped after {len(trials)} trials: {reason}")
        best = best_trial(trials, search)
        if best is not None and violation(best) > 0:
            said.append(
                f"no trial of {study.strategy} holds {' and '.join(search.constraint)}: "
                f"trial {best.trial}, which misses it least, was evaluated"
            )
    return said
