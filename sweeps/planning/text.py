"""Settings that are text, such as names of files and columns: read as they are written, whatever Hydra makes of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields

from lossfleet.conf.datasets import PATHS
from lossfleet.conf.errors import UserError
from lossfleet.conf.named_classes import quoted
from lossfleet.conf.rules import Rule, rules
from lossfleet.conf.schema import SECTIONS, Config
from lossfleet.conf.targets import target_signature

# What ends what begins so.
CLOSING = {"(": ")", "[": "]", "{": "}"}
QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
# Hydra's way of writing a mark that its grammar would take for its own.
ESCAPED = r"\\([()\[\]{}:=, \t])"
# Mappings from class names, with the names to a number; Hydra's grammar has keys of ASCII letters alone.
BY_CLASS = {"loss.class_weight": 1, "decision.costs": 2}
QUOTED_KEY = rf"(?<=[{{,])\s*({QUOTED})\s*(?=:)"


def text_settings(data_targets: list[str]) -> dict[str, Rule]:
    """The rules of all settings that are free text, by key.

    Args:
        data_targets: the functions that read the data sets in question.
    """
    found: dict[str, Rule | None] = {}
    for target in data_targets:
        parameters = target_signature("data", target).parameters
        found |= {f"data.{name}": parameter.rule for name, parameter in parameters.items()}
    for section, kind in SECTIONS.items():
        found |= {f"{section}.{name}": rule for name, rule in rules(kind).items()}
    found |= {each.name: each.metadata["rule"] for each in fields(Config) if "rule" in each.metadata}
    return {
        key: rule for key, rule in found.items() if rule is not None and rule.kind is str and not rule.choices
    }


def in_hydras_words(argument: str, texts: Mapping[str, Rule]) -> str:
    """The override, with quotes that make Hydra read the text of a text setting as it is written.

    Commas part several values, as in `data.target=a,b` and `choice(a,b)`, unless a file of this name exists. Lists in
    brackets, null and what is in quotes already stay what they are.

    Raises:
        UserError: several values without brackets where the setting is a list.
    """
    key, _, value = argument.partition("=")
    if key in BY_CLASS:
        return f"{key}={_with_rows(value, BY_CLASS[key])}"
    if key not in texts or "=" not in argument:
        return argument
    if key.removeprefix("data.") in PATHS and value and os.path.exists(os.path.expanduser(value)):
        return f"{key}={quoted(value)}"
    choices = re.fullmatch(r"\s*choice\((.*)\)\s*", value, re.DOTALL)
    pieces = split_at_commas(choices[1] if choices else value)
    if texts[key].many and len(pieces) > 1 and not all(each.startswith("[") for each in pieces):
        raise UserError(
            what=f"'{argument}' has no brackets",
            expected="a list",
            hint=f"write '{key}=[{','.join(pieces)}]'",
        )
    text = ",".join(_list(each) if texts[key].many else _text(each) for each in pieces)
    return f"{key}={text}"


def split_at_commas(text: str) -> list[str]:
    """The pieces between commas, without those in brackets or quotes that are closed, and without outer spaces."""
    pieces, start = [], 0
    while start <= len(text):
        end = start
        while end < len(text) and text[end] != ",":
            end = _skip(text, end, is_first=not text[start:end].strip())
        pieces.append(text[start:end].strip())
        start = end + 1
    return pieces


def _skip(text: str, place: int, *, is_first: bool) -> int:
    """The place behind a mark, behind the quotation that begins a piece, or behind the brackets that open there."""
    if is_first and (quotation := re.compile(QUOTED).match(text, place)):
        return quotation.end()
    if re.compile(ESCAPED).match(text, place):
        return place + 2
    if text[place] in CLOSING:
        depth = 0
        for end in range(place, len(text)):
            depth += (text[end] == text[place]) - (text[end] == CLOSING[text[place]])
            if depth == 0:
                return end + 1
    return place + 1


def _with_rows(value: str, names: int) -> str:
    """Mappings from class names as lists of rows: `{a:{b:3}}` as `[['a','b',3]]`."""
    quotations: list[str] = []

    def hidden(found: re.Match[str]) -> str:
        quotations.append(found[1])
        return f"\0{len(quotations) - 1}\0"

    text = re.sub(QUOTED_KEY, hidden, value)
    choices = re.fullmatch(r"\s*choice\((.*)\)\s*", text, re.DOTALL)
    pieces = []
    for piece in split_at_commas(choices[1] if choices else text):
        rows = _rows(piece, quotations)
        if rows and all(len(row) == names + 1 for row in rows):
            piece = "[" + ",".join(f"[{','.join(row)}]" for row in rows) + "]"
        pieces.append(re.sub("\0(\\d+)\0", lambda found: quotations[int(found[1])], piece))
    return f"choice({','.join(pieces)})" if choices else ",".join(pieces)


def _rows(text: str, quotations: list[str], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The names and the value of each entry of a mapping in braces; none where it is no mapping."""
    if not (text.startswith("{") and text.endswith("}")):
        return []
    rows: list[tuple[str, ...]] = []
    for piece in split_at_commas(text[1:-1]):
        entry = re.fullmatch(r"([^{]*):\s*(\{.*\})", piece, re.DOTALL) or re.fullmatch(
            r"(.*):(.*)", piece, re.DOTALL
        )
        if not entry:
            return []
        name, value = entry[1].strip(), entry[2].strip()
        mark = re.fullmatch("\0(\\d+)\0", name)
        names = (*before, quotations[int(mark[1])] if mark else quoted(re.sub(ESCAPED, r"\1", name)))
        rows += _rows(value, quotations, names) if value.startswith("{") else [(*names, value)]
    return rows


def _list(value: str) -> str:
    if not (value.startswith("[") and value.endswith("]")):
        return _text(value)
    inner = value[1:-1].strip()
    return f"[{','.join(map(_text, split_at_commas(inner)))}]" if inner else "[]"


def _text(value: str) -> str:
    if value == "null" or re.fullmatch(QUOTED, value):
        return value
    return quoted(re.sub(ESCAPED, r"\1", value))
