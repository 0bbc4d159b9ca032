"""Rules from type annotations: what a parameter of Python accepts, as a setting of YAML."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types

from lossfleet.conf.rules import Rule, show

KINDS = (bool, int, float, str)
SEQUENCES = (tuple, list, Sequence, typing.Sequence)
# Tried in this order as the example of a number that has no default.
EXAMPLES = (1, 0.5, 0.1, 2, 10, 100)


class Missing:
    """The type of MISSING."""


# No annotation, or no default.
MISSING = Missing()


class Unknown:
    """A name that says nothing about a setting, such as Tensor, and everything that is made of it."""

    def __getattr__(self, name: str) -> Unknown:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: Any) -> Unknown:
        return self

    def __call__(self, *arguments: Any, **settings: Any) -> Unknown:
        return self

    def __or__(self, other: Any) -> Any:
        return self if isinstance(other, Unknown) else type(self) | other

    def __ror__(self, other: Any) -> Any:
        return type(self) | other


def rule_of(annotation: Any, default: Any) -> Rule | None:
    """The rule of a parameter, from its annotation or, without one, from the kind of its default.

    Args:
        annotation: float, int, str, bool, a tuple of one of them, Literal of texts, Annotated with the bounds of
            annotated-types, a union of them with None, with such texts, or with what is no setting; MISSING for none.
        default: MISSING for none; shown as the example.

    Returns:
        None where neither says what is accepted.
    """
    rule = _of_default(default) if annotation is MISSING else _read(annotation)
    if rule is None:
        return None
    if default is None:
        rule["optional"] = True
    example = show(default).replace(" ", "").strip("'")
    if default is None or default is MISSING or isinstance(default, Unknown):
        example = _example(rule)
    return Rule(**rule, example=example)


def _of_default(default: Any) -> dict[str, Any] | None:
    if type(default) in KINDS:
        return {"kind": type(default)}
    if isinstance(default, (tuple, list)) and default and type(default[0]) in KINDS:
        return {"kind": type(default[0]), "many": True}
    return None


def _read(annotation: Any) -> dict[str, Any] | None:
    """The rule as keywords of Rule."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in KINDS:
        return {"kind": annotation}
    if origin is Literal:
        if all(isinstance(each, str) for each in arguments):
            return {"kind": str, "choices": arguments}
        return None
    if origin is Annotated:
        rule = _read(arguments[0])
        for bound in arguments[1:]:
            if rule is not None:
                rule |= _bounds(bound)
        return rule
    if origin in (Union, types.UnionType):
        read = [_read(each) for each in arguments if each is not type(None)]
        known = [each for each in read if each is not None]
        words = [word for each in known for word in each.get("choices", ())]
        if words and len(known) > 1:
            known = [each | {"words": tuple(words)} for each in known if "choices" not in each]
        if known and all(each in ({"kind": int}, {"kind": float}) for each in known):
            known = [{"kind": float if {"kind": float} in known else int}]
        if len(known) != 1:
            return None
        return known[0] | ({"optional": True} if type(None) in arguments else {})
    if origin in SEQUENCES and arguments:
        rule = _read(arguments[0])
        return None if rule is None else rule | {"many": True}
    return None


def _bounds(bound: Any) -> dict[str, Any]:
    names = {"ge": "at_least", "le": "at_most", "gt": "above", "lt": "below"}
    return {
        rule: getattr(bound, name)
        for name, rule in names.items()
        if isinstance(bound, (annotated_types.BaseMetadata, annotated_types.GroupedMetadata))
        and getattr(bound, name, None) is not None
    }


def _example(rule: dict[str, Any]) -> str:
    if rule.get("words"):
        return str(rule["words"][0])
    if rule.get("choices"):
        text = rule["choices"][0]
    elif rule["kind"] is bool:
        text = "true"
    elif rule["kind"] is str:
        text = "text"
    else:
        text = next((f"{each:g}" for each in EXAMPLES if Rule(**rule).accepts(each)), "...")
    return f"[{text}]" if rule.get("many") else text
