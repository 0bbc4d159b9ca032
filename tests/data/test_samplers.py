"""Samplers: one table, every property for every row, then what is particular to each."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

from lossfleet.conf import schema
from lossfleet.conf.errors import UserError
from lossfleet.runners.data.samplers import index_plan, training_rows
from lossfleet.runners.data.splits import Split

COUNTS = np.array([67, 5, 29])
N = int(COUNTS.sum())
EPOCHS = 13
FEATURES = 7

# A sampler and the share of each class among its draws, as a function of the class counts.
SAMPLERS = {
    "shuffle": (schema.Shuffle(), lambda n: n / n.sum()),
    "oversample": (schema.Oversample(), lambda n: np.full(len(n), 1 / len(n))),
    "undersample": (schema.Undersample(), lambda n: np.full(len(n), 1 / len(n))),
    "class_balanced": (schema.ClassBalanced(exponent=1.0), lambda n: np.full(len(n), 1 / len(n))),
    "class_balanced_half": (schema.ClassBalanced(exponent=0.5), lambda n: n**0.5 / (n**0.5).sum()),
    "class_balanced_none": (schema.ClassBalanced(exponent=0.0), lambda n: n / n.sum()),
    "smote": (schema.Smote(neighbors=3), lambda n: np.full(len(n), 1 / len(n))),
}
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def toy_split(counts=COUNTS) -> Split:
    random = np.random.default_rng(2)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    features = (random.normal(size=(len(labels), FEATURES)) + 10 * labels[:, None]).astype(np.float32)
    features.flags.writeable = labels.flags.writeable = False
    counts = np.asarray(counts)
    return Split(
        features, labels, features, labels, features, labels, counts, rarest_class=int(counts.argmin())
    )


def plan_of(sampler, *, seed=0, epochs=EPOCHS) -> tuple[np.ndarray, np.ndarray]:
    _, labels = training_rows(sampler, toy_split(), seed=seed)
    labels.flags.writeable = False
    return index_plan(sampler, N, labels, seed=seed, epochs=epochs), labels


def test_the_table_has_every_sampler():
    assert {sampler.name for sampler, _ in SAMPLERS.values()} == set(schema.SAMPLERS)


@every_sampler
def test_shape_type_and_range(name):
    plan, labels = plan_of(SAMPLERS[name][0])
    assert plan.shape == (EPOCHS, N)
    assert plan.dtype == np.int32
    assert plan.min() >= 0
    assert plan.max() < len(labels)


@every_sampler
def test_rows_have_the_types_of_the_graph(name):
    features, labels = training_rows(SAMPLERS[name][0], toy_split(), seed=0)
    assert features.dtype == np.float32
    assert labels.dtype == np.int32
    assert features.shape == (len(labels), FEATURES)


@every_sampler
def test_a_seed_is_one_plan(name):
    first, second = (plan_of(SAMPLERS[name][0], seed=5)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@every_sampler
def test_another_seed_is_another_plan(name):
    first, second = (plan_of(SAMPLERS[name][0], seed=seed)[0] for seed in (5, 6))
    # Unrelated draws agree in about one place of a hundred.
    assert (first == second).mean() < 0.05


@every_sampler
def test_epochs_differ(name):
    plan, _ = plan_of(SAMPLERS[name][0])
    assert len({epoch.tobytes() for epoch in plan}) == EPOCHS


@every_sampler
def test_a_shorter_plan_is_the_beginning_of_a_longer_one(name):
    np.testing.assert_array_equal(
        plan_of(SAMPLERS[name][0], epochs=3)[0], plan_of(SAMPLERS[name][0], epochs=EPOCHS)[0][:3]
    )


@every_sampler
def test_class_frequencies(name):
    sampler, shares = SAMPLERS[name]
    epochs = 211
    plan, labels = plan_of(sampler, epochs=epochs)
    expected = shares(COUNTS.astype(float))
    observed = np.bincount(labels[plan.ravel()], minlength=len(COUNTS)) / plan.size
    # Five standard deviations of independent draws; the table's shares lie much further apart.
    np.testing.assert_array_less(np.abs(observed - expected), 5 * np.sqrt(expected / plan.size))


# Oversampling and undersampling choose rows by chance: tests of their own count them.
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("oversample", "undersample")])
def test_examples_of_a_class_come_equally_often(name):
    plan, labels = plan_of(SAMPLERS[name][0], epochs=211)
    drawn = np.bincount(plan.ravel(), minlength=len(labels))
    for label in range(len(COUNTS)):
        mean = drawn[labels == label].mean()
        assert np.abs(drawn[labels == label] - mean).max() < 5 * np.sqrt(mean)


def test_shuffle_draws_every_example_once_an_epoch():
    plan, _ = plan_of(schema.Shuffle())
    np.testing.assert_array_equal(np.sort(plan, axis=1), np.tile(np.arange(N), (EPOCHS, 1)))


def rounds(plan: np.ndarray, size: int) -> list[Counter]:
    """The complete pieces of `size` draws, each a permutation of one index set if the stream is right."""
    complete = plan.size // size
    return [Counter(piece) for piece in plan.ravel()[: complete * size].reshape(complete, size).tolist()]


def test_oversample_streams_permutations_of_one_set_that_holds_every_example():
    plan, labels = plan_of(schema.Oversample())
    pieces = rounds(plan, int(COUNTS.max()) * len(COUNTS))
    assert len(pieces) > 3
    assert all(piece == pieces[0] for piece in pieces)
    assert set(pieces[0]) == set(range(N))
    assert np.bincount(labels[list(pieces[0].elements())]).tolist() == [67, 67, 67]


def test_undersample_streams_permutations_of_one_set_of_distinct_examples():
    plan, labels = plan_of(schema.Undersample())
    pieces = rounds(plan, int(COUNTS.min()) * len(COUNTS))
    assert all(piece == pieces[0] for piece in pieces)
    assert set(pieces[0].values()) == {1}
    assert np.bincount(labels[list(pieces[0])]).tolist() == [5, 5, 5]


def test_undersample_orders_each_round_afresh():
    stream = plan_of(schema.Undersample())[0].ravel()
    assert stream[:15].tolist() != stream[15:30].tolist()


def test_class_balanced_exponents_of_a_seed_share_their_random_numbers():
    """The same uniform numbers choose the draws, so that close exponents give close plans."""
    plans = {exponent: plan_of(schema.ClassBalanced(exponent=exponent))[0] for exponent in (0.5, 0.501, 1.0)}
    near = (plans[0.5] == plans[0.501]).mean()
    assert (plans[0.5] == plans[1.0]).mean() < near < 1
    assert near > 0.9


def test_smote_keeps_the_examples_and_fills_every_class_up():
    split = toy_split()
    features, labels = training_rows(schema.Smote(neighbors=3), split, seed=0)
    np.testing.assert_array_equal(features[:N], split.train_features)
    np.testing.assert_array_equal(labels[:N], split.train_labels)
    assert np.bincount(labels).tolist() == [67, 67, 67]


def test_smote_points_lie_between_two_examples_of_their_class():
    split = toy_split()
    features, labels = training_rows(schema.Smote(neighbors=3), split, seed=0)
    for point, label in zip(features[N:].astype(float), labels[N:], strict=True):
        own = split.train_features[split.train_labels == label].astype(float)
        to_point = np.linalg.norm(own - point, axis=1)
        between = np.linalg.norm(own[:, None] - own[None, :], axis=2)
        detour = to_point[:, None] + to_point[None, :] - between
        assert detour[~np.eye(len(own), dtype=bool)].min() < 1e-4


def test_smote_hangs_on_the_seed():
    first, second = (training_rows(schema.Smote(neighbors=3), toy_split(), seed=seed)[0] for seed in (0, 1))
    assert not np.isclose(first[N:], second[N:]).all(axis=1).any()


def test_smote_lowers_its_neighbors_to_the_smallest_class_and_says_so():
    with pytest.warns(UserWarning, match=r"lowered from 9 to 4: class 1 has 5 training rows"):
        lowered, _ = training_rows(schema.Smote(neighbors=9), toy_split(), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact, _ = training_rows(schema.Smote(neighbors=4), toy_split(), seed=0)
        fewer, _ = training_rows(schema.Smote(neighbors=1), toy_split(), seed=0)
    np.testing.assert_array_equal(lowered, exact)
    assert not np.array_equal(lowered, fewer)


def test_smote_needs_two_rows_a_class():
    with pytest.raises(UserError, match="class 1, which has 1 training row"):
        training_rows(schema.Smote(), toy_split(np.array([11, 1, 5])), seed=0)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "smote"])
def test_other_samplers_point_into_the_training_part_itself(name):
    split = toy_split()
    features, labels = training_rows(SAMPLERS[name][0], split, seed=0)
    assert features is split.train_features
    assert labels is split.train_labels
