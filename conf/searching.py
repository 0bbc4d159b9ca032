"""How a study searches: sampler, objectives, constraints, known points, pruner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lossfleet.conf.errors import UserError, one_of, suggest
from lossfleet.conf.metrics import Metric, find_metric, remember, split_class, with_users
from lossfleet.conf.parts import Part, part_field
from lossfleet.conf.rules import check_fields, setting, show

# Those of Optuna's classes that not every configuration can have.
BRUTE_FORCE = "optuna.samplers.BruteForceSampler"
CMA_ES = "optuna.samplers.CmaEsSampler"
NO_PRUNER = "optuna.pruners.NopPruner"
WILCOXON = "optuna.pruners.WilcoxonPruner"
CONSTRAINT_PATTERN = r"\s*(\w+(?:\[.+\])?)\s*(>=|<=)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*"


@dataclass(frozen=True)
class Constraint:
    """A bound on a validation metric: `metric >= bound` or `metric <= bound`."""

    metric: str
    comparison: str
    bound: float

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        key: str = "search.constraint",
        example: str = "\"search.constraint='rarest_recall >= 0.5'\"",
    ) -> Constraint:
        """Reads `metric >= number` or `metric <= number`.

        Args:
            text: as the user wrote it.
            key: the setting that has it, and an example of it, for the error.

        Raises:
            UserError: another form, or no number.
        """
        found = re.fullmatch(CONSTRAINT_PATTERN, text)
        try:
            metric, comparison, bound = found.groups() if found else ("", "", "")
            number = float(bound)
        except ValueError:
            raise UserError(
                what=f"{key} is {show(text)}",
                expected="a metric, >= or <=, and a number",
                hint=f"write for example {example}",
            ) from None
        return cls(metric, comparison, number)

    def __str__(self) -> str:
        # All digits: a rounded bound would be another one.
        bound = repr(self.bound).removesuffix(".0")
        return f"{self.metric} {self.comparison} {bound}"

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
        users_metrics: metrics beside lossfleet's own, from config folders of the user's.
    """

    sampler: Part = part_field("search", "tpe")
    metric: str = setting(str, "balanced_accuracy")
    metrics: tuple[str, ...] | None = setting(
        str, None, many=True, example="[balanced_accuracy,expected_calibration_error]"
    )
    constraint: tuple[str, ...] = setting(str, (), many=True, example="['rarest_recall >= 0.5']")
    enqueue: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    concurrent_trials: int = setting(int, 4, at_least=1)
    users_metrics: tuple[Metric, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.constraint, str):
            object.__setattr__(self, "constraint", (self.constraint,))
        check_fields(self, "search.")
        object.__setattr__(self, "users_metrics", tuple(map(_as_metric, self.users_metrics)))
        remember(self.users_metrics)
        for key, names in (("metric", (self.metric,)), ("metrics", self.metrics or ())):
            for name in names:
                find_metric(name, self.all_metrics, key=f"search.{key}")
        self._check_metrics()
        constraints = [Constraint.parse(text) for text in self.constraint]
        for each in constraints:
            find_metric(each.metric, self.all_metrics, key="search.constraint")
        object.__setattr__(self, "constraint", tuple(map(str, constraints)))
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
        if self.metric not in ("balanced_accuracy", "ap", self.metrics[0]):
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
    def all_metrics(self) -> dict[str, Metric]:
        """Every metric there is, by name."""
        return with_users(self.users_metrics)

    @cached_property
    def measures(self) -> tuple[Metric, ...]:
        """The metrics that are optimised, the first one first."""
        return tuple(find_metric(name, self.all_metrics) for name in self.objectives)

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Raises UserError where a metric is of a class that the data does not have."""
        named = [*self.objectives, *(each.metric for each in self.constraints)]
        for name in named:
            _, class_name = split_class(name)
            if class_name is not None and class_name not in class_names:
                raise UserError(
                    what=f"the search uses {name}, and there is no class {class_name}",
                    expected=one_of(class_names, class_name),
                    hint=suggest(class_name, class_names),
                )

    @property
    def is_grid(self) -> bool:
        """Whether every point of a finite space is tried once."""
        return self.sampler.target == BRUTE_FORCE

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
        part: Optuna's pruner. Where they are null it is given n_warmup_steps, the epoch of `warmup_rungs`,
            min_resource, the epoch of the first rung, and max_resource, that of the last.
        warmup_rungs: nothing is pruned before a trial has passed so many rungs; None: from the start.
    """

    part: Part = field(metadata={"group": "pruner"})
    warmup_rungs: int | None = setting(int, None, at_least=0, example="2")

    def __post_init__(self) -> None:
        check_fields(self, "pruner.")
        if self.warmup_rungs is not None and "n_warmup_steps" not in self.part.signature.parameters:
            raise UserError(
                what=f"pruner.warmup_rungs is {self.warmup_rungs} on pruner={self.name}, which has no warm-up",
                expected="it with a pruner such as pruner=median",
                hint="leave pruner.warmup_rungs out",
            )

    @property
    def name(self) -> str:
        """Of its file in the config group."""
        return self.part.name


def _as_metric(metric: Metric | Mapping[str, Any]) -> Metric:
    return metric if isinstance(metric, Metric) else Metric.from_dict(metric)


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
    if len(search.objectives) > 1 and search.sampler.target == CMA_ES:
        raise UserError(
            what=f"search={search.sampler.name} with {several}",
            expected="one metric, since CMA-ES optimises one",
            hint="write search=nsga2, search=tpe, search=gp or search=random",
        )
    if len(search.objectives) > 1 and pruner.part.target != NO_PRUNER:
        raise UserError(
            what=f"pruner={pruner.name} with {several}",
            expected="no pruner, since a trial cannot fall behind in several metrics at once",
            hint="write pruner=none",
        )
    # The one-sided signed-rank test of n pairs has no p below 2^-n.
    smallest = 0.5**replicates
    threshold = pruner.part.get("p_threshold", 0.1)
    if pruner.part.target == WILCOXON and (replicates < 2 or smallest >= threshold):
        needed = next((count for count in range(2, 64) if 0.5**count < threshold), None)
        raise UserError(
            what=f"pruner={pruner.name} with budget.replicates={replicates} can never prune: the smallest p of its "
            f"test is {smallest:g}",
            expected=f"a p below pruner.p_threshold={threshold:g}",
            hint=f"write budget.replicates={needed}, or a larger pruner.p_threshold"
            if needed
            else "write a larger pruner.p_threshold",
        )
    if len(search.enqueue) > trials:
        raise UserError(
            what=f"search.enqueue has {len(search.enqueue)} points",
            expected=f"at most budget.trials={trials}",
            hint=f"write budget.trials={len(search.enqueue)}, or leave points out",
        )
