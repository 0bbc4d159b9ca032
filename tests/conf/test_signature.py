"""Signatures read from source against Python's own, and rules against what annotations say."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Annotated, Any, Literal

import annotated_types
import optuna
import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt

from lossfleet.conf.annotations import MISSING, Unknown, rule_of
from lossfleet.conf.parts import named_part, part_names
from lossfleet.conf.rules import Rule
from lossfleet.conf.schema import PART_GROUPS
from lossfleet.conf.signature import read_signature

GROUPS = (*PART_GROUPS, "data", "search", "pruner", "metric")
TARGETS = sorted(
    {named_part(group, name).target or "" for group in GROUPS for name in part_names(group)} - {""}
)


@pytest.mark.parametrize("target", TARGETS)
def test_the_source_says_what_python_says(target):
    """Names, their order and which must be given, of every target that lossfleet has a file for."""
    module, _, name = target.rpartition(".")
    exec(f"from {module} import {name} as found", scope := {})
    expected = {
        each.name: each.default is each.empty
        for each in inspect.signature(scope["found"]).parameters.values()
    }
    signature = read_signature(target)
    assert {name: each.is_required for name, each in signature.parameters.items()} == expected
    assert list(signature.parameters) == list(expected)
    assert signature.file == inspect.getsourcefile(inspect.unwrap(scope["found"]))


def test_reading_imports_nothing_heavy():
    code = f"""
import sys
from lossfleet.conf.signature import read_signature
for target in {TARGETS}:
    assert read_signature(target) is not None, target
found = {{"mindspore", "numpy", "optuna", "sklearn", "pandas", "hydra"}} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


SOURCE = """
from __future__ import annotations
import typing
from dataclasses import dataclass
from typing import Annotated, Literal, Optional as Maybe
import annotated_types as at
from annotated_types import Ge
import numpy as np
from other_module import Share
from .beside import Positive

Fraction = Annotated[float, at.Gt(0), at.Le(1)]

def everything(
    logits: Tensor, labels, *,
    share: Share = 0.5, fraction: Fraction = 0.25, positive: Positive | np.ndarray = 1, gamma: "float | Tensor" = 2.0,
    widths: tuple[Annotated[int, Ge(1)], ...] = (8, 8), kind: Literal["a", "b"] = "a", maybe: Maybe[int] = None,
    flag=True, text="word", sizes=[1, 2], nothing=None, called=max(1, 2), listed: typing.List[float] = (),
): ...

def wrapped(function):
    return function

@wrapped
def decorated(x: int = 3): ...

def open_ended(x: float = 1.0, **options: int): ...

class Net(Base):
    def __init__(self, features: int, hidden: Annotated[int, Ge(1)] = 32): ...

class Base: ...

class Empty: ...

class Child(Net): ...

@dataclass
class Step:
    lr: float
    momentum: Fraction = 0.9
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    folder = tmp_path / "a_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "written.py").write_text(SOURCE)
    (folder / "beside.py").write_text("from typing import Annotated\nimport annotated_types\n"
                                      "Positive = Annotated[float, annotated_types.Interval(gt=0)]\n")  # fmt: skip
    (tmp_path / "other_module.py").write_text("from beneath import Share\n")
    (tmp_path / "beneath.py").write_text("from typing import Annotated\nfrom annotated_types import Ge, Le\n"
                                         "Share = Annotated[float, Ge(0), Le(1)]\n")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    return "a_package.written"


def kinds(target: str) -> dict[str, str | None]:
    return {
        name: each.rule and each.rule.describe() for name, each in read_signature(target).parameters.items()
    }


def test_rules_follow_annotations_through_modules(written):
    assert kinds(f"{written}.everything") == {
        "logits": None,
        "labels": None,
        "share": "a number of at least 0 and of at most 1",
        "fraction": "a number above 0 and of at most 1",
        "positive": "a number above 0",
        "gamma": "a number",
        "widths": "a list, each a whole number of at least 1",
        "kind": "one of a, b",
        "maybe": "a whole number, or null",
        "flag": "true or false",
        "text": "text",
        "sizes": "a list, each a whole number",
        "nothing": None,
        "called": None,
        "listed": "a list, each a number",
    }
    required = [
        name for name, each in read_signature(f"{written}.everything").parameters.items() if each.is_required
    ]
    assert required == ["logits", "labels"]
    assert kinds(f"{written}.decorated") == {"x": "a whole number"}
    assert kinds(f"{written}.Net") == {"features": "a whole number", "hidden": "a whole number of at least 1"}
    assert kinds(f"{written}.Child") == kinds(f"{written}.Net")
    assert kinds(f"{written}.Empty") == {}
    assert kinds(f"{written}.Step") == {"lr": "a number", "momentum": "a number above 0 and of at most 1"}
    assert read_signature(f"{written}.nothing_there") is None
    assert read_signature("no_such_module.function") is None


def test_what_source_does_not_tell_is_imported_and_asked(tmp_path, monkeypatch):
    (tmp_path / "asked.py").write_text(
        "import functools\n"
        "def inner(x: int, y: float = 1.0, **options: int): ...\n"
        "partly = functools.partial(inner, 3)\n"
        "lazy = {'made': inner}\n"
        "def __getattr__(name):\n    return lazy[name]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    signature = read_signature("asked.inner")
    assert signature.takes_all
    assert kinds("asked.inner") == {"x": "a whole number", "y": "a number"}
    assert kinds("asked.partly") == {"y": "a number"}
    assert kinds("asked.made") == kinds("asked.inner")
    assert kinds("math.prod") == {"iterable": None, "start": "a whole number"}


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        (float, MISSING, Rule(float, example="1")),
        (Annotated[float, Ge(0), Lt(1)], 0.5, Rule(float, at_least=0, below=1, example="0.5")),
        (Annotated[float, Interval(gt=0, le=1)] | None, None,
         Rule(float, above=0, at_most=1, optional=True, example="1")),
        (Annotated[int, Gt(64)], MISSING, Rule(int, above=64, example="100")),
        (Annotated[float, Le(0)], MISSING, Rule(float, at_most=0, example="...")),
        (int | float, 2, Rule(float, example="2")),
        (int | str, "auto", None),
        (Literal["a", "b"], "b", Rule(str, choices=("a", "b"), example="b")),
        (Literal[1, 2], 1, None),
        (tuple[float, ...], (1.0, 2.0), Rule(float, many=True, example="[1.0,2.0]")),
        (tuple[Annotated[float, Gt(0)], ...] | None, None,
         Rule(float, above=0, many=True, optional=True, example="[1]")),
        (Unknown() | float, MISSING, Rule(float, example="1")),
        (Unknown(), 1.0, None),
        (Any, 1.0, None),
        (MISSING, 1.0, Rule(float, example="1.0")),
        (MISSING, None, None),
        (Annotated[float, annotated_types.MultipleOf(2)], MISSING, Rule(float, example="1")),
    ],
)  # fmt: skip
def test_a_rule_from_an_annotation(annotation, default, expected):
    assert rule_of(annotation, default) == expected


def test_optunas_own_annotations_are_rules():
    parameters = read_signature("optuna.samplers.TPESampler").parameters
    assert parameters["n_startup_trials"].rule == Rule(int, example="10")
    assert parameters["multivariate"].rule == Rule(bool, optional=True, example="true")
    assert parameters["gamma"].rule is None
    assert set(parameters) == set(inspect.signature(optuna.samplers.TPESampler).parameters)
