"""Text on the command line: settings that are text are taken as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lossfleet.conf.datasets import TABLE
from lossfleet.conf.errors import UserError
from lossfleet.conf.named_classes import quoted
from lossfleet.conf.schema import choose
from lossfleet.runners.data.loading import located
from lossfleet.sweeps.planning.space import parse_override, unquoted
from lossfleet.sweeps.planning.text import in_hydras_words, text_settings

TEXTS = text_settings([TABLE])

# What is written, and what it is, apart from the key.
AS_WRITTEN = [
    # letters that Hydra's grammar lacks
    *("data.target=类别", "data.target=größe", "data.group=patiënt", "data.time=дата", "data.target=🐟", "name=größe"),
    *("data.weight=größe", "data.weight=3"),
    # brackets and marks
    *("data.path=download (1).csv", "data.path=a[1].csv", "data.path=({x}).csv", "data.target=speed (rpm)"),
    *("data.target=failed?", "data.target=Torque [Nm]", "data.target=#id", "data.target=50%", "data.target=a|b;c"),
    *("data.target=[open", "data.target=f(x", "data.target=a}b", "data.target=!", "data.target=$", "data.target=a&b"),
    # quotation marks and backslashes
    *("data.path=it's.csv", 'data.path=6".csv', "data.target=''s", 'data.target="a" b', "data.target='"),
    *("data.path=C:\\data\\t.csv", "data.target=a\\", "data.target=\\'", "data.target=\\\\x", "name=\\"),
    # what Hydra takes for keys, numbers, truth and functions
    *("data.path=date=2026-01/t.parquet", "data.path=k=v", "data.target=a=b", "data.target==", "data.target=a:b"),
    *("data.target=3", "data.target=2019", "data.target=01", "data.target=1e3", "data.target=-0", "data.target=1_000"),
    *("data.target=true", "data.target=False", "data.target=NULL", "data.target=nan", "data.target=inf", "name=007"),
    *("data.target=interval(0,5)", "data.target=range(km)", "data.target=glob(*)", "data.target=str(3)"),
    *("data.target=tag(a,b)", "data.target=mean(x, y)"),
    # other sections
    *("tracking.uri=sqlite:////home/größe/it's.db", "tracking.experiment=2019", "tracking.experiment=Versuch (1)"),
    *("search.metric=recall[故障]", "search.metric=f1[Torque [Nm]]", "search.constraint=recall[a b]>=0.5"),
    *("decision.at_least=recall[是] >= 0.9", "engine.storage=postgresql://a:p#1@b/c", "decision.metric=f1[<5, >1]"),
]  # fmt: skip

LISTS = {
    "data.drop=[Torque [Nm]]": ["Torque [Nm]"],
    "data.drop=[#id]": ["#id"],
    "data.drop=[#id, Torque [Nm],类别]": ["#id", "Torque [Nm]", "类别"],
    "data.drop=[3,true,null]": ["3", "true", None],
    "data.drop=['a,b',c]": ["a,b", "c"],
    "data.drop=[f(a,b),{c,d}]": ["f(a,b)", "{c,d}"],
    "data.drop=[a[,b]": ["a[", "b"],
    "data.drop=[it's,John's]": ["it's", "John's"],
    "data.categorical=[01,1]": ["01", "1"],
    "data.drop=[a\\,b]": ["a,b"],
    "data.drop=[ ]": [],
    "search.metrics=[f1[a,b],recall[类]]": ["f1[a,b]", "recall[类]"],
}

SEVERAL = {
    "data.target=a,b": ["a", "b"],
    "data.target=01,类别": ["01", "类别"],
    "data.target=choice(1,2)": ["1", "2"],
    "data.path=k=1/a.csv,b (1).csv": ["k=1/a.csv", "b (1).csv"],
    "data.drop=[a],[b,#c]": [["a"], ["b", "#c"]],
    "data.target='a,b',c": ["a,b", "c"],
}

STAYS = {
    "data.target=null": None,
    "data.path='my file.csv'": "my file.csv",
    'data.target="null"': "null",
    "data.target='it\\'s'": "it's",
    "data.target=a\\,b": "a,b",
    "data.path=${oc.env:HOME}/t.csv": "${oc.env:HOME}/t.csv",
    "data.target=  Label ": "Label",
    # of other kinds
    "data.long_tail=3": 3,
    "data.repeated=drop": "drop",
    "loss.gamma=2": 2,
}


def value(argument: str):
    return parse_override(argument, texts=TEXTS).value()


@pytest.mark.parametrize("argument", AS_WRITTEN)
def test_text_is_what_is_written(argument):
    assert value(argument) == argument.partition("=")[2]


@pytest.mark.parametrize(("argument", "expected"), [*LISTS.items(), *STAYS.items()])
def test_lists_and_what_is_quoted_keep_their_meaning(argument, expected):
    assert value(argument) == expected


@pytest.mark.parametrize(("argument", "expected"), SEVERAL.items())
def test_commas_part_several_texts(argument, expected):
    override = parse_override(argument, texts=TEXTS)
    found = [unquoted(each) for each in override.sweep_iterator()]
    assert found == expected
    # Each of them alone is written so that it is read again.
    assert [
        parse_override(f"{override.key_or_group}={each}").value() for each in override.sweep_string_iterator()
    ] == expected


@pytest.mark.parametrize(
    "name", ["a,b.csv", "a,b, c.csv", "choice(1,2).csv", "'x'.csv", " a.csv", "[1,2].csv"]
)
def test_a_file_that_is_there_is_one_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert value(f"data.path={name}") == name
    assert value(f"data.test_path={tmp_path}/{name}") == f"{tmp_path}/{name}"


@pytest.mark.parametrize(
    "path", ["~/t.csv", "~/a (1).csv", "~/größe/t.csv", "~/a,b.csv", "~/date=1/t.csv", "~/it's.csv"]
)
def test_a_tilde_is_the_home(path, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / path[2:]
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert value(f"data.path={path}") == path
    data = choose("data", "csv", path=path, target="y")
    assert located(data).source["path"] == str(file)


@pytest.mark.parametrize(
    ("argument", "mend"),
    [
        ("optimizer.lr=log_uniform(1e-4,1e-1,10)", "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"),
        ("loss.gamma=intervall(0,5)", "'loss.gamma=interval(0,5)'"),
        ("loss.gamma={0,1,2}", "'loss.gamma=0,1,2'"),
        ("loss.gamma=(0,1,2)", "'loss.gamma=0,1,2'"),
        ("loss.gamma=0;1;2", "'loss.gamma=0,1,2'"),
        ("data.drop=#a,b", "'data.drop=[#a,b]'"),
        ("loss.gamma=π", "loss.gamma='π'"),
        ("+data.path=a (1).csv", "data.path=a (1).csv"),
        ("loss.gamma=interval(0,5", "quote it for the shell"),
    ],
)
def test_what_cannot_be_read_has_a_mend_in_plain_words(argument, mend):
    with pytest.raises(UserError) as caught:
        parse_override(argument, texts=TEXTS)
    assert mend in caught.value.hint
    assert not any(word in str(caught.value) for word in ("Exception", "Error", "EOF", "viable", "mismatch"))


@pytest.mark.parametrize("text", ["", "a", "'", "\\", "\\'", "a\\\\", "\\\\'b'\\", "${x}", '"', "a\nb"])
def test_hydra_reads_quoted_text_as_it_was(text):
    assert OverridesParser.create().parse_overrides([f"key={quoted(text)}"])[0].value() == text


@pytest.mark.parametrize("argument", [*AS_WRITTEN, *LISTS, *SEVERAL, *STAYS])
def test_quoting_twice_changes_nothing(argument):
    once = in_hydras_words(argument, TEXTS)
    assert in_hydras_words(once, TEXTS) == once
