"""Rows with weights: what their loss is, that every engine has it, and what weights are the same as."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from replicate_runs import (
    EPOCHS,
    Curves,
    config,
    fill,
    fleet_curves,
    focal,
    make_fleet,
    make_native_fleet,
    mlp,
    replicate,
    solo_curves,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from test_cells import PLAIN
from test_fleet import SMOOTHED, TUMOURS, fraction, ratio
from test_one_step import DESCENT

from lossfleet.conf.parts import named_part, part_names
from lossfleet.conf.schema import Config, choose
from lossfleet.conf.searching import Search
from lossfleet.losses.weights import power_weights
from lossfleet.runners.data.splits import Split
from lossfleet.runners.training.references import evaluate_reference, takes_weights
from lossfleet.runners.training.replicate import Replicate, ReplicateFactory, Rows, make_replicate
from lossfleet.runners.training.solo import train_solo


@cache
def factory(data: str) -> ReplicateFactory:
    """Of a data set whose rows count up to sixteen times as much as others."""
    made = ReplicateFactory(choose("data", data))
    weights = np.exp2(np.random.default_rng(5).uniform(-2, 2, len(made.dataset.labels)))
    made.dataset = replace(made.dataset, weights=weights)
    return made


def weighed(made: Config, seed: int = 5, split: int = 2) -> Replicate:
    return factory(made.data.name).replicate(made, seed=seed, split=split)


# ---- the definition, and one engine against the other ----------------------------------------------------------

FOCAL = config(focal(2.0, tau=0.5), mining=fraction(0.6), model=mlp(), optimizer=DESCENT, batch_size=60)


def defined_logits(each: Replicate) -> np.ndarray:
    """Logits (C, N) of the validation part after an epoch of gradient descent on the definition in float64.

    The loss of an example is its weight, of mean 1 over the training part, times n_c^-tau (1 - p)^gamma log p, n_c the
    sum of the weights of a class; of these losses the 60 % highest count.
    """
    assert each.weights is not None
    counts = np.bincount(each.labels, each.weights.astype(float))
    class_weight = power_weights(counts, tau=0.5)
    class_weight *= counts.sum() / (class_weight @ counts)

    def objective(logits: np.ndarray, labels: np.ndarray, own: np.ndarray) -> float:
        exponentials = np.exp(logits - logits.max(0))
        p = (exponentials / exponentials.sum(0))[labels, np.arange(len(labels))]
        losses = -own * class_weight[labels] * (1 - p) ** 2 * np.log(p)
        return float(np.sort(losses)[-int(np.ceil(0.6 * len(losses))) :].mean())

    ((weight, bias),) = (tuple(map(np.float64, arrays)) for arrays in each.initial)
    size = each.config.batch_size
    for first in range(0, len(each.plan[0]), size):
        rows = each.plan[0][first : first + size]
        examples, labels, own = each.features[rows].astype(float), each.labels[rows], each.weights[rows]
        logits = weight @ examples.T + bias[:, None]
        slope = np.zeros(logits.shape)
        for place in np.ndindex(logits.shape):
            step = np.zeros(logits.shape)
            step[place] = 1e-6
            difference = objective(logits + step, labels, own) - objective(logits - step, labels, own)
            slope[place] = difference / 2e-6
        weight, bias = weight - slope @ examples, bias - slope.sum(1)
    return weight @ each.split.validation_features.T + bias[:, None]


def test_every_engine_descends_by_the_gradient_of_the_definition():
    each, other = weighed(FOCAL), weighed(FOCAL, seed=6)
    assert each.weights is not None
    assert each.weights.mean() == pytest.approx(1, abs=1e-6)
    assert each.weights.max() > 8 * each.weights.min()
    expected = defined_logits(each)
    uncounted = replicate(FOCAL, seed=5, split=2)
    solo = next(train_solo(each)).logits(each.split.validation_features)
    without = next(train_solo(uncounted)).logits(each.split.validation_features)
    assert np.abs(without - expected).max() > 1e-2
    found = [solo]
    for made in (make_fleet([each, other]), make_native_fleet([each, other])):
        fleet = fill(made, [other, each])
        fleet.train_epoch()
        found.append(fleet.logits("validation")[1])
    for logits in found:
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


MEMBERS = {
    "fraction": config(focal(2.0, tau=0.5), mining=fraction(0.6)),
    "smote": config(focal(1.0), "smote", mining=fraction(0.4)),
    "ratio": config(focal(1.0, alpha=0.9), mining=ratio(0.5), data=TUMOURS),
    # A loss that multiplies by class weights itself.
    "cell": config(SMOOTHED, model=PLAIN, mining=fraction(0.6)),
}


@cache
def alone(name: str) -> Curves:
    return solo_curves(weighed(MEMBERS[name]))


@pytest.mark.parametrize("names", [("fraction", "smote"), ("cell",)], ids=["fleet", "cell"])
def test_weighted_rows_train_in_graphs_as_they_do_alone(names):
    replicates = [weighed(MEMBERS[name]) for name in names]
    check(fleet_curves(make_fleet(replicates), replicates), names)


@pytest.mark.parametrize("name", ["fraction", "smote", "ratio"])
def test_weighted_rows_train_natively_as_they_do_alone(name):
    replicates = [weighed(MEMBERS[name])]
    check(fleet_curves(make_native_fleet(replicates), replicates), (name,))


def check(found: Curves, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        for curves, expected in zip(found, alone(name), strict=True):
            np.testing.assert_allclose(curves[index], expected, rtol=1e-4)


# ---- identities ------------------------------------------------------------------------------------------------


def with_weights(made: Config, weights: np.ndarray, **settings: Any) -> Replicate:
    """A replicate of a data set with these weights."""
    other = ReplicateFactory(made.data)
    other.dataset = replace(other.dataset, weights=weights)
    return other.replicate(made, **settings)


def trained(each: Replicate) -> np.ndarray:
    fleet = fill(make_native_fleet([each]), [each])
    for _ in range(EPOCHS):
        fleet.train_epoch()
    return fleet.logits("test")


@pytest.mark.parametrize("sampler", ["shuffle", "smote"])
def test_equal_weights_are_none_to_the_bit(sampler):
    made = config(focal(2.0, tau=0.5), sampler, mining=fraction(0.6))
    plain, doubled = replicate(made), with_weights(made, np.full(178, 2.0), seed=0, split=0)
    for name, values in plain.given.items():
        np.testing.assert_array_equal(doubled.given[name], values)
    np.testing.assert_array_equal(trained(doubled), trained(plain))


def test_whole_weights_are_repeated_rows():
    """One step on all rows at once; so are the class weights, counts and priors."""
    made = config(focal(2.0, tau=0.5), model=mlp(7), optimizer=DESCENT, batch_size=400)
    plain = replicate(made)
    times = np.random.default_rng(1).integers(0, 5, len(plain.labels))
    repeated = np.repeat(np.arange(len(plain.labels)), times)

    def of(rows: np.ndarray, weights: np.ndarray | None) -> Replicate:
        features, labels = plain.features[rows], plain.labels[rows]
        own = None if weights is None else weights / weights.mean()
        split = replace(
            plain.split,
            train_features=features,
            train_labels=labels,
            class_counts=np.bincount(labels),
            train_weights=own,
            draws=len(rows),
        )
        plan = np.arange(len(rows), dtype=np.int32)[None]
        of_rows = Rows(features, labels, None if own is None else own.astype(np.float32))
        return make_replicate(made, split, of_rows, plan, seed=0, split_number=0, key=(len(rows),))

    once, often = of(np.arange(len(plain.labels)), times), of(repeated, None)
    np.testing.assert_allclose(once.given["class_weight"], often.given["class_weight"], rtol=1e-5)
    np.testing.assert_allclose(once.given["class_prior"], often.given["class_prior"], rtol=1e-6)
    found = []
    for each in (once, often):
        fleet = fill(make_native_fleet([each]), [each])
        losses = fleet.train_epoch()
        found.append((losses, fleet.logits("validation")))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)
    # A row that weighs nothing has no influence.
    nothing = np.flatnonzero(times == 0)
    once.rows.features[nothing] = 1e3
    fleet = fill(make_native_fleet([once]), [once])
    np.testing.assert_array_equal(fleet.train_epoch(), found[0][0])
    np.testing.assert_array_equal(fleet.logits("validation"), found[0][1])


# ---- references ------------------------------------------------------------------------------------------------


def test_references_are_fitted_and_measured_with_weights():
    made = factory("wine")
    record = evaluate_reference(named_part("reference", "logistic"), made, [(100, 1000)], Search())
    split: Split = made.split(100, 1000)
    model = LogisticRegression(class_weight="balanced", max_iter=1000, random_state=100)
    model.fit(split.train_features, split.train_labels, sample_weight=split.train_weights)
    probabilities = model.predict_proba(split.test_features)
    labels, weights = split.test_labels, split.test_weights
    expected = {
        "test_balanced_accuracy": balanced_accuracy_score(
            labels, probabilities.argmax(1), sample_weight=weights
        ),
        "test_log_loss": log_loss(labels, probabilities, sample_weight=weights),
        "test_roc_auc": roc_auc_score(labels, probabilities, multi_class="ovr", sample_weight=weights),
    }
    (measured,) = record.replicates
    assert {name: measured.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert measured.metrics["test_rows"] == len(labels)


def test_what_takes_no_weights_is_known():
    taking = [name for name in part_names("reference") if takes_weights(named_part("reference", name))]
    assert taking == ["balanced_random_forest", "dummy", "hist_gradient_boosting", "logistic"]
