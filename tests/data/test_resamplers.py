"""Samplers that are classes of imbalanced-learn, or of its kind: rows that they select are drawn, those made too."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from imblearn.over_sampling import SVMSMOTE
from imblearn.under_sampling import NearMiss, RandomUnderSampler, TomekLinks
from toy_tables import split_of

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.runners import streams
from lossfleet.runners.data.samplers import index_plan, makes_rows, training_rows

SEED = 5
STATE = streams.random_state(streams.Stream.RESAMPLE, SEED)


def target(name: str, **settings: object) -> Part:
    return Part("sampler", "theirs", f"imblearn.{name}", tuple(settings.items()))


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (target("under_sampling.TomekLinks"), TomekLinks()),
        (target("under_sampling.NearMiss", version=2), NearMiss(version=2)),
        (target("under_sampling.RandomUnderSampler"), RandomUnderSampler(random_state=STATE)),
    ],
)
def test_a_class_that_selects_rows_draws_them(sampler, expected):
    split = split_of()
    assert not makes_rows(sampler)
    features, labels = training_rows(sampler, split, seed=SEED)
    assert features is split.train_features
    plan = index_plan(sampler, split.draws, features, labels, seed=SEED, epochs=7)
    assert plan.shape == (7, split.draws)
    expected.fit_resample(split.train_features, split.train_labels)
    assert set(plan.ravel()) == set(expected.sample_indices_)
    first = plan.ravel()[: len(expected.sample_indices_)]
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("kinds", ["numbers", "numbers words gaps"])
def test_a_class_that_makes_rows_makes_whole_ones(kinds):
    split = split_of(kinds)
    sampler = target("over_sampling.SVMSMOTE", k_neighbors=4, random_state=None)
    assert makes_rows(sampler)
    features, labels = training_rows(sampler, split, seed=SEED)
    stock = SVMSMOTE(k_neighbors=4, random_state=STATE)
    expected, expected_labels = stock.fit_resample(split.train_features, split.train_labels)
    np.testing.assert_array_equal(labels, expected_labels)
    numbers = slice(None) if split.categories is None else [0, 1, 2]
    np.testing.assert_array_equal(features[:, numbers], expected[:, numbers])
    if split.categories is not None:
        for places in split.categories.words:
            np.testing.assert_array_equal(features[:, places].max(axis=1), 1)
            np.testing.assert_array_equal(features[:, places].sum(axis=1), 1)


def test_a_class_checks_its_settings_itself():
    # By its default this would be a text.
    assert target("under_sampling.NearMiss", sampling_strategy=0.5)["sampling_strategy"] == 0.5
    with pytest.raises(UserError, match="takes categorical_features, which has no value"):
        target("over_sampling.SMOTENC")


THEIRS = """
class NoSampler:
    pass

class Loses:
    def __init__(self, keep=2):
        self.keep = keep

    def fit_resample(self, X, y):
        return X[y < self.keep], y[y < self.keep]
"""


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (
            ("imblearn.over_sampling.KMeansSMOTE", ("cluster_balance_threshold", 0.99)),
            "sampler=theirs fails: ",
        ),
        (("imblearn.over_sampling.SMOTE", ("k_neighbors", 0)), "k_neighbors"),
        (("their_samplers.Loses", ("keep", 1)), "leaves no row of class 'b', 'c'"),
        (("their_samplers.NoSampler",), "a class without fit_resample"),
    ],
)
def test_a_class_that_cannot_resample_is_refused(sampler, said, tmp_path, monkeypatch):
    (tmp_path / "their_samplers.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_samplers", raising=False)
    name, *settings = sampler
    with pytest.raises(UserError) as caught:
        training_rows(Part("sampler", "theirs", name, tuple(settings)), split_of(), seed=SEED)
    assert said in caught.value.what
    if "fit_resample" not in said:
        assert "sampler=oversample" in caught.value.hint
