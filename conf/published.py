"""What a paper published and claims: a sweep that repeats its experiment is set beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import show

# What stands for a trial: its strategy by `strategy`, and hyperparameters by their dotted names.
Selection = Mapping[str, Any]
STRATEGY = "strategy"
# MLflow keeps it as a tag of the sweep's run.
MOST_CHARACTERS = 5000


@dataclass(frozen=True)
class Better:
    """That the metric is better with one setting than with another."""

    better: Selection
    than: Selection


@dataclass(frozen=True)
class Falls:
    """That the best value of one hyperparameter falls as another one, `over`, rises."""

    falls: str
    over: str


@dataclass(frozen=True)
class Untrained:
    """That nothing is learned with a setting: the metric stays below a level."""

    untrained: Selection
    below: float


Claim = Better | Falls | Untrained
CLAIMS: dict[type[Claim], str] = {
    Better: "{better: {loss.gamma: 2}, than: {loss.gamma: 0}}",
    Falls: "{falls: loss.alpha, over: loss.gamma}",
    Untrained: "{untrained: {model.prior: null}, below: 0.05}",
}


@dataclass(frozen=True)
class Published:
    """The table of a paper, and what it is to show.

    Fields: source, for the reader; by, what sets its rows apart: `strategy`, or hyperparameters by their dotted names;
    rows, each with these and with what the paper gives there: by a dotted name the best value of that hyperparameter,
    by any other a metric, on the scale that it has here, or a text in the place of a number; claims.
    """

    source: str
    by: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    claims: tuple[Claim, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Published:
        """What stands under `published` in a YAML file.

        Raises:
            UserError: a key is missing or unknown, rows differ in their columns or lack one of `by`, a claim is of no
                kind, or all is longer than MLflow takes.
        """
        names = [each.name for each in fields(cls)]
        if not isinstance(values, Mapping) or set(values) != set(names):
            given = list(values) if isinstance(values, Mapping) else values
            raise UserError(
                what=f"published is {show(given)}",
                expected=f"a mapping of {', '.join(names)}, and no more",
                hint="write [] for what there is none of",
            )
        lists = {name: values[name] for name in names[1:]}
        for name, value in lists.items():
            if not isinstance(value, list | tuple):
                raise UserError(
                    what=f"published.{name} is {show(value)}",
                    expected="a list",
                    hint=f"write {name}: [{show(value)}]",
                )
        by, rows = tuple(lists["by"]), tuple(lists["rows"])
        for row in rows:
            if not isinstance(row, Mapping) or not {*by} < {*row} or {*row} != {*rows[0]}:
                raise UserError(
                    what=f"published.rows has {show(row)}",
                    expected=f"in each row {', '.join(by)} and the same numbers of the paper",
                    hint=f"write for example {{{', '.join(f'{name}: 0' for name in (*by, 'ap'))}}}",
                )
        if len(json.dumps(values)) > MOST_CHARACTERS:
            raise UserError(
                what=f"published has {len(json.dumps(values)):,} characters",
                expected=f"at most {MOST_CHARACTERS:,}, which MLflow takes",
                hint="leave rows out that no claim is about",
            )
        return cls(str(values["source"]), by, rows, tuple(map(claim_of, lists["claims"])))

    @property
    def columns(self) -> tuple[str, ...]:
        """What the paper gives of each row."""
        return tuple(name for name in (self.rows[0] if self.rows else ()) if name not in self.by)


def claim_of(values: Any) -> Claim:
    """The claim that a mapping in a YAML file makes.

    Raises:
        UserError: its keys are those of no kind of claim, or a value is of another type.
    """
    for kind in CLAIMS:
        if isinstance(values, Mapping) and set(values) == {each.name for each in fields(kind)}:
            claim: Claim = kind(**values)
            if _has_types(claim):
                return claim
    raise UserError(
        what=f"published.claims has {show(values)}",
        expected=f"a claim such as {', '.join(CLAIMS.values())}",
        hint=f"write for example {CLAIMS[Better]}",
    )


def _has_types(claim: Claim) -> bool:
    if isinstance(claim, Better):
        return all(isinstance(each, Mapping) and each for each in (claim.better, claim.than))
    if isinstance(claim, Falls):
        return isinstance(claim.falls, str) and isinstance(claim.over, str)
    return isinstance(claim.untrained, Mapping) and isinstance(claim.below, int | float)


def words_of(selection: Selection) -> str:
    """A selection for the reader: `retinanet_ce with model.prior=null`."""
    settings = " ".join(f"{name}={show(value)}" for name, value in selection.items() if name != STRATEGY)
    strategy = str(selection.get(STRATEGY, ""))
    return f"{strategy} with {settings}" if strategy and settings else strategy or settings
