"""How a study searches: sampler, objectives, constraints, known points, pruner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.rules import check_fields, setting, show

SAMPLERS = ("tpe", "random", "grid", "qmc", "cmaes", "gp", "nsga2")
PRUNERS = ("median", "percentile", "successive_halving", "hyperband", "wilcoxon", "none")
METRICS = (
    "balanced_accuracy",
    "macro_f1",
    "macro_average_precision",
    "rarest_recall",
    "mcc",
    "g_mean",
    "expected_calibration_error",
    "brier_score",
)
# Of all others more is better.
MINIMISED = ("expected_calibration_error", "brier_score")
CONSTRAINT_PATTERN = r"\s*(\w+)\s*(>=|<=)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*"


@dataclass(frozen=True)
class Constraint:
    """A bound on a validation metric: `metric >= bound` or `metric <= bound`."""

    metric: str
    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Reads `metric >= number` or `metric <= number`.

        Raises:
            UserError: another form, an unknown metric, or no number.
        """
        found = re.fullmatch(CONSTRAINT_PATTERN, text)
        try:
            metric, comparison, bound = found.groups() if found else ("", "", "")
            number = float(bound)
        except ValueError:
            raise UserError(
                what=f"search.constraint is {show(text)}",
                expected="a metric, >= or <=, and a number",
                hint="write for example \"search.constraint='rarest_recall >= 0.5'\"",
            ) from None
        if metric not in METRICS:
            raise UserError(
                what=f"search.constraint names the metric {metric}",
                expected=f"one of {', '.join(METRICS)}",
                hint=suggest(metric, METRICS),
            )
        return cls(metric, comparison, number)

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison} {self.bound:g}"

    def violation(self, value: float) -> float:
        """How far a value is beyond the bound; 0 or less where the constraint holds."""
        return self.bound - value if self.comparison == ">=" else value - self.bound


@dataclass(frozen=True)
class Search:
    """How Optuna searches.

    Attributes:
        sampler: Optuna's sampler.
        metric: the validation metric to optimise; with `metrics` the first of them.
        metrics: several metrics to optimise together.
        constraint: what a trial must hold to be chosen, such as `rarest_recall >= 0.5`.
        enqueue: points to try first, each a mapping of hyperparameters to values; what a point leaves out is
            sampled.
        concurrent_trials: a study's trials in flight.
    """

    sampler: str = setting(str, "tpe", choices=SAMPLERS)
    metric: str = setting(str, "balanced_accuracy", choices=METRICS)
    metrics: tuple[str, ...] | None = setting(
        str, None, choices=METRICS, many=True, example="[balanced_accuracy,expected_calibration_error]"
    )
    constraint: tuple[str, ...] = setting(str, (), many=True, example="['rarest_recall >= 0.5']")
    enqueue: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    concurrent_trials: int = setting(int, 4, at_least=1)

    def __post_init__(self) -> None:
        if isinstance(self.constraint, str):
            object.__setattr__(self, "constraint", (self.constraint,))
        check_fields(self, "search.")
        self._check_metrics()
        texts = tuple(str(Constraint.parse(text)) for text in self.constraint)
        object.__setattr__(self, "constraint", texts)
        self._check_enqueue()

    def _check_metrics(self) -> None:
        if self.metrics is None:
            return
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise UserError(
                what=f"search.metrics is [{','.join(self.metrics)}]",
                expected="at least one metric, each once",
                hint="write for example search.metrics=[balanced_accuracy,expected_calibration_error]",
            )
        if self.metric not in ("balanced_accuracy", self.metrics[0]):
            raise UserError(
                what=f"search.metric={self.metric} and search.metrics=[{','.join(self.metrics)}] "
                "are both given",
                expected="one of them",
                hint="leave search.metric out; the first of search.metrics decides what is evaluated at last",
            )
        object.__setattr__(self, "metric", self.metrics[0])

    def _check_enqueue(self) -> None:
        points = self.enqueue
        if not isinstance(points, (list, tuple)) or not all(isinstance(each, Mapping) for each in points):
            raise UserError(
                what=f"search.enqueue is {show(points)}",
                expected="a list of mappings from hyperparameters to values",
                hint="write for example 'search.enqueue=[{loss.gamma:2,loss.tau:0}]'",
            )
        object.__setattr__(self, "enqueue", tuple(dict(each) for each in points))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The metrics that are optimised, the first one first."""
        return self.metrics or (self.metric,)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What a trial must hold to be chosen."""
        return tuple(Constraint.parse(text) for text in self.constraint)


@dataclass(frozen=True)
class Pruner:
    """When a trial stops early.

    Attributes:
        name: Optuna's pruner.
        startup_trials: median and percentile prune nothing before so many trials are complete.
        warmup_rungs: median and percentile prune nothing before a trial has passed so many rungs.
        percentile: percentile keeps this best share of the trials, in percent.
        reduction_factor: of successive halving and Hyperband; one trial of so many goes on.
        p_threshold: wilcoxon stops a trial whose replicates are worse than the best trial's at this p.
    """

    name: str = setting(str, "median", choices=PRUNERS)
    startup_trials: int = setting(int, 5, at_least=0)
    warmup_rungs: int = setting(int, 2, at_least=0)
    percentile: float = setting(float, 25.0, above=0, below=100)
    reduction_factor: int = setting(int, 3, at_least=2)
    p_threshold: float = setting(float, 0.1, above=0, below=1)

    def __post_init__(self) -> None:
        check_fields(self, "pruner.")


def check_search(search: Search, pruner: Pruner, replicates: int, trials: int) -> None:
    """Checks what the parts of a search must have of each other.

    Args:
        search: the sampler and what it optimises.
        pruner: when trials stop early.
        replicates: of a trial.
        trials: of a study.

    Raises:
        UserError: a pruner or CMA-ES with several metrics, a Wilcoxon test that can never reject, more points
            than trials.
    """
    several = f"search.metrics=[{','.join(search.objectives)}]"
    if len(search.objectives) > 1 and search.sampler == "cmaes":
        raise UserError(
            what=f"search=cmaes with {several}",
            expected="one metric, since CMA-ES optimises one",
            hint="write search=nsga2, search=tpe, search=gp or search=random",
        )
    if len(search.objectives) > 1 and pruner.name != "none":
        raise UserError(
            what=f"pruner={pruner.name} with {several}",
            expected="no pruner, since a trial cannot fall behind in several metrics at once",
            hint="write pruner=none",
        )
    # The one-sided signed-rank test of n pairs has no p below 2^-n.
    smallest = 0.5**replicates
    if pruner.name == "wilcoxon" and (replicates < 2 or smallest >= pruner.p_threshold):
        needed = next(count for count in range(2, 64) if 0.5**count < pruner.p_threshold)
        raise UserError(
            what=f"pruner=wilcoxon with budget.replicates={replicates} can never prune: the smallest p of its "
            f"test is {smallest:g}",
            expected=f"a p below pruner.p_threshold={pruner.p_threshold:g}",
            hint=f"write budget.replicates={needed}, or a larger pruner.p_threshold",
        )
    if len(search.enqueue) > trials:
        raise UserError(
            what=f"search.enqueue has {len(search.enqueue)} points",
            expected=f"at most budget.trials={trials}",
            hint=f"write budget.trials={len(search.enqueue)}, or leave points out",
        )
