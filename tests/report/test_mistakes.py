"""The rows that the best strategy gets wrong: which, where they stand in the user's files, and in which order."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sweep_records
from replicate_runs import factory
from sweeps_here import sweep_here
from table_files import write

from lossfleet.conf.schema import choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import make_split
from lossfleet.runners.images.parts import TEST, TRAINING, VALIDATION
from lossfleet.runners.metrics.evaluation import MOST_MISTAKES, mistakes
from lossfleet.runners.records import ReplicateRecord, decode_record, encode_record
from lossfleet.sweeps.report.conclusion import conclude
from lossfleet.sweeps.report.mistakes import mistakes_table, write_mistakes

SHARES = Shares(0.2, 0.2)
# What a comparison says of who is ahead.
BEST = SimpleNamespace(table=pd.DataFrame({"strategy": ["focal"], "trial": [2]}))


def finals(*mistakes: list[list[float]] | None) -> list[ReplicateRecord]:
    """Final replicates of focal with these mistakes."""
    records = sweep_records.trial("focal", 2, stage="final", replicates=len(mistakes))[:-1]
    return [replace(record, mistakes=each) for record, each in zip(records, mistakes, strict=True)]


@pytest.fixture
def animals() -> Dataset:
    """Eleven rows, of which the last five are tested on in every split."""
    parts = np.repeat([TRAINING, VALIDATION, TEST], [4, 2, 5]).astype(np.int8)
    features = pd.DataFrame({"size": np.arange(11) + 0.5, "class": np.arange(11) * 10.0})
    return Dataset("toy", features, np.arange(11) % 3, ("cat", "dog", "owl"), (), "made up", parts=parts)


def test_the_table_is_what_a_hand_counts(animals, tmp_path):
    records = finals(
        [[6, 1, 0.9], [8, 0, 0.5], [10, 2, 0.999]],
        [[6, 2, 0.7], [8, 0, 0.75]],
        [[6, 2, 0.8], [8, 1, 0.99], [9, 1, 0.6]],
    )
    table = mistakes_table(records, animals, SHARES)
    # Positions 6 and 8 are wrong in all three, by 0.8 and 0.7466 on average.
    assert table.values.tolist() == [
        [7, "cat", "owl", 3, 3, 0.8, True, 6.5, 60.0],
        [9, "owl", "cat", 3, 3, 0.747, True, 8.5, 80.0],
        [11, "dog", "owl", 3, 1, 0.999, False, 10.5, 100.0],
        [10, "cat", "dog", 3, 1, 0.6, False, 9.5, 90.0],
    ]
    names = ["row", "class", "taken_for", "tested", "wrong", "probability", "always", "size", "column class"]
    assert list(table) == names
    line, _ = write_mistakes(records, BEST, SimpleNamespace(dataset=animals, shares=SHARES), tmp_path)
    assert (
        "the 4 test rows that focal gets wrong, first the 2 that every split which tests them gets wrong"
        in line
    )
    once = mistakes_table(records[:1], animals, SHARES)
    assert not once["always"].any()
    assert mistakes_table(finals([], []), animals, SHARES).empty


def test_each_split_counts_the_rows_that_it_tests():
    dataset = factory("wine").dataset
    records = finals(*[[[row, 0, 0.5] for row in range(len(dataset.labels))]] * 7)
    expected = np.zeros(len(dataset.labels))
    for each in records:
        expected[make_split(dataset, SHARES, seed=each.seed, split=each.split).test_rows] += 1
    table = mistakes_table(records, dataset, SHARES).sort_values("row")
    assert table["tested"].tolist() == expected.tolist()
    assert 0 < expected.min() + 1 < expected.max()


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_rows_are_those_of_the_file_where_others_were_left_out(tmp_path, name):
    table = pd.DataFrame({"x": np.arange(97) * 1.5, "y": ["no", "yes", "no"] * 32 + ["no"]})
    # The third and the fiftieth row again, below the header as rows 4 and 52.
    repeated = table.iloc[[0, 1, 2, 2, *range(3, 50), 49, *range(50, 97)]]
    dataset = open_dataset(choose("data", "csv", path=str(write(repeated, tmp_path / name)), target="y"))
    assert len(dataset.labels) == 97
    found = mistakes_table(finals([[row, 1, 0.5] for row in (2, 3, 49, 50, 96)]), dataset, SHARES)
    assert found["row"].tolist() == [3, 5, 51, 53, 99]
    assert found["x"].tolist() == repeated["x"].iloc[found["row"] - 1].tolist()


def test_rows_of_a_second_file_are_counted_from_its_own_first(tmp_path):
    table = pd.DataFrame({"x": np.arange(97) * 1.5, "y": ["no", "yes"] * 48 + ["no"]})
    first, second = (
        str(write(part, tmp_path / name)) for part, name in ((table[:61], "a.csv"), (table[61:], "b.csv"))
    )
    dataset = open_dataset(choose("data", "csv", path=first, test_path=second, target="y"))
    found = mistakes_table(finals([[row, 0, 0.5] for row in (60, 61, 96)]), dataset, SHARES)
    assert found[["file", "row", "x"]].values.tolist() == [
        [first, 61, 90.0],
        [second, 1, 91.5],
        [second, 36, 144.0],
    ]


def test_a_replicate_records_its_most_confident_mistakes():
    random = np.random.default_rng(5)
    logits = random.normal(size=(3, 3001)).astype(np.float32)
    labels, rows = random.integers(0, 3, 3001), random.permutation(3001)
    probabilities = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=0)
    wrong = [row for row in range(3001) if probabilities[:, row].argmax() != labels[row]]
    assert len(wrong) > MOST_MISTAKES - 31
    expected = [[rows[row], probabilities[:, row].argmax(), probabilities[:, row].max()] for row in wrong]
    expected = sorted(expected, key=lambda each: -each[2])[:MOST_MISTAKES]
    found = mistakes(logits, labels, rows)
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    assert [each[2] for each in found] == pytest.approx([each[2] for each in expected], abs=5.1e-4)
    assert all(each[2] == round(each[2], 3) for each in found)
    assert len(mistakes(np.tile(logits, 2), np.tile(labels, 2), np.arange(6002))) == MOST_MISTAKES
    assert mistakes(np.where(rows == 7, np.nan, logits), labels, rows) is None


def test_journals_without_mistakes_are_read_and_make_no_file(tmp_path, capsys):
    records = sweep_records.sweep()
    old = encode_record(records[-3])
    assert b"mistakes" not in old
    assert decode_record(old).mistakes is None
    (recorded,) = finals([[6, 1, 0.9]])
    assert decode_record(encode_record(recorded)) == recorded

    (tmp_path / "mistakes.csv").write_text("of an earlier end")
    conclude(records, tmp_path, factory("wine"))
    assert not (tmp_path / "mistakes.csv").exists()
    printed = capsys.readouterr().out
    assert "Mistakes" not in printed
    assert "Columns" not in printed
    assert not (tmp_path / "figures" / "columns.png").exists()


def test_replicates_that_were_cut_off_are_told_once(tmp_path, capsys):
    dataset = factory("wine").dataset
    full = [[row % len(dataset.labels), 0, 0.5] for row in range(MOST_MISTAKES)]
    other = [replace(each, trial=1) for each in finals([], [], [])]
    line, _ = write_mistakes([*finals(full, None, full), *other], BEST, factory("wine"), tmp_path)
    assert capsys.readouterr().err.count("2,000 most confident") == 1
    assert f"the {len(dataset.labels)} test rows that focal gets wrong" in line
    line, _ = write_mistakes(finals([[5, 1, 0.9]]), BEST, factory("wine"), tmp_path)
    assert line.endswith("the 1 test rows that focal gets wrong")
    assert capsys.readouterr().err == ""
    assert len(pd.read_csv(tmp_path / "mistakes.csv")) == 1


def test_a_mislabelled_row_comes_first(workdir, monkeypatch, capsys):
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], [149, 68])
    table = pd.DataFrame({"x": random.normal(6 * labels, 1), "noise": random.normal(size=217)})
    table["kind"] = np.where(labels, "rare", "common")
    table = table.sample(frac=1, random_state=1, ignore_index=True)
    # Far within the other class, and below a row that repeats another.
    table.loc[100, ["x", "kind"]] = [9.0, "common"]
    table = table.iloc[[0, *range(217)]]
    write(table, workdir / "odd.csv")
    ran = sweep_here(
        monkeypatch,
        *(
            "data=csv",
            "data.path=odd.csv",
            "data.target=kind",
            "data.test_fraction=0.4",
            "strategy=ce,weighted_ce",
        ),
        *("budget.trials=2", "budget.replicates=1", "budget.epochs=20", "budget.final_replicates=5"),
        *("references=[]", "keep=none", "name=odd"),
    )
    found = pd.read_csv("studies/odd/mistakes.csv")
    first = found.iloc[0]
    assert (first["row"], first["class"], first["taken_for"], first["always"]) == (
        102,
        "common",
        "rare",
        True,
    )
    assert first["x"] == table["x"].iloc[101] == 9.0
    assert first["tested"] == first["wrong"] >= 2
    *_, columns, mistakes_line = capsys.readouterr().out.splitlines()
    assert columns.startswith("Columns: ")
    assert " relies most on x (0." in columns
    assert "noise" not in columns
    assert ran.notes == [mistakes_line]
    assert ran.notes[0].startswith("Mistakes: studies/odd/mistakes.csv has the ")
