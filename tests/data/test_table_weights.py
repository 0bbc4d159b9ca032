"""A column of weights: how it is read, what is refused, and the rows that its weights stay with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from table_files import write

from lossfleet.conf.datasets import Data
from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part
from lossfleet.conf.schema import choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import described, open_dataset
from lossfleet.runners.data.parts import Shares, draw_parts
from lossfleet.runners.data.samplers import training_rows, weighted_rows
from lossfleet.runners.data.splits import Split, make_split
from lossfleet.runners.tables import files

ROWS = 131
SHARES = Shares(0.2, 0.3)


def survey() -> pd.DataFrame:
    """Answers, the weight of each being its age divided by ten, so that rows are known again by both."""
    random = np.random.default_rng(3)
    age = 18 + np.arange(ROWS) % 71
    return pd.DataFrame(
        {
            "age": age + np.arange(ROWS) / 1000,
            "x": random.normal(size=ROWS),
            "weight": age / 10,
            "who": [f"P{each}" for each in random.integers(0, 40, ROWS)],
            "vote": random.choice(["no", "yes"], ROWS, p=[0.7, 0.3]),
        }
    )


def table(path: Path, **settings: Any) -> Data:
    return choose(
        "data", "csv", path=str(path), target="vote", **{"weight": "weight", "drop": ("who",), **settings}
    )


def read(written: pd.DataFrame, folder: Path, ending: str = ".csv", **settings: Any) -> Dataset:
    return open_dataset(table(write(written, folder / f"survey{ending}"), **settings))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_weights_are_no_feature_and_are_told(ending, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 997)
    dataset = read(survey(), tmp_path, ending)
    assert list(dataset.features) == ["age", "x"]
    assert dataset.weights is not None
    np.testing.assert_array_equal(dataset.weights, survey()["weight"])
    mean = survey()["weight"].mean()
    line = f"weights: from the column weight, 1.8 to 8.8, mean {mean:.3g}, brought to mean 1 in each part"
    assert line in dataset.lines()
    assert line in dataset.describe()["read"]


def test_weights_may_be_written_for_people(tmp_path):
    written = survey()
    # Six digits that a date would have, a decimal comma, and a leading zero.
    written["weight"] = [
        f"{1000 * each:,.1f}".translate(str.maketrans(",.", ".,")) for each in written["weight"]
    ]
    dataset = read(written, tmp_path)
    np.testing.assert_allclose(dataset.weights, 1000 * survey()["weight"])
    assert dataset.reading is not None
    assert dataset.reading.weight == {"name": "weight", "decimal": ","}
    written["weight"] = np.arange(ROWS) + 20240101
    dataset = read(written, tmp_path)
    np.testing.assert_array_equal(dataset.weights, written["weight"])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "the weight 'weight' is missing in 1 of 131 rows: 5"),
        ("heavy", "the weight 'weight' has 'heavy' in row 5"),
        ("unknown", "the weight 'weight' has 'unknown' in row 5"),
        ("-2.5", "the weight 'weight' has -2.5 in row 5"),
        ("inf", "the weight 'weight' has inf in row 5"),
        ("1e39", "the weight 'weight' has 1e+39 in row 5"),
    ],
)
def test_what_is_no_weight_is_refused_with_the_other_faults(value, said, tmp_path):
    written = survey().astype({"weight": str, "x": str})
    written.loc[4, "weight"] = value
    with pytest.raises(UserError) as caught:
        read(written, tmp_path)
    assert caught.value.what == said
    written.loc[7, "x"] = "oops"
    with pytest.raises(UserError, match=r"survey\.csv has 2 faults") as caught:
        read(written, tmp_path)
    assert said in caught.value.what
    assert "column 'x' has 'oops' in row 8" in caught.value.what


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weight": "vote"}, "data.weight is 'vote', the target"),
        ({"weight": "who", "group": "who", "drop": ()}, "data.weight is 'who', which data.group names"),
        ({"drop": ("weight",)}, "data.drop contains 'weight', which data.weight names"),
        ({"categorical": ("weight",)}, "data.categorical contains 'weight', which data.weight names"),
        ({"weight": "wieght"}, "data.weight names 'wieght', and survey.csv has no such column"),
    ],
)
def test_a_column_with_another_use_is_refused(settings, said, tmp_path):
    with pytest.raises(UserError) as caught:
        read(survey(), tmp_path, **settings)
    assert caught.value.what == said


def test_weights_of_0_alone_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"the weight 'weight' is 0 in all 131 rows"):
        read(survey().assign(weight=0), tmp_path)
    of_no = survey().assign(weight=np.where(survey()["vote"] == "yes", 0, 1))
    with pytest.raises(UserError, match=r"the weight 'weight' is 0 in every row of class 'yes'"):
        read(of_no, tmp_path)


def test_rows_that_weigh_nothing_are_as_if_they_were_not_there(tmp_path):
    written = survey()
    written.loc[::5, "weight"] = 0
    dataset = read(written, tmp_path)
    without = read(written[written["weight"] > 0], tmp_path)
    pd.testing.assert_frame_equal(dataset.features, without.features)
    np.testing.assert_array_equal(dataset.weights, without.weights)
    np.testing.assert_array_equal(dataset.labels, without.labels)
    assert "27 of 131 rows left out that weigh 0" in dataset.notes


def test_weights_make_another_sweep_and_none_does_not(tmp_path):
    path = write(survey(), tmp_path / "survey.csv")
    names = [described(table(path, weight=each, drop=("who",))).label for each in (None, "weight")]
    assert len(set(names)) == 2
    # Where it is not said, the name is that of versions that knew no weights.
    plain = table(path, weight=None)
    items = tuple(each for each in plain.source.items if each[0] != "weight")
    unknowing = replace(plain, source=Part("data", "csv", plain.source.target, items))
    assert described(unknowing).label == names[0]
    dataset = read(survey(), tmp_path)
    assert replace(dataset, weights=dataset.weights + 1).digest != dataset.digest


def test_weights_stay_with_their_rows(tmp_path):
    """Through rows without a class, repeated ones, groups, a long tail and a rare class: age says the weight."""
    written = pd.concat([survey(), survey().iloc[:3].assign(weight=[1.8, 7, 7])])
    written.loc[11, "vote"] = None
    written.loc[20:22, "vote"] = "perhaps"
    dataset = read(written, tmp_path, rare="drop")
    assert len(dataset.labels) == ROWS - 4
    (note,) = [each for each in dataset.notes if "repeat an earlier row" in each]
    assert note.endswith("; 2 of them weigh otherwise than the row that stays")
    for grouped in (dataset, read(survey(), tmp_path, group="who", drop=())):
        ages = grouped.features["age"].to_numpy()
        np.testing.assert_array_equal(grouped.weights, np.trunc(ages) / 10)
        for long_tail in (None, 5.0):
            split = make_split(grouped, SHARES, seed=1, split=2, long_tail=long_tail)
            parts, _ = draw_parts(grouped, SHARES, seed=1, split=2)
            for name, rows in zip(("validation", "test"), parts[1:], strict=True):
                expected = grouped.weights[np.sort(rows)]
                np.testing.assert_array_equal(getattr(split, f"{name}_weights"), expected / expected.mean())
            assert split.train_weights is not None
            assert split.train_weights.mean() == pytest.approx(1)
            # Encoded ages are in the order of the ages, and so are weights.
            in_order = split.train_weights[np.argsort(split.train_features[:, 0])]
            assert (np.diff(in_order) >= 0).all()
            assert len(set(in_order)) > 10


def weighted_split(weights: np.ndarray | None) -> Split:
    random = np.random.default_rng(7)
    labels = np.repeat([0, 1], [61, 17]).astype(np.int32)
    features = random.normal(size=(78, 3)).astype(np.float32)
    nothing = features[:0], labels[:0], features[:0], labels[:0], np.arange(0)
    counts = np.array([61, 17])
    return Split(features, labels, *nothing, counts, 1, 78, train_weights=weights)


@pytest.mark.parametrize(
    "name",
    ["shuffle", "oversample", "smote", "smotenc", "borderline_smote", "adasyn", "smote_tomek", "smote_enn"],
)
def test_samplers_keep_the_weights_and_smote_interpolates_them(name):
    sampler = named_part("sampler", name)
    plain = weighted_split(None)
    assert weighted_rows(sampler, plain, seed=3)[2] is None
    features, labels = training_rows(sampler, plain, seed=3)
    # A weight that is linear in the features is so in every row between two others.
    slope = np.array([0.7, -0.2, 0.4])
    split = weighted_split(5 + plain.train_features @ slope)
    found, of_class, weights = weighted_rows(sampler, split, seed=3)
    np.testing.assert_array_equal(found, features)
    np.testing.assert_array_equal(of_class, labels)
    np.testing.assert_allclose(weights, 5 + features @ slope, rtol=1e-5)
    assert weights is not None
    assert weights.dtype == np.float32


def test_a_sampler_that_makes_no_weights_of_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "flipped.py").write_text(
        "def flipped(features, labels):\n    return -features, labels\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sampler = Part("sampler", "flipped", "flipped.flipped", ())
    weighted_rows(sampler, weighted_split(None), seed=0)
    with pytest.raises(UserError, match="sampler=flipped returned rows with negative weights"):
        weighted_rows(sampler, weighted_split(np.ones(78)), seed=0)
