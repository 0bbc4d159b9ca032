"""Classes that are too small: all named at once, left out, or joined into one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.rare import settle_rare
from lossfleet.runners.data.repeated import settle_repeated
from lossfleet.runners.data.splits import check_split, make_split

SHARES = Shares(0.2, 0.2)
SIZES = {"common": 31, "some": 13, "r1": 3, "r2": 2, "r3": 1, "r4": 3}


def dataset(sizes: dict[str, int] | None = None, **fields: object) -> Dataset:
    sizes = SIZES if sizes is None else sizes
    labels = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    # Not class by class.
    labels = np.random.RandomState(5).permutation(labels)
    features = pd.DataFrame({"x": np.arange(len(labels), dtype=float)})
    return Dataset("birds", features, labels.astype(np.int64), tuple(sizes), (), "made", **fields)


def rows_by_class(found: Dataset) -> dict[str, list[float]]:
    return {
        name: found.features["x"][found.labels == label].tolist()
        for label, name in enumerate(found.class_names)
    }


def test_all_small_classes_are_named_with_mends_that_work():
    birds = dataset()
    with pytest.raises(UserError) as caught:
        check_split(birds, SHARES)
    assert caught.value.what.startswith(
        "classes 'r1' (3 rows), 'r2' (2 rows), 'r3' (1 row), 'r4' (3 rows) of birds"
    )
    assert "data.rare=join" in caught.value.hint
    assert "data.rare=drop" in caught.value.hint
    for how in ("join", "drop"):
        check_split(settle_rare(birds, how, SHARES), SHARES)


def test_dropped_classes_take_their_rows_along():
    before = rows_by_class(dataset())
    found = settle_rare(dataset(), "drop", SHARES)
    assert rows_by_class(found) == {name: before[name] for name in ("common", "some")}
    # Numbers of rows are still those of the file.
    assert (found.row_numbers - 1).tolist() == found.features["x"].tolist()
    assert found.notes == (
        "9 rows left out, of classes that are too small: r1 (3 rows), r2 (2 rows), r3 (1 row), r4 (3 rows)",
    )


def test_joined_classes_are_one_in_the_order_of_its_size():
    sizes = {"common": 31, "some": 5, "r1": 3, "r2": 2, "r3": 1, "r4": 3}
    before = rows_by_class(dataset(sizes))
    found = settle_rare(dataset(sizes), "join", SHARES)
    assert found.class_names == ("common", "other", "some")
    assert found.class_counts.tolist() == [31, 9, 5]
    after = rows_by_class(found)
    assert after["other"] == sorted([*before["r1"], *before["r2"], *before["r3"], *before["r4"]])
    assert after["some"] == before["some"]
    assert found.notes[-1].startswith("classes that are too small joined into other: r1 (3 rows)")


def test_a_class_that_is_called_other_stays_itself():
    found = settle_rare(dataset({"common": 31, "other": 13, "a": 3, "b": 3}), "join", SHARES)
    assert found.class_names == ("common", "other", "other classes")
    # Nor is the name of one that is joined in the way.
    found = settle_rare(dataset({"common": 31, "other": 3, "a": 3}), "join", SHARES)
    assert found.class_names == ("common", "other")


@pytest.mark.parametrize("how", ["refuse", "drop", "join"])
def test_where_no_class_is_small_nothing_changes(how):
    birds = dataset({"common": 31, "some": 4})
    assert settle_rare(birds, how, SHARES) is birds


@pytest.mark.parametrize(
    ("sizes", "how", "words"),
    [
        ({"a": 31, "b": 13, "c": 3}, "join", "one class alone is too small"),
        ({"a": 31, "b": 3, "c": 3}, "drop", "fewer than two classes"),
        ({"a": 3, "b": 3, "c": 3}, "join", "fewer than two classes"),
    ],
)
def test_what_leaves_no_classes_to_tell_apart_is_refused(sizes, how, words):
    with pytest.raises(UserError, match=words):
        settle_rare(dataset(sizes), how, SHARES)


def test_classes_that_stay_too_small_together_are_refused_when_they_are_split():
    joined = settle_rare(dataset({"a": 31, "b": 13, "c": 1, "d": 1}), "join", SHARES)
    with pytest.raises(UserError, match=r"class 'other' \(2 rows\)") as caught:
        check_split(joined, SHARES)
    assert "join" not in caught.value.hint


def test_given_parts_and_groups_count_in_their_own_way():
    birds = dataset({"a": 30, "b": 12, "c": 6, "d": 6})
    # Of c and d no row is tested on.
    parts = np.where((birds.labels < 2) & (np.arange(54) % 3 == 0), 2, 0).astype(np.int8)
    given = dataset({"a": 30, "b": 12, "c": 6, "d": 6}, parts=parts)
    with pytest.raises(UserError, match=r"class 'c' .* and likewise class 'd' \(6 rows\)") as caught:
        check_split(given, SHARES)
    assert "data.rare=drop" in caught.value.hint
    check_split(settle_rare(given, "drop", SHARES), SHARES)
    # All rows of c in one group.
    groups = np.where(birds.labels == 2, 99, np.arange(54))
    grouped = dataset({"a": 30, "b": 12, "c": 6, "d": 6}, groups=groups)
    with pytest.raises(UserError, match=r"class 'c' of birds is in 1 group, which leaves 0 of its 6 rows"):
        check_split(grouped, SHARES)
    found = settle_rare(grouped, "drop", SHARES)
    assert found.class_names == ("a", "b", "d")
    make_split(found, SHARES, seed=0, split=0)


def test_repeated_rows_are_counted_in_the_message():
    birds = dataset({"common": 1500, "some": 60})
    features = birds.features.assign(x=np.where(birds.labels == 1, -1.0, birds.features["x"]))
    settled = settle_repeated(Dataset("birds", features, birds.labels, birds.class_names, (), "made"), "auto")
    assert settled.class_counts.tolist() == [1500, 1]
    with pytest.raises(UserError) as caught:
        check_split(settled, SHARES)
    assert "'some' (1 row, 60 with those that repeat another)" in caught.value.what
    assert "data.repeated=keep" in caught.value.hint
    # One class would be left.
    assert "data.rare" not in caught.value.hint


def test_the_setting_reaches_the_data(tmp_path):
    path = tmp_path / "birds.csv"
    names = np.repeat(list(SIZES), list(SIZES.values()))
    pd.DataFrame({"x": np.arange(len(names)) / 7, "y": names}).to_csv(path, index=False)
    found = {
        how: open_dataset(choose("data", "csv", path=str(path), target="y", rare=how)).class_names
        for how in ("refuse", "drop", "join")
    }
    assert found["refuse"] == ("common", "some", "r1", "r4", "r2", "r3")
    assert found["drop"] == ("common", "some")
    assert found["join"] == ("common", "some", "other")
