"""Dimensions read from Hydra's grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import named_part
from lossfleet.conf.rules import Rule
from lossfleet.sweeps.planning.space import Dimension, parse_dimension, parse_override

NUMBER = Rule(float, example="1")
WHOLE = Rule(int, example="1")
GAMMA = named_part("loss", "focal").rules()["gamma"]
TAU = named_part("loss", "weighted_cross_entropy").rules()["tau"]
SAMPLERS = ("oversample", "smote")

finite = st.floats(-1e6, 1e6)


def parse(text: str, rule: Rule | None = NUMBER, **rest) -> Dimension:
    return parse_dimension(parse_override(f"x={text}"), rule=rule, **rest)


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("interval(0,5)", NUMBER, Dimension("x", "float", 0.0, 5.0)),
        ("interval(-1.5,2)", NUMBER, Dimension("x", "float", -1.5, 2.0)),
        ("tag(log,interval(1e-4,1e-1))", NUMBER, Dimension("x", "float", 1e-4, 1e-1, log=True)),
        ("tag(log, interval(1e-4, 1e-1))", NUMBER, Dimension("x", "float", 1e-4, 1e-1, log=True)),
        ("int(interval(1,8))", NUMBER, Dimension("x", "int", 1, 8, step=1)),
        ("interval(1,8)", WHOLE, Dimension("x", "int", 1, 8, step=1)),
        ("tag(log,int(interval(1,64)))", WHOLE, Dimension("x", "int", 1, 64, log=True)),
        ("range(1,10,2)", WHOLE, Dimension("x", "int", 1, 9, step=2)),
        ("range(1,9,2)", WHOLE, Dimension("x", "int", 1, 7, step=2)),
        ("range(3)", WHOLE, Dimension("x", "int", 0, 2, step=1)),
        ("range(10,1,-3)", WHOLE, Dimension("x", "int", 4, 10, step=3)),
        ("range(0,1,0.25)", NUMBER, Dimension("x", "float", 0.0, 0.75, step=0.25)),
        ("range(0,0.9,0.3)", NUMBER, Dimension("x", "float", 0.0, 0.6, step=0.3)),
        ("range(0,4)", NUMBER, Dimension("x", "float", 0.0, 3.0, step=1.0)),
        ("0,1,2", NUMBER, Dimension("x", "categorical", choices=(0.0, 1.0, 2.0))),
        ("choice(0,0.5)", NUMBER, Dimension("x", "categorical", choices=(0.0, 0.5))),
        ("choice(16,32)", WHOLE, Dimension("x", "categorical", choices=(16, 32))),
        ("choice(2)", NUMBER, Dimension("x", "categorical", choices=(2.0,))),
        (
            "null,1",
            TAU,
            Dimension("x", "categorical", choices=(None, 1.0)),
        ),
        (
            "[],[32],[64,64]",
            named_part("model", "mlp").rules()["widths"],
            Dimension("x", "categorical", choices=("[]", "[32]", "[64,64]")),
        ),
        ("smote,oversample", None, Dimension("x", "categorical", choices=("smote", "oversample"))),
        ("'smote',\"oversample\"", None, Dimension("x", "categorical", choices=("smote", "oversample"))),
    ],
)
def test_the_grammar(text, rule, expected):
    dimension = parse(text, rule, options=SAMPLERS)
    assert dimension == expected
    for number in (*dimension.ends(), *(dimension.grid() or ())):
        assert dimension.kind == "categorical" or type(number) is {"int": int, "float": float}[dimension.kind]


@pytest.mark.parametrize(
    ("text", "rule", "part"),
    [
        ("3", NUMBER, "cannot be searched"),
        ("[1,2]", named_part("model", "mlp").rules()["widths"], "cannot be searched"),
        ("interval(5,1)", NUMBER, "cannot be searched"),
        ("interval(1,1)", NUMBER, "cannot be searched"),
        ("interval(0,inf)", NUMBER, "cannot be searched"),
        ("interval(nan,1)", NUMBER, "cannot be searched"),
        ("tag(log,interval(0,1))", NUMBER, "cannot be searched"),
        ("tag(lg,interval(1,2))", NUMBER, "cannot be searched"),
        ("tag(log,range(1,5))", NUMBER, "cannot be searched"),
        ("tag(log,choice(1,5))", NUMBER, "cannot be searched"),
        ("range(5,1)", NUMBER, "cannot be searched"),
        ("range(1,5,0)", NUMBER, "cannot be searched"),
        ("interval(0,1)", Rule(str), "cannot be searched"),
        ("interval(0,1)", named_part("model", "mlp").rules()["widths"], "cannot be searched"),
        ("interval(1,4.5)", WHOLE, "contains 4.5"),
        ("range(1,4,0.5)", WHOLE, "contains"),
        ("1,2,1.0", NUMBER, "repeats a value"),
        ("[1],[1]", named_part("model", "mlp").rules()["widths"], "repeats a value"),
        ("0,-1", GAMMA, "x is -1"),
        ("1,two", GAMMA, "x is 'two'"),
        ("1,null", GAMMA, "x is null"),
        ("4.5,5", named_part("sampler", "smote").rules()["neighbors"], "x is 4.5"),
        ("smote,smot", None, "x is 'smot'"),
    ],
)
def test_what_cannot_be_searched_is_refused(text, rule, part):
    with pytest.raises(UserError) as caught:
        parse(text, rule, options=SAMPLERS)
    assert part in caught.value.what


@pytest.mark.parametrize(
    "text", ["x", "=3", "x=interval(0,5", "x=intervl(0,5)", "x=interval(a,5)", "x=choice()", "x=[1"]
)
def test_what_hydra_cannot_read_is_refused_with_the_text(text):
    with pytest.raises(UserError, match="cannot be read") as caught:
        parse_override(text)
    assert text in caught.value.what
    assert "http" not in str(caught.value)


@pytest.mark.parametrize("text", ["+x=3", "++x=3", "~x", "x@y=3"])
def test_keys_are_neither_added_nor_removed(text):
    with pytest.raises(UserError, match="adds or removes a key"):
        parse_override(text)


dimensions = st.one_of(
    st.tuples(finite, finite)
    .filter(lambda ends: ends[0] < ends[1])
    .map(lambda ends: Dimension("x", "float", *ends)),
    st.tuples(st.floats(1e-9, 1), st.floats(1.5, 1e6)).map(
        lambda ends: Dimension("x", "float", *ends, log=True)
    ),
    st.tuples(st.integers(-99, 99), st.integers(100, 999)).map(
        lambda ends: Dimension("x", "int", *ends, step=1)
    ),
    st.tuples(st.integers(-99, 99), st.integers(2, 9), st.integers(1, 9)).map(
        lambda drawn: Dimension("x", "int", drawn[0], drawn[0] + drawn[1] * drawn[2], step=drawn[1])
    ),
    st.tuples(st.integers(-99, 99), st.integers(1, 99), st.integers(1, 9)).map(
        lambda drawn: Dimension(
            "x", "float", drawn[0] / 100, (drawn[0] + drawn[1] * drawn[2]) / 100, step=drawn[1] / 100
        )
    ),
    st.lists(finite, min_size=1, max_size=5, unique=True).map(
        lambda choices: Dimension("x", "categorical", choices=tuple(choices))
    ),
)


@given(dimension=dimensions)
def test_the_text_of_a_dimension_reads_back_as_the_same(dimension):
    rule = WHOLE if dimension.kind == "int" else NUMBER
    assert parse(dimension.text(), rule) == dimension


@given(start=st.integers(-50, 50), stop=st.integers(-50, 50), step=st.integers(-7, 7).filter(bool))
def test_a_range_has_the_numbers_of_pythons_range(start, stop, step):
    numbers = range(start, stop, step)
    if not numbers:
        with pytest.raises(UserError):
            parse(f"range({start},{stop},{step})", WHOLE)
        return
    assert parse(f"range({start},{stop},{step})", WHOLE).grid() == tuple(sorted(numbers))


def test_only_what_is_finite_has_a_grid():
    assert parse("range(0,0.5,0.1)").grid() == (0.0, 0.1, 0.2, 0.3, 0.4)
    assert parse("1,5,3").grid() == (1.0, 5.0, 3.0)
    assert parse("interval(1,3)", WHOLE).grid() == (1, 2, 3)
    assert parse("interval(1,3)").grid() is None
    assert parse("tag(log,interval(1,3))", WHOLE).grid() is None


def test_a_dimension_is_active_when_all_it_depends_on_has_a_wanted_value():
    dimension = parse("interval(0,1)", when={"sampler": ("smote", "class_balanced"), "loss": ("focal",)})
    assert dimension.is_active({"sampler": "smote", "loss": "focal", "other": 3})
    assert not dimension.is_active({"sampler": "smote", "loss": "ohem"})
    assert not dimension.is_active({"sampler": "smote"})
    assert not dimension.is_active({})
    assert parse("interval(0,1)").is_active({})
