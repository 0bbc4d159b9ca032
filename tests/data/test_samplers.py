"""Samplers: one table, every property for every row, then what is particular to each."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter

import numpy as np
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.runners.data.filling import tell_once
from lossfleet.runners.data.samplers import index_plan, makes_rows, training_rows
from lossfleet.runners.data.splits import Split

COUNTS = np.array([67, 5, 29])
N = int(COUNTS.sum())
EPOCHS = 13
FEATURES = 7


def sampler(name: str, **settings) -> Part:
    return named_part("sampler", name, **settings)


# A sampler and the share of each class among its draws, as a function of the class counts.
SAMPLERS = {
    "shuffle": (sampler("shuffle"), lambda n: n / n.sum()),
    "oversample": (sampler("oversample"), lambda n: np.full(len(n), 1 / len(n))),
    "undersample": (sampler("undersample"), lambda n: np.full(len(n), 1 / len(n))),
    "class_balanced": (sampler("class_balanced"), lambda n: np.full(len(n), 1 / len(n))),
    "class_balanced_half": (sampler("class_balanced", exponent=0.5), lambda n: n**0.5 / (n**0.5).sum()),
    "class_balanced_none": (sampler("class_balanced", exponent=0.0), lambda n: n / n.sum()),
    "smote": (sampler("smote", neighbors=3), lambda n: np.full(len(n), 1 / len(n))),
    "smotenc": (sampler("smotenc", neighbors=3), lambda n: np.full(len(n), 1 / len(n))),
    # Classes of these data lie apart: only of the 5 rows of one there are others among 10 neighbours, of none among 3.
    "borderline_smote": (
        sampler("borderline_smote", neighbors=3),
        lambda n: n[[0, 0, 2]] / n[[0, 0, 2]].sum(),
    ),
    "adasyn": (sampler("adasyn", neighbors=3), lambda n: n / n.sum()),
    "smote_tomek": (sampler("smote_tomek", neighbors=3), lambda n: np.full(len(n), 1 / len(n))),
    "smote_enn": (sampler("smote_enn", neighbors=3), lambda n: np.full(len(n), 1 / len(n))),
}
# The first digits of SHA-256 of the first samplers' plan and rows at seed 5, as they were published: never change them.
PUBLISHED = {
    "shuffle": ("88ce35ecebe9dc41", "9a82ff25aac3d612"),
    "oversample": ("a39b0253085a95b1", "9a82ff25aac3d612"),
    "undersample": ("0dc4a49cfd59e0f1", "9a82ff25aac3d612"),
    "class_balanced": ("6d2bd1ffa284493b", "9a82ff25aac3d612"),
    "class_balanced_half": ("2831648b7f64dcf5", "9a82ff25aac3d612"),
    "class_balanced_none": ("efc2a2b00d077720", "9a82ff25aac3d612"),
    "smote": ("a4f10ae7b495e256", "7935f7d77d6e86c5"),
}
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def toy_split(counts=COUNTS) -> Split:
    random = np.random.default_rng(2)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    features = (random.normal(size=(len(labels), FEATURES)) + 10 * labels[:, None]).astype(np.float32)
    features.flags.writeable = labels.flags.writeable = False
    counts = np.asarray(counts)
    return Split(
        features,
        labels,
        features,
        labels,
        features,
        labels,
        np.arange(len(labels)),
        counts,
        rarest_class=int(counts.argmin()),
        draws=len(labels),
    )


def plan_of(part: Part, *, seed=0, epochs=EPOCHS) -> tuple[np.ndarray, np.ndarray]:
    features, labels = training_rows(part, toy_split(), seed=seed)
    labels.flags.writeable = False
    return index_plan(part, N, features, labels, seed=seed, epochs=epochs), labels


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(each.tobytes() for each in arrays)).hexdigest()[:16]


def test_the_table_has_every_sampler():
    assert {part.name for part, _ in SAMPLERS.values()} == set(part_names("sampler"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_are_those_that_were_published(name):
    plan, _ = plan_of(SAMPLERS[name][0], seed=5)
    rows = training_rows(SAMPLERS[name][0], toy_split(), seed=5)
    assert (digest(plan), digest(*rows)) == PUBLISHED[name]


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
    part, shares = SAMPLERS[name]
    epochs = 211
    plan, labels = plan_of(part, epochs=epochs)
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
    plan, _ = plan_of(sampler("shuffle"))
    np.testing.assert_array_equal(np.sort(plan, axis=1), np.tile(np.arange(N), (EPOCHS, 1)))


def rounds(plan: np.ndarray, size: int) -> list[Counter]:
    """The complete pieces of `size` draws, each a permutation of one index set if the stream is right."""
    complete = plan.size // size
    return [Counter(piece) for piece in plan.ravel()[: complete * size].reshape(complete, size).tolist()]


def test_oversample_streams_permutations_of_one_set_that_holds_every_example():
    plan, labels = plan_of(sampler("oversample"))
    pieces = rounds(plan, int(COUNTS.max()) * len(COUNTS))
    assert len(pieces) > 3
    assert all(piece == pieces[0] for piece in pieces)
    assert set(pieces[0]) == set(range(N))
    assert np.bincount(labels[list(pieces[0].elements())]).tolist() == [67, 67, 67]


def test_undersample_streams_permutations_of_one_set_of_distinct_examples():
    plan, labels = plan_of(sampler("undersample"))
    pieces = rounds(plan, int(COUNTS.min()) * len(COUNTS))
    assert all(piece == pieces[0] for piece in pieces)
    assert set(pieces[0].values()) == {1}
    assert np.bincount(labels[list(pieces[0])]).tolist() == [5, 5, 5]


def test_undersample_orders_each_round_afresh():
    stream = plan_of(sampler("undersample"))[0].ravel()
    assert stream[:15].tolist() != stream[15:30].tolist()


def test_class_balanced_exponents_of_a_seed_share_their_random_numbers():
    """The same uniform numbers choose the draws, so that close exponents give close plans."""
    plans = {
        exponent: plan_of(sampler("class_balanced", exponent=exponent))[0] for exponent in (0.5, 0.501, 1.0)
    }
    near = (plans[0.5] == plans[0.501]).mean()
    assert (plans[0.5] == plans[1.0]).mean() < near < 1
    assert near > 0.9


def test_smote_keeps_the_examples_and_fills_every_class_up():
    split = toy_split()
    features, labels = training_rows(sampler("smote", neighbors=3), split, seed=0)
    np.testing.assert_array_equal(features[:N], split.train_features)
    np.testing.assert_array_equal(labels[:N], split.train_labels)
    assert np.bincount(labels).tolist() == [67, 67, 67]


def test_smote_points_lie_between_two_examples_of_their_class():
    split = toy_split()
    features, labels = training_rows(sampler("smote", neighbors=3), split, seed=0)
    for point, label in zip(features[N:].astype(float), labels[N:], strict=True):
        own = split.train_features[split.train_labels == label].astype(float)
        to_point = np.linalg.norm(own - point, axis=1)
        between = np.linalg.norm(own[:, None] - own[None, :], axis=2)
        detour = to_point[:, None] + to_point[None, :] - between
        assert detour[~np.eye(len(own), dtype=bool)].min() < 1e-4


def test_smote_hangs_on_the_seed():
    first, second = (
        training_rows(sampler("smote", neighbors=3), toy_split(), seed=seed)[0] for seed in (0, 1)
    )
    assert not np.isclose(first[N:], second[N:]).all(axis=1).any()


def test_smote_lowers_its_neighbors_to_the_smallest_class_and_says_so_once(capsys):
    tell_once.cache_clear()
    lowered, _ = training_rows(sampler("smote", neighbors=9), toy_split(), seed=0)
    assert "lowered from 9 to 4: class 1 has 5 training rows" in capsys.readouterr().err
    exact, _ = training_rows(sampler("smote", neighbors=4), toy_split(), seed=0)
    fewer, _ = training_rows(sampler("smote", neighbors=1), toy_split(), seed=0)
    training_rows(sampler("smote", neighbors=9), toy_split(), seed=0)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(lowered, exact)
    assert not np.array_equal(lowered, fewer)


def test_smote_needs_two_rows_a_class():
    with pytest.raises(UserError, match="class 1, which has 1 training row"):
        training_rows(sampler("smote"), toy_split(np.array([11, 1, 5])), seed=0)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if not makes_rows(SAMPLERS[name][0])])
def test_other_samplers_point_into_the_training_part_itself(name):
    split = toy_split()
    features, labels = training_rows(SAMPLERS[name][0], split, seed=0)
    assert features is split.train_features
    assert labels is split.train_labels


USERS = """
import numpy as np

def last(labels, draws):
    return np.full(draws, len(labels) - 1)

def short(labels, draws):
    return np.zeros(draws - 1, int)

def beyond(labels, draws):
    return np.full(draws, len(labels))

def doubled(features, labels, random_state, copies: int = 2):
    return np.repeat(features, copies, axis=0), np.repeat(labels, copies)

def labels_alone(features, labels):
    return labels
"""


def users(name: str, **settings) -> Part:
    return Part("sampler", name, f"users_samplers.{name}", tuple(settings.items()))


@pytest.fixture
def users_module(tmp_path, monkeypatch):
    (tmp_path / "users_samplers.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_samplers", raising=False)


def test_a_users_function_draws(users_module):
    plan, _ = plan_of(users("last"))
    assert plan.shape == (EPOCHS, N)
    assert set(plan.ravel()) == {N - 1}


def test_a_users_function_makes_rows(users_module):
    features, labels = training_rows(users("doubled", copies=3), toy_split(), seed=0)
    assert (features.shape, features.dtype, labels.dtype) == ((3 * N, FEATURES), np.float32, np.int32)
    plan = index_plan(users("doubled", copies=3), N, features, labels, seed=0, epochs=3)
    assert sorted(plan.ravel()) == list(range(3 * N))


@pytest.mark.parametrize(
    ("name", "said"),
    [("short", "1312"), ("beyond", "indices from 101 to 101"), ("labels_alone", "shapes [(101,)]")],
)
def test_what_a_users_function_returns_is_checked(name, said, users_module):
    with pytest.raises(UserError) as caught:
        plan_of(users(name))
    assert said in caught.value.what
    assert "users_samplers.py, line" in caught.value.hint
