"""How a class is decided on from probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lossfleet.conf.datasets import Data
from lossfleet.conf.errors import UserError, one_of, suggest
from lossfleet.conf.metrics import Metric, find_metric, of_class, split_class
from lossfleet.conf.named_classes import as_class, by_class, quotes_for_yaml
from lossfleet.conf.parts import HELP
from lossfleet.conf.rules import Rule, check_fields, setting, show
from lossfleet.conf.searching import Constraint

NAMES = ("argmax", "prior", "threshold", "costs")
SETTINGS = {"threshold": ("metric", "at_least"), "costs": ("costs",)}
# A mistake that is not named; being right costs nothing.
USUAL_COST = 1.0
EXAMPLES = {
    "metric": "decision=threshold decision.metric=f1[yes]",
    "at_least": "\"decision.at_least='recall[yes] >= 0.9'\"",
    "costs": "'decision.costs={yes:{no:10},no:{yes:1}}'",
}


@dataclass(frozen=True)
class Decision:
    """The rule that makes a class of probabilities; what of it is fitted, is fitted on validation parts.

    Attributes:
        name: `argmax`; `prior`, corrected for the prior; `threshold`, on the probability of one of two classes;
            `costs`, the class of least expected cost.
        metric: by which the threshold is best.
        at_least: a metric and its bound, such as `recall[yes] >= 0.9`, which the most precise threshold holds.
        costs: (true class, predicted class, cost) of each pair that is named; also taken as a mapping of mappings. A
            mistake that is not named costs 1, being right 0.
    """

    name: str = setting(str, "argmax", choices=NAMES)
    metric: str | None = setting(str, None, example="f1[yes]")
    at_least: str | None = setting(str, None, example="'recall[yes] >= 0.9'")
    costs: tuple[tuple[str, str, float], ...] | None = field(default=None, metadata={"rule": Rule(object)})

    def __post_init__(self) -> None:
        check_fields(self, "decision.")
        self._check_settings()
        # A frozen dataclass can only be completed this way.
        if self.at_least is not None:
            object.__setattr__(self, "at_least", str(self._read_bound(self.at_least)))
        if self.costs is not None:
            object.__setattr__(self, "costs", _read_costs(self.costs))

    def _check_settings(self) -> None:
        given = [name for name in EXAMPLES if getattr(self, name) is not None]
        allowed = SETTINGS.get(self.name, ())
        for name in given:
            if name not in allowed:
                raise UserError(
                    what=f"decision.{name} is given with decision={self.name}",
                    expected=f"{' and '.join(f'decision.{each}' for each in allowed) or 'no setting'} there",
                    hint=f"write decision={'costs' if name == 'costs' else 'threshold'}, or leave decision.{name} out",
                )
        if allowed and len(given) != 1:
            raise UserError(
                what=f"{' and '.join(f'decision.{each}' for each in allowed)} "
                f"{'are both' if given else 'must be'} given with decision={self.name}",
                expected=f"exactly one of decision.{' and decision.'.join(allowed)}"
                if len(allowed) > 1
                else "what mistakes cost",
                hint=f"write for example {' or '.join(EXAMPLES[each] for each in allowed)}",
            )

    @staticmethod
    def _read_bound(text: str) -> Constraint:
        bound = Constraint.parse(text, key="decision.at_least", example=EXAMPLES["at_least"])
        if bound.comparison != ">=":
            raise UserError(
                what=f"decision.at_least is {show(text)}",
                expected="a metric, >= and a number",
                hint=f"write for example {EXAMPLES['at_least']}",
            )
        return bound

    @property
    def bound(self) -> Constraint | None:
        """What a threshold must hold, if anything."""
        return None if self.at_least is None else Constraint.parse(self.at_least)

    @property
    def class_name(self) -> str | None:
        """The class whose probability has the threshold; None for the rarest."""
        return split_class(self.bound.metric if self.bound else self.metric or "")[1]

    def fitted(self, class_name: str) -> tuple[str, ...]:
        """The metrics that a threshold is fitted to: the one to be best in, then one whose bound it holds.

        Under a bound on precision that is recall, else precision.

        Args:
            class_name: whose probability has the threshold.
        """
        if self.bound is None:
            return (str(self.metric),)
        best = "recall" if split_class(self.bound.metric)[0] == "precision" else "precision"
        return (of_class(best, class_name), self.bound.metric)

    def cost_matrix(self, class_names: Sequence[str]) -> list[list[float]]:
        """What it costs to predict class j where class i is true, row i, column j."""
        named = {(true, predicted): cost for true, predicted, cost in self.costs or ()}
        return [
            [named.get((true, predicted), USUAL_COST * (true != predicted)) for predicted in class_names]
            for true in class_names
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain values; nothing of the argmax, which is how every sweep decided before there was a choice."""
        if self == ARGMAX:
            return {}
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.costs is not None:
            given["costs"] = [list(each) for each in self.costs]
        return {name: value for name, value in given.items() if value is not None}


ARGMAX = Decision()


def _read_costs(costs: Any) -> tuple[tuple[str, str, float], ...]:
    pairs = _pairs(costs)
    if not pairs:
        raise UserError(
            what=f"decision.costs is {show(costs)}",
            expected="a mapping from true classes to mappings from predicted classes to costs",
            hint=f"write for example {EXAMPLES['costs']}",
        )
    return tuple(_read_cost(as_class(true), as_class(predicted), cost) for true, predicted, cost in pairs)


def _read_cost(true: str, predicted: str, cost: Any) -> tuple[str, str, float]:
    rule = Rule(float, at_least=0)
    if not rule.accepts(cost):
        raise UserError(
            what=f"decision.costs is {show(cost)} where {true} is taken for {predicted}",
            expected=rule.describe(),
            hint=f"write for example {by_class('decision.costs', {true: {predicted: 10}})}",
        )
    return true, predicted, float(cost)


def _pairs(costs: Any) -> list[Any]:
    """(true class, predicted class, cost) of each pair that is named; none where costs have another form."""
    if isinstance(costs, Mapping) and all(isinstance(row, Mapping) for row in costs.values()):
        return [(true, predicted, cost) for true, row in costs.items() for predicted, cost in row.items()]
    if isinstance(costs, (list, tuple)) and all(
        isinstance(each, (list, tuple)) and len(each) == 3 for each in costs
    ):
        return list(costs)
    return []


def check_decision(decision: Decision, known: Mapping[str, Metric], data: Data) -> None:
    """Checks what a decision means beside metrics and classes.

    Args:
        decision: of the sweep.
        known: the metrics that there are, by the names of their files.
        data: its classes are looked at where they are known.

    Raises:
        UserError: a metric that there is not, or that needs no decision; a class that the data does not have, or a
            threshold where there are not two.
    """
    bound = decision.bound
    key, name = ("at_least", bound.metric) if bound else ("metric", decision.metric)
    if name is not None:
        metric = find_metric(name, known, key=f"decision.{key}")
        if not metric.is_of_decisions:
            raise UserError(
                what=f"decision.{key} names the metric {show(name)}, which no threshold changes",
                expected=one_of([each for each in known if known[each].is_of_decisions], name, listed=HELP),
                hint=f"write for example {EXAMPLES[key]}",
            )
    if data.class_names is not None:
        _check_classes(decision, data.class_names, data.label)


def _check_classes(decision: Decision, class_names: Sequence[str], label: str) -> None:
    if decision.name == "threshold" and len(class_names) != 2:
        raise UserError(
            what=f"decision=threshold on {label} with {len(class_names)} classes",
            expected="two classes",
            hint="write decision=costs or decision=prior, or choose data of two classes, "
            "for example data=breast_cancer",
        )
    named = [] if decision.class_name is None else [decision.class_name]
    named += [name for true, predicted, _ in decision.costs or () for name in (true, predicted)]
    for name in named:
        if name not in class_names:
            raise UserError(
                what=f"decision={decision.name} is of {name}, and there is no class {name}",
                expected=one_of(class_names, name),
                hint=suggest(name, class_names) + quotes_for_yaml([name], class_names),
            )
