"""Rules of single settings: what a field of the schema accepts, and the sentence when it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lossfleet.conf.elsewhere import VALUES
from lossfleet.conf.errors import UserError, gathering, raise_gathered, suggest
from lossfleet.conf.named_classes import as_class, by_class

NOUNS = {
    object: "a value",
    float: "a number",
    int: "a whole number",
    str: "text",
    bool: "true or false",
}


@dataclass(frozen=True)
class Rule:
    """What a field accepts: a type, a range, a list of names, and whether null or a list is allowed.

    `words` are texts that it takes in place of numbers; `by_class` is whether it takes a mapping from class names too.
    """

    kind: type
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    optional: bool = False
    many: bool = False
    words: tuple[str, ...] = ()
    by_class: bool = False
    example: str = ""

    def check(self, path: str, value: Any) -> Any:
        """The value in its one form: float, int, str, bool, a tuple of them or of pairs (class, value), or None.

        Args:
            path: the dotted key, for the message.
            value: what the user gave.

        Raises:
            UserError: the value breaks the rule.
        """
        if (value is None and self.optional) or (isinstance(value, str) and value in self.words):
            return value
        if self.by_class and (pairs := _pairs(value)):
            return self._of_classes(path, {as_class(name): each for name, each in pairs})
        if not self.many:
            if not self.accepts(value):
                raise self._error(f"{path} is {show(value)}", path, value)
            return self._converted(value)
        if not isinstance(value, (list, tuple)):
            raise self._error(f"{path} is {show(value)}", path, value)
        for item in value:
            if not self.accepts(item):
                raise self._error(f"{path} contains {show(item)}", path, item)
        return tuple(self._converted(item) for item in value)

    def accepts(self, value: Any) -> bool:
        if self.kind is object:
            return True
        if self.kind is bool:
            return isinstance(value, bool)
        if self.kind is str:
            return (
                isinstance(value, str)
                and (not self.choices or value in self.choices)
                and (self.pattern is None or re.fullmatch(self.pattern, value) is not None)
            )
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and (self.kind is float or value == int(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def _of_classes(self, path: str, values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        for name, value in values.items():
            if not self.accepts(value):
                rule = replace(self, many=False, words=(), by_class=False, optional=False)
                mended = {each: value if self.accepts(value) else 1 for each, value in values.items()}
                raise UserError(
                    what=f"{path} is {show(value)} for {name}",
                    expected=f"a mapping, each {rule.describe()}",
                    hint=f"write for example {by_class(path, mended)}",
                )
        return tuple((name, self._converted(value)) for name, value in values.items())

    def _converted(self, value: Any) -> Any:
        return self.kind(value) if self.kind in (int, float) else value

    def describe(self) -> str:
        """The rule in words, for example `a number of at least 0`."""
        if self.choices:
            words = f"{'a list, each ' if self.many else ''}one of {', '.join(self.choices)}"
        elif self.pattern is not None:
            words = "letters, digits, '.', '_' and '-'"
        else:
            noun = NOUNS[self.kind]
            words = f"a list, each {noun}" if self.many else noun
            limits = {
                "of at least": self.at_least,
                "above": self.above,
                "of at most": self.at_most,
                "below": self.below,
            }
            bounds = [f"{word} {limit:.10g}" for word, limit in limits.items() if limit is not None]
            words = " ".join([words, " and ".join(bounds)]).strip()
        others = [
            *self.words,
            *(["a mapping from classes"] if self.by_class else []),
            *(["null"] if self.optional else []),
        ]
        return ", ".join([words, *others[:-1]]) + (f", or {others[-1]}" if others else "")

    def _error(self, what: str, path: str, value: Any) -> UserError:
        if self.choices and isinstance(value, str):
            hint = VALUES.get(path, {}).get(value) or suggest(value, self.choices)
        elif self.many and self.kind is str and isinstance(value, str):
            hint = f"write {path}=[{value}]"
        else:
            hint = f"write for example {path}={self.example}"
        return UserError(what=what, expected=self.describe(), hint=hint)


def show(value: Any) -> str:
    """The value as it is written in an override: null, true, 0.5, [1, 2], 'text'."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    return str(list(value) if isinstance(value, tuple) else value)


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    """Class names with values, from a mapping or from pairs; none of what is neither."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (list, tuple)) and all(
        isinstance(each, (list, tuple)) and len(each) == 2 for each in value
    ):
        return [(name, each) for name, each in value]
    return []


def setting(kind: type, default: Any, **rule: Any) -> Any:
    """A dataclass field with a rule; a default of None allows null."""
    rule.setdefault("example", show(default).replace(" ", "").strip("'"))
    return field(default=default, metadata={"rule": Rule(kind, optional=default is None, **rule)})


def rules(part: Any) -> dict[str, Rule]:
    """The rules of a part's fields by name; fields without a rule are left out."""
    return {each.name: each.metadata["rule"] for each in fields(part) if "rule" in each.metadata}


def check_fields(part: Any, prefix: str = "") -> None:
    """Applies the rules of a frozen dataclass from its `__post_init__`.

    Args:
        part: the dataclass instance, completed in place.
        prefix: what stands before the field's name in the dotted key, for example `loss.`.

    Raises:
        UserError: a value breaks its rule.
    """
    faults: list[UserError] = []
    for name, rule in rules(part).items():
        with gathering(faults):
            # A frozen dataclass can only be completed this way.
            object.__setattr__(part, name, rule.check(prefix + name, getattr(part, name)))
    raise_gathered(faults)
