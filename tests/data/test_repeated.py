"""Rows that repeat an earlier one, against pandas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset, tell_notes
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.repeated import equal_rows, settle_repeated
from lossfleet.runners.data.splits import make_split, part_counts

SHARES = Shares(0.2, 0.3)
ROWS = 997


def answers(questions: int, rows: int = ROWS) -> Dataset:
    """Answers to questions of three options, one with gaps, and a number of two values; two classes."""
    random = np.random.default_rng(questions)
    features = pd.DataFrame({f"q{each}": random.integers(0, 3, rows) for each in range(questions)})
    features = features.astype(str).astype("category")
    features.loc[random.random(rows) < 0.2, "q0"] = None
    features["n"] = np.where(random.random(rows) < 0.3, np.nan, random.integers(0, 2, rows))
    labels = (random.random(rows) < 0.2).astype(np.int64)
    return Dataset("answers", features, labels, ("no", "yes"), (), "made up")


def whole(dataset: Dataset) -> pd.DataFrame:
    return dataset.features.assign(label=dataset.labels)


def test_equal_rows_are_those_of_pandas():
    features = answers(3).features
    first = equal_rows(features)
    assert (first <= np.arange(ROWS)).all()
    np.testing.assert_array_equal(first != np.arange(ROWS), features.duplicated())
    pd.testing.assert_frame_equal(features.iloc[first].reset_index(drop=True), features)


@pytest.mark.parametrize("how", ["drop", "auto"])
def test_dropped_rows_are_those_that_pandas_drops(how):
    # Of nine questions few rows repeat an earlier one.
    dataset = answers(9)
    settled = settle_repeated(dataset, how)
    expected = whole(dataset).drop_duplicates(ignore_index=True)
    repeated = ROWS - len(expected)
    assert 0 < repeated < 0.05 * ROWS
    pd.testing.assert_frame_equal(whole(settled), expected)
    assert settled.groups is None
    assert settled.notes[0].startswith(f"{repeated} rows left out that repeat an earlier row exactly")


@pytest.mark.parametrize("how", ["group", "auto"])
def test_grouped_rows_are_all_kept_and_equal_ones_are_one_group(how):
    dataset = answers(2)
    settled = settle_repeated(dataset, how)
    pd.testing.assert_frame_equal(whole(settled), whole(dataset))
    pairs = pd.DataFrame(
        {"group": settled.groups, "rows": list(map(str, dataset.features.to_numpy(object).tolist()))}
    ).drop_duplicates()
    sets = len(dataset.features.drop_duplicates())
    assert len(pairs) == pairs["group"].nunique() == pairs["rows"].nunique() == sets
    repeated = whole(dataset).duplicated().sum()
    assert repeated > 0.9 * ROWS
    assert settled.notes[0] == (
        f"{repeated} of {ROWS} rows repeat an earlier row exactly: all are kept, each of {sets} sets of equal "
        "features in one part"
    ) + ("; data.repeated=keep leaves them wherever they fall" if how == "auto" else "")


def test_kept_rows_are_kept_and_told():
    dataset = answers(2)
    settled = settle_repeated(dataset, "keep")
    pd.testing.assert_frame_equal(whole(settled), whole(dataset))
    assert settled.groups is None
    assert "in whatever part they are" in settled.notes[0]


def test_rows_of_another_class_are_counted():
    dataset = answers(7)
    torn = whole(dataset).groupby(list(dataset.features), dropna=False, observed=True)["label"].nunique()
    assert (torn > 1).sum() > 2
    settled = settle_repeated(dataset, "drop")
    assert settled.notes[1] == f"{2 * (torn > 1).sum()} rows have the features of a row of another class"


def test_without_repeated_rows_nothing_is_said():
    wine = open_dataset(choose("data", "wine"))
    for how in ("auto", "drop", "keep", "group"):
        settled = settle_repeated(wine, how)
        assert (settled.notes, settled.groups) == ((), None)
        assert settled.digest == wine.digest


@pytest.mark.parametrize("given", ["groups", "times", "parts"])
def test_auto_keeps_where_the_data_says_what_belongs_together(given):
    dataset = replace(answers(2), **{given: np.arange(ROWS)})
    settled = settle_repeated(dataset, "auto")
    assert "in whatever part they are" in settled.notes[0]
    kept = whole(dataset).drop_duplicates().index
    np.testing.assert_array_equal(getattr(settle_repeated(dataset, "drop"), given), kept)


def test_no_features_are_in_two_parts_of_a_grouped_split():
    dataset = settle_repeated(answers(4), "group")
    counts = part_counts(dataset, SHARES)
    sizes = set()
    for seed in range(5):
        split = make_split(dataset, SHARES, seed=seed, split=seed)
        parts = [split.train_features, split.validation_features, split.test_features]
        rows = [{each.tobytes() for each in part.round(3)} for part in parts]
        assert sum(map(len, rows)) == len(set.union(*rows))
        assert sum(map(len, parts)) == ROWS
        assert np.bincount(split.train_labels).tolist() == split.class_counts.tolist()
        sizes.add(tuple(map(len, parts)))
        # As many draws an epoch for all, so that they train together.
        assert split.draws == counts[0].sum()
        assert split.rarest_class == 1
    assert len(sizes) > 1


def test_a_group_of_single_rows_splits_as_rows_do():
    dataset = answers(9)
    alone = replace(dataset, groups=np.random.default_rng(2).permutation(ROWS))
    rows = make_split(dataset, SHARES, seed=1, split=3)
    groups = make_split(alone, SHARES, seed=1, split=3)
    for part in ("train", "validation", "test"):
        counts = [np.bincount(getattr(split, f"{part}_labels")).tolist() for split in (rows, groups)]
        assert counts[0] == counts[1]
    assert rows.draws == groups.draws == len(rows.train_labels)


def test_a_group_counts_for_its_rarest_class_so_that_each_part_has_some():
    # 11 of 101 patients have the rare class, in one of their seven rows.
    labels = np.zeros((101, 7), np.int64)
    labels[:11, 3] = 1
    features = pd.DataFrame({"row": np.arange(labels.size)})
    groups = np.repeat(np.arange(101), 7)
    order = np.random.default_rng(0).permutation(labels.size)
    patients = Dataset(
        "patients", features, labels.ravel()[order], ("well", "ill"), (), "made up", groups[order]
    )
    for seed in range(7):
        split = make_split(patients, SHARES, seed=seed, split=0)
        ill = [labels.sum() for labels in (split.train_labels, split.validation_labels, split.test_labels)]
        assert ill == [6, 2, 3]


def test_groups_too_few_for_three_parts_are_refused_with_the_way_out():
    with pytest.raises(
        UserError, match=r"class 'no' of answers is in 2 groups, which leave 0 of its \d+ rows"
    ) as caught:
        make_split(replace(answers(2), groups=np.arange(ROWS) % 2), SHARES, seed=0, split=0)
    assert "data.repeated=keep" in caught.value.hint


def test_the_long_tail_of_a_grouped_split_is_thinned_at_random():
    dataset = settle_repeated(answers(5), "group")
    full = make_split(dataset, SHARES, seed=0, split=0)
    thinned = make_split(dataset, SHARES, seed=0, split=0, long_tail=10)
    np.testing.assert_array_equal(thinned.test_labels, full.test_labels)
    smallest = full.class_counts[0] // 10
    assert thinned.class_counts.tolist() == [10 * smallest, smallest]


def test_our_own_data_tells_what_the_user_asked_for(capsys):
    for repeated in ("auto", "keep"):
        data = choose("data", "page_blocks", repeated=repeated)
        dataset = open_dataset(data)
        tell_notes(data, dataset)
        said = capsys.readouterr().err
        assert (said == "") == (repeated == "auto")
    assert len(dataset.labels) == 5472
    assert "66 of 5472 rows repeat" in said
