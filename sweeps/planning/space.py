"""Dimensions of a search space, read from Hydra's override grammar."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from lossfleet.conf.errors import UserError
from lossfleet.conf.named_classes import quoted
from lossfleet.conf.rules import Rule, show
from lossfleet.sweeps.planning.text import in_hydras_words
from lossfleet.sweeps.planning.words import between, check_cast, in_our_words, mend, searched

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

Value = float | int | str | None

BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter and the values it may take.

    Attributes:
        name: the dotted key, or the name of a config group.
        kind: `float` and `int` run from `low` to `high`, both included; `categorical` has `choices`.
        low: the smallest value.
        high: the largest value.
        log: search the logarithm evenly.
        step: only `low` plus multiples of this.
        choices: the values of a categorical; a list is written as JSON text.
        when: the values of other dimensions that make this one active; empty means always.
    """

    name: str
    kind: Literal["float", "int", "categorical"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def is_active(self, params: Mapping[str, Value]) -> bool:
        """Whether this dimension is part of a trial with these other params."""
        return all(name in params and params[name] in values for name, values in self.when.items())

    def ends(self) -> tuple[Value, ...]:
        """The values that bound all others: the choices, or low and high."""
        return self.choices if self.kind == "categorical" else (self.low, self.high)

    def grid(self) -> tuple[Value, ...] | None:
        """All values in order, or None for a continuous or logarithmic range."""
        if self.kind == "categorical":
            return self.choices
        if self.step is None:
            return None
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        count = int((Decimal(str(self.high)) - low) / step) + 1
        number = float if self.kind == "float" else int
        return tuple(number(low + index * step) for index in range(count))

    def text(self) -> str:
        """The values in Hydra's grammar, in one spelling: equal dimensions have equal texts."""
        if self.kind == "categorical":
            return f"choice({','.join(_choice_text(choice) for choice in self.choices)})"
        if self.step is not None and not (self.kind == "int" and self.step == 1):
            stop = Decimal(str(self.high)) + Decimal(str(self.step))
            return f"range({self.low!r},{stop},{self.step!r})"
        inner = f"interval({self.low!r},{self.high!r})"
        inner = f"int({inner})" if self.kind == "int" else inner
        return f"tag(log,{inner})" if self.log else inner


def _choice_text(choice: Value) -> str:
    if choice is None:
        return "null"
    if isinstance(choice, str) and not choice.startswith("["):
        return choice if choice.replace("_", "").isalnum() else json.dumps(choice)
    return str(choice)


def parse_override(text: str, config_loader: Any = None, texts: Mapping[str, Rule] | None = None) -> Override:
    """Reads one `key=value` with Hydra's parser.

    Args:
        text: the override as it stands on the command line.
        config_loader: Hydra's, needed for `glob(...)`.
        texts: the rules of the settings whose text is taken as it is written, by key.

    Raises:
        UserError: Hydra cannot read it, or it adds or deletes keys.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if text.startswith(("+", "~")):
        raise _changes_keys(text)
    key, _, value = text.partition("=")
    if key not in (texts or {}):
        check_cast(text)
        text = f"{key}={ours}" if (ours := in_our_words(value)) else text
    try:
        words = in_hydras_words(text, texts or {})
        override = OverridesParser.create(config_loader).parse_overrides([words])[0]
    except HydraException:
        raise _unreadable(text) from None
    if not override.key_or_group:
        raise _unreadable(text)
    if override.package is not None:
        raise _changes_keys(text)
    return override


def _changes_keys(text: str) -> UserError:
    key, _, value = text.lstrip("+~").partition("=")
    return UserError(
        what=f"'{text}' adds or removes a key",
        expected="key=value with a key that exists",
        hint=f"write for example {key.split('@')[0]}={value or 'null'}",
    )


def _unreadable(text: str) -> UserError:
    """The error for what Hydra's parser cannot read, in other words than those of the parser."""
    key, _, value = text.partition("=")
    is_open = not (key and value) or any(value.count(left) != value.count(right) for left, right in BRACKETS)
    hint = mend(key, value) or (
        "quote it for the shell, for example 'loss.gamma=interval(0,5)'"
        if is_open or "(" in value
        else f"write {key}={quoted(value)} in quotation marks for the shell too, if it is text"
    )
    return UserError(
        what=f"'{text}' cannot be read",
        expected="key=value, key=a,b,c, key=interval(low,high), key=range(start,stop,step) "
        "or key=tag(log,interval(low,high))",
        hint=hint,
    )


def parse_dimension(
    override: Override,
    *,
    rule: Rule | None,
    options: tuple[str, ...] = (),
    when: Mapping[str, tuple[Value, ...]] | None = None,
) -> Dimension:
    """Makes a dimension of a sweep such as `loss.gamma=interval(0,5)`.

    Args:
        override: a parsed override.
        rule: what the setting accepts; None for a config group.
        options: the names in the config group.
        when: see Dimension.

    Raises:
        UserError: not a sweep, an empty range, an unknown option, or values of the wrong type.
    """
    name, when = override.key_or_group, dict(when or {})
    value: Any = override.value()
    text = f"{name}={override.get_value_string()}"
    if not override.is_sweep_override():
        raise _not_a_space(text, "a distribution or several values", f"{name}=choice(a,b)")
    if rule is None:
        rule = Rule(str, choices=options)
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"} or (tags and not override.is_interval_sweep()):
        raise _not_a_space(text, "no tag but log, on an interval", f"{name}=tag(log,interval(low,high))")

    if override.is_choice_sweep():
        return Dimension(name, "categorical", choices=_choices(override, rule, text), when=when)
    if rule.kind not in (int, float, object) or rule.many:
        raise _not_a_space(text, f"choices, each {rule.describe()}", f"{name}=choice(a,b)")
    if override.is_interval_sweep():
        low, high, log = value.start, value.end, "log" in tags
        whole = rule.kind is int or isinstance(low, int)
        _check_ends(text, name, low, high, log)
        if whole:
            low, high = _whole(text, rule, low), _whole(text, rule, high)
        step = 1 if whole and not log else None
        return Dimension(name, "int" if whole else "float", low, high, log, step, when=when)
    return _range(name, text, rule, value, when)


def _choices(override: Override, rule: Rule, text: str) -> tuple[Value, ...]:
    values = [unquoted(value) for value in override.sweep_iterator()]
    for value in values:
        check_single(override.key_or_group, value, [rule])
    if rule.many and all(isinstance(value, (int, float)) for value in values):
        raise UserError(
            what=f"'{text}' has no brackets",
            expected="a list, or several lists to search",
            hint=f"write '{override.key_or_group}=[{','.join(map(str, values))}]'",
        )
    checked = [rule.check(override.key_or_group, value) for value in values]
    choices = [
        json.dumps(value, separators=(",", ":")) if rule.many and value not in rule.words else value
        for value in checked
    ]
    if not choices:
        raise _not_a_space(text, "at least one value", f"{override.key_or_group}=choice(a,b)")
    if len(set(choices)) < len(choices):
        raise UserError(
            what=f"'{text}' repeats a value", expected="each value once", hint="take the repeated one out"
        )
    return tuple(choices)


def check_single(key: str, value: Any, rules: Iterable[Rule]) -> None:
    """Refuses a list for what is one value, and text such as `0..5` for a number, with the ways to search several.

    Args:
        key: the setting.
        value: what was given for it.
        rules: of the setting, in each part that has it.
    """
    rules = list(rules)
    if isinstance(value, str) and all(rule.kind in (int, float) and not rule.many for rule in rules):
        is_word = key == "loss.alpha" and value.lower() == "balanced"
        hint = "write loss.class_weight=balanced" if is_word else between(key, value)
    elif isinstance(value, list) and not any(rule.many or rule.kind is object for rule in rules):
        hint = f"write {searched(key, list(map(str, value)))}"
        if key == "loss.alpha" and len(value) > 1:
            # What the literature also calls alpha where there are more classes than two.
            hint = f"write 'loss.class_weight=[{','.join(map(str, value))}]' for a weight of each class"
    else:
        return
    if hint:
        raise UserError(what=f"{key} is {show(value)}", expected="one value, or several to search", hint=hint)


def unquoted(value: Any) -> Any:
    """A value of Hydra's grammar without the marks of its quotes."""
    from hydra.core.override_parser.types import Override

    return Override._convert_value(value)


def _range(name: str, text: str, rule: Rule, value: Any, when: Mapping[str, tuple[Value, ...]]) -> Dimension:
    start, stop, step = (Decimal(str(number)) for number in (value.start, value.stop, value.step))
    count = math.ceil((stop - start) / step) if step else 0
    if count < 1:
        raise _not_a_space(text, "a step that leads from start to stop", f"{name}=range(0,10,2)")
    ends = sorted((start, start + (count - 1) * step))
    numbers: list[float | int] = [float(number) for number in (*ends, abs(step))]
    if rule.kind is int:
        numbers = [_whole(text, rule, number) for number in numbers]
    return Dimension(
        name, "int" if rule.kind is int else "float", numbers[0], numbers[1], False, numbers[2], when=when
    )


def _check_ends(text: str, name: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise _not_a_space(text, "finite ends", f"{name}=interval(0.1,1)")
    if low >= high:
        raise _not_a_space(text, "the lower end first", f"{name}=interval({high:g},{low + (low == high):g})")
    if log and low <= 0:
        raise _not_a_space(text, "a logarithmic interval above 0", f"{name}=tag(log,interval(1e-4,1e-1))")


def _whole(text: str, rule: Rule, number: float) -> int:
    if number != int(number):
        raise UserError(
            what=f"'{text}' contains {number:g}",
            expected=rule.describe(),
            hint="use whole numbers",
        )
    return int(number)


def _not_a_space(text: str, expected: str, example: str) -> UserError:
    return UserError(
        what=f"'{text}' cannot be searched", expected=expected, hint=f"write for example '{example}'"
    )


def grid_size(space: Sequence[Dimension], params: Mapping[str, Any] | None = None) -> int:
    """The number of points of a space without intervals, conditions respected."""
    if not space:
        return 1
    params = params or {}
    first, rest = space[0], space[1:]
    if not first.is_active(params):
        return grid_size(rest, params)
    values = first.grid() or ()
    if not any(first.name in each.when for each in rest):
        # The rest is the same for every value: counting it for each would take as long as listing all points.
        return len(values) * grid_size(rest, params)
    return sum(grid_size(rest, {**params, first.name: value}) for value in values)


def grid_points(
    space: Sequence[Dimension], params: Mapping[str, Value] | None = None
) -> list[dict[str, Value]]:
    """The points that `grid_size` counts, in order."""
    params = dict(params or {})
    if not space:
        return [params]
    first, rest = space[0], space[1:]
    if not first.is_active(params):
        return grid_points(rest, params)
    return [
        point for value in first.grid() or () for point in grid_points(rest, {**params, first.name: value})
    ]
