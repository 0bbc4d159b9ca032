"""Splits: who is where, how many, scaled by what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from own_data import OWN

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import long_tail_counts, make_split, part_counts

SHARES = Shares(0.2, 0.3)
COUNTS = (61, 7, 23)
PAIRS = [(seed, split) for seed in (0, 1, 7) for split in (0, 1, 1000)]


def toy(counts=COUNTS) -> Dataset:
    """Column 0 numbers the rows, column 1 is constant, column 2 is noise whose scale grows with the class."""
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    noise = np.random.default_rng(5).normal(size=len(labels)) * (1 + labels)
    features = pd.DataFrame({"row": np.arange(len(labels)), "constant": 0.1, "noise": noise})
    names = tuple(f"kind_{label}" for label in range(len(counts)))
    return Dataset("toy", features, labels, names, (), "made up")


def rows_of(split) -> list[np.ndarray]:
    """The row numbers of the three parts, from column 0: all rows lie on one line from 0 to N - 1."""
    columns = [split.train_features[:, 0], split.validation_features[:, 0], split.test_features[:, 0]]
    everything = np.concatenate(columns)
    low, step = everything.min(), np.ptp(everything) / (len(everything) - 1)
    return [np.rint((column - low) / step).astype(int) for column in columns]


def counts_of(labels) -> list[int]:
    return np.bincount(labels, minlength=len(COUNTS)).tolist()


def test_parts_are_disjoint_complete_and_keep_their_labels():
    dataset = toy()
    split = make_split(dataset, SHARES, seed=1, split=2)
    train, validation, test = rows_of(split)
    assert sorted([*train, *validation, *test]) == list(range(len(dataset.labels)))
    np.testing.assert_array_equal(split.train_labels, dataset.labels[train])
    np.testing.assert_array_equal(split.validation_labels, dataset.labels[validation])
    np.testing.assert_array_equal(split.test_labels, dataset.labels[test])


@pytest.mark.parametrize(("seed", "split"), PAIRS)
def test_class_sizes_follow_the_fractions_for_every_seed_and_split(seed, split):
    part = make_split(toy(), SHARES, seed=seed, split=split)
    # 0.2 and 0.3 of 61, 7, 23, rounded; the rest is for training.
    assert counts_of(part.validation_labels) == [12, 1, 5]
    assert counts_of(part.test_labels) == [18, 2, 7]
    assert counts_of(part.train_labels) == part.class_counts.tolist() == [31, 4, 11]
    assert part.rarest_class == 1


def test_every_seed_and_every_split_is_another_one():
    splits = [make_split(toy(), SHARES, seed=seed, split=split) for seed, split in PAIRS]
    assert len({tuple(rows_of(split)[2]) for split in splits}) == len(PAIRS)


def test_the_same_seed_and_split_is_the_same():
    first, second = (make_split(toy(), SHARES, seed=4, split=6) for _ in range(2))
    np.testing.assert_array_equal(first.train_features, second.train_features)
    np.testing.assert_array_equal(first.test_features, second.test_features)


def test_classes_of_one_size_are_split_apart():
    """Each class is cut by random numbers of its own: blocks of equal classes must not repeat one pattern."""
    dataset = toy((29, 29, 29))
    _, _, test = rows_of(make_split(dataset, SHARES, seed=0, split=0))
    in_test = np.isin(np.arange(len(dataset.labels)), test)
    patterns = {tuple(in_test[dataset.labels == label]) for label in range(3)}
    assert len(patterns) == 3


@pytest.mark.parametrize("long_tail", [None, 5.0])
def test_the_scaler_sees_the_training_part_only(long_tail):
    split = make_split(open_dataset(choose("data", "wine")), SHARES, seed=0, split=0, long_tail=long_tail)
    np.testing.assert_allclose(split.train_features.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(split.train_features.std(axis=0, dtype=np.float64), 1, atol=1e-6)


def test_validation_and_test_are_on_the_scale_of_training():
    dataset = toy()
    split = make_split(dataset, SHARES, seed=0, split=1, long_tail=4)
    full = make_split(dataset, SHARES, seed=0, split=1)
    train, validation, test = rows_of(full)
    noise = dataset.features["noise"].to_numpy()
    kept = noise[train[_kept(full, split)]]
    for features, rows in ((split.validation_features, validation), (split.test_features, test)):
        np.testing.assert_allclose(features[:, 2], (noise[rows] - kept.mean()) / kept.std(), rtol=1e-5)


def _kept(full, thinned) -> np.ndarray:
    """Which training rows of the full split the thinned one keeps: validation gives the affine map."""
    slope, offset = np.polyfit(full.validation_features[:, 0], thinned.validation_features[:, 0], 1)
    distance = np.abs(slope * full.train_features[:, 0][:, None] + offset - thinned.train_features[:, 0])
    assert distance.min(axis=0).max() < 1e-4
    return distance.argmin(axis=0)


def test_the_long_tail_thins_only_the_training_part():
    full = make_split(toy(), SHARES, seed=0, split=0)
    thinned = make_split(toy(), SHARES, seed=0, split=0, long_tail=10)
    np.testing.assert_array_equal(thinned.validation_labels, full.validation_labels)
    np.testing.assert_array_equal(thinned.test_labels, full.test_labels)
    # 30 of 31 rows, 30 / sqrt(10), 31 / 10.
    assert counts_of(thinned.train_labels) == thinned.class_counts.tolist() == [30, 3, 9]
    assert len(set(_kept(full, thinned))) == 42


def test_long_tail_counts_are_those_of_long_tailed_cifar_10():
    published = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tail_counts(np.full(10, 5000), 100).tolist() == published


def test_long_tail_counts_rank_by_size_then_index_and_never_add():
    # Ranks: 100 (index 2), 80 (0), 80 (3), 7 (1) of 56, 28, 14, 7.
    assert long_tail_counts(np.array([80, 7, 100, 80]), 8).tolist() == [28, 7, 56, 14]
    # A class that has fewer rows than that keeps all.
    assert long_tail_counts(np.array([100, 9, 80, 7]), 8).tolist() == [56, 9, 28, 7]


@pytest.mark.parametrize("ratio", [1.5, 2, 10, 50, 100, 183, 300, 1000])
@pytest.mark.parametrize("name", ["page_blocks", "wine", "digits"])
def test_the_ratio_is_the_one_asked_for_or_refused(name, ratio):
    dataset = open_dataset(choose("data", name))
    own = part_counts(dataset, SHARES)[0]
    if own.max() / ratio < 2:
        with pytest.raises(UserError) as caught:
            part_counts(dataset, SHARES, ratio)
        assert caught.value.hint == f"write data.long_tail={own.max() // 2} or less"
        return
    counts = part_counts(dataset, SHARES, ratio)[0]
    assert ratio <= counts.max() / counts.min() < ratio + 1 / counts.min()
    assert (counts <= own).all()
    # As many rows as that allows: the smallest class, or the largest up to a multiple of the ratio.
    assert counts.min() == own.min() or own.max() / ratio < counts.min() + 1


def test_features_and_labels_have_the_types_of_the_graph():
    split = make_split(toy(), SHARES, seed=0, split=0)
    assert {split.train_features.dtype, split.validation_features.dtype, split.test_features.dtype} == {
        np.dtype(np.float32)
    }
    assert {split.train_labels.dtype, split.validation_labels.dtype, split.test_labels.dtype} == {
        np.dtype(np.int32)
    }


def test_a_constant_column_becomes_zero():
    split = make_split(toy(), SHARES, seed=0, split=0)
    for features in (split.train_features, split.validation_features, split.test_features):
        np.testing.assert_allclose(features[:, 1], 0, atol=1e-6)


@pytest.mark.parametrize("name", OWN)
def test_every_data_set_splits_into_finite_numbers(name):
    split = make_split(open_dataset(choose("data", name)), Shares(0.2, 0.2), seed=0, split=0, long_tail=20)
    for features in (split.train_features, split.validation_features, split.test_features):
        assert np.isfinite(features).all()
    assert split.class_counts[split.rarest_class] == split.class_counts.min() >= 2


def test_the_smallest_class_that_splits_has_four_rows():
    for shares in (SHARES, Shares(0.01, 0.01)):
        split = make_split(toy((11, 4)), shares, seed=0, split=0)
        parts = (split.train_labels, split.validation_labels, split.test_labels)
        assert [(labels == 1).sum() for labels in parts] == [2, 1, 1]
    with pytest.raises(UserError, match=r"class 'kind_1' \(3 rows\) of toy has too few rows") as caught:
        make_split(toy((11, 3)), SHARES, seed=0, split=0)
    assert caught.value.hint == "bring more rows of each class"
    with pytest.raises(UserError, match=r"class 'kind_1' \(6 rows\)") as caught:
        make_split(toy((31, 6)), Shares(0.45, 0.45), seed=0, split=0)
    assert caught.value.hint == "lower data.validation_fraction or data.test_fraction"
    assert make_split(toy((11, 6)), Shares(0.3, 0.3), seed=0, split=0).class_counts[1] == 2
    with pytest.raises(UserError, match=r"class 'kind_1' \(6 rows\)") as caught:
        make_split(toy((31, 6)), Shares(0.2, 0.2, 0.7), seed=0, split=0)
    assert caught.value.hint == "lower evaluation.held_out"


def test_a_long_tail_too_long_names_the_class_and_the_longest():
    with pytest.raises(
        UserError, match=r"long_tail=16 leaves class 'kind_1' of toy 1 training row;"
    ) as caught:
        make_split(toy(), SHARES, seed=0, split=0, long_tail=16)
    assert caught.value.hint == "write data.long_tail=15 or less"
    assert make_split(toy(), SHARES, seed=0, split=0, long_tail=15).class_counts[1] == 2


def test_the_data_set_is_left_as_it_was():
    dataset, untouched = toy(), toy()
    make_split(dataset, SHARES, seed=0, split=0, long_tail=4)
    pd.testing.assert_frame_equal(dataset.features, untouched.features)
    np.testing.assert_array_equal(dataset.labels, untouched.labels)
