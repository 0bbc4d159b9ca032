"""Second stages and ensembles: slots equal solo training on stock layers, and each does what its definition says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from replicate_runs import (
    CROSS_ENTROPY,
    EPOCHS,
    Curves,
    check_recall,
    config,
    fill,
    fleet_curves,
    focal,
    mlp,
    replicate,
    shape_of_replicate,
    solo_curves,
)
from scipy.special import log_softmax, softmax

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.conf.schema import Config
from lossfleet.runners.models.layers import Dense, Layer, ReLU
from lossfleet.runners.training.build import build_slots
from lossfleet.runners.training.ensembles import members_of
from lossfleet.runners.training.replicate import Replicate
from lossfleet.runners.training.slots import Slots
from lossfleet.runners.training.solo import train_solo


def stage(name: str, **settings: Any) -> Part:
    return named_part("second_stage", name, **settings)


CASES = {
    "crt": config(focal(1.0, tau=0.5), second_stage=stage("crt", share=0.4)),
    "crt, dropout and sgd": config(
        model=mlp(13, 11, dropout=0.2),
        optimizer=named_part("optimizer", "sgd", lr=0.1),
        schedule=named_part("schedule", "cosine"),
        second_stage=stage("crt", share=0.3),
    ),
    "crt of one layer": config(model=named_part("model", "logistic"), second_stage=stage("crt")),
    "lws": config(second_stage=stage("lws", share=0.5)),
    "tau_norm": config(second_stage=stage("tau_norm", tau=0.7)),
    "under-bagging": config(sampler="undersample", members=3),
    "bagged mixup": config(mixing=named_part("mixing", "mixup"), model=mlp(13, dropout=0.2), members=2),
    "crt, smote, bagged": config(sampler="smote", members=2, second_stage=stage("crt")),
}
# Compiled graphs take seconds: the wrappers are the same, and the layers have tests of their own.
IN_GRAPHS = ("crt, dropout and sgd", "lws")


def slots_of(each: Replicate, *, native: bool = True, slots: int = 2) -> Slots:
    shape = shape_of_replicate(each)
    return build_slots(shape, native=native, slots=slots, pages=8, page_rows=700, evaluation_rows=150)


def trained(made: Config, epochs: int = EPOCHS) -> Slots:
    found = fill(slots_of(replicate(made), slots=1), [replicate(made)])
    for _ in range(epochs):
        found.train_epoch()
    return found


@pytest.mark.parametrize(("name", "epoch"), [("crt", 2), ("crt", 5), ("tau_norm", 2), ("under-bagging", 2)])
def test_what_was_remembered_is_recalled(name, epoch):
    """Of two stages the first ends with epoch 4."""
    replicates = [replicate(CASES[name], seed=seed) for seed in (0, 1)]
    check_recall(slots_of(replicates[0]), replicates, epoch, EPOCHS)


@pytest.mark.parametrize(
    ("name", "native"), [*((name, True) for name in CASES), *((name, False) for name in IN_GRAPHS)]
)
def test_slots_equal_solo_training(name, native):
    each = replicate(CASES[name])
    slots = slots_of(each, native=native)
    found = fleet_curves(slots, [each])
    assert slots.engine(0) == ("native" if native else "graph")
    for (ours,), solo in zip(found, solo_of(name), strict=True):
        np.testing.assert_allclose(ours, solo, rtol=0, atol=1e-4)


@cache
def solo_of(name: str) -> Curves:
    return solo_curves(replicate(CASES[name]))


def test_every_second_stage_has_a_case():
    covered = {made.second_stage.name for made in CASES.values()}
    assert covered == set(part_names("second_stage"))


def test_slots_are_taken_again_whatever_the_stage_that_is_left():
    made = CASES["crt"]
    once = trained(made).logits("test")[0]
    slots = fill(slots_of(replicate(made), slots=1), [replicate(made, seed=5)])
    for epochs in (2, 5):
        for _ in range(epochs):
            slots.train_epoch()
        slots.leave(0)
        assert slots.taken_slots() == []
        slots.enter(0, replicate(made, seed=5))
    slots.leave(0)
    slots.enter(0, replicate(made))
    for _ in range(EPOCHS):
        slots.train_epoch()
    np.testing.assert_array_equal(slots.logits("test")[0], once)


def test_retraining_leaves_the_body_and_begins_the_head_anew():
    first, whole = trained(CASES["crt"], 4), trained(CASES["crt"])
    (before,), (after,) = first.networks(0), whole.networks(0)
    assert first.epochs.tolist() == [4]
    for ours, theirs in zip(before[:-1], after[:-1], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.abs(before[-1][0] - after[-1][0]).max() > 0.1


def test_a_model_of_one_layer_is_retrained_as_if_it_had_been_trained_on_balanced_draws_alone():
    found = trained(CASES["crt of one layer"])
    share = CASES["crt of one layer"].second_stage["share"]
    made = config(model=named_part("model", "logistic"), sampler="class_balanced")
    expected = trained(made, round(share * EPOCHS))
    np.testing.assert_allclose(found.logits("test"), expected.logits("test"), rtol=0, atol=1e-6)


def test_learned_scales_multiply_the_logits_of_the_first_stage():
    first, whole = trained(CASES["lws"], 3), trained(CASES["lws"])
    factors = whole.logits("test")[0] / first.logits("test")[0]
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-3)
    assert np.abs(factors[:, 0] - 1).max() > 1e-3


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_normalised_heads_by_their_definition(tau):
    plain, found = trained(config()), trained(config(second_stage=stage("tau_norm", tau=tau)))
    (network,) = plain.networks(0)
    length = np.linalg.norm(network[-1][0].astype(np.float64), axis=1)
    expected = plain.logits("test")[0] / length[:, None] ** tau
    np.testing.assert_allclose(found.logits("test")[0], expected, rtol=1e-5, atol=1e-6)
    (normalised,) = found.networks(0)
    np.testing.assert_allclose(
        np.linalg.norm(normalised[-1][0], axis=1), length ** (1 - tau), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["crt", "lws", "tau_norm", "crt, smote, bagged"])
def test_networks_give_the_logits(name):
    found = trained(CASES[name], 5)
    features = found.features(0, "test", (2, 5))
    probabilities = np.mean(
        [softmax(forward(network, features), axis=1) for network in found.networks(0)], axis=0
    )
    logits = found.logits("test", [0], (2, 5))[0].T
    np.testing.assert_allclose(softmax(logits, axis=1), probabilities, rtol=0, atol=1e-6)
    unshuffled = found.logits("test")[0].T
    assert np.abs(logits - unshuffled).max() > 0.1


def forward(network: list, features: np.ndarray) -> np.ndarray:
    """Logits (N, C) of dense layers with ReLU between them, in float64."""
    outputs = features.astype(np.float64)
    for weight, bias in [arrays for arrays in network if arrays][:-1]:
        outputs = np.maximum(outputs @ weight.T + bias, 0)
    weight, bias = network[-1]
    return outputs @ weight.T + bias


def test_members_of_an_ensemble_share_the_draws_and_undersample_for_themselves():
    each = replicate(config(sampler="undersample", data="breast_cancer", members=4))
    members = members_of(each)
    assert [member.plan.shape for member in members] == [(EPOCHS, 86)] * 4
    assert 4 * 86 - each.split.draws in range(4)
    counts = each.split.class_counts
    drawn = [set(member.plan.ravel().tolist()) for member in members]
    for member, rows in zip(members, drawn, strict=True):
        labels = each.split.train_labels[sorted(rows)]
        assert np.bincount(labels).tolist() == [counts.min()] * 2
        of_draws = np.bincount(each.split.train_labels[member.plan.ravel()])
        assert np.ptp(of_draws) <= counts.min()
    assert len(set.union(*drawn)) > 1.2 * len(drawn[0])
    first = [member.initial[0][0] for member in members]
    assert np.abs(first[0] - first[1]).max() > 0.1
    # Another split or seed of the search has other members.
    other = replicate(each.config, seed=1)
    assert not np.array_equal(other.plan, each.plan)


def test_an_ensemble_answers_with_the_mean_of_its_members_probabilities():
    found = trained(CASES["under-bagging"])
    members = [np.exp(log_softmax(each, axis=0)) for each in found.single.logits("validation")]
    expected = np.log(np.mean(members, axis=0))
    np.testing.assert_allclose(found.logits("validation")[0], expected, rtol=0, atol=1e-5)


def test_an_ensemble_diverges_with_any_of_its_members():
    found = fill(slots_of(replicate(CASES["under-bagging"])), [replicate(CASES["under-bagging"])])
    found.single._members[1].parameters[:] = np.nan
    losses = found.train_epoch()
    assert np.isnan(losses[0])


def test_images_are_retrained_behind_their_convolutions():
    made = config(
        data="digits",
        model=named_part("model", "resnet_tiny", channels=(3,)),
        batch_size=256,
        second_stage=stage("crt", share=0.5),
    )
    each = replicate(made)
    shape = shape_of_replicate(each, image_shape=each.split.image_shape)
    slots = fill(
        build_slots(shape, native=True, slots=1, pages=1, page_rows=2000, evaluation_rows=400), [each]
    )
    for _ in range(EPOCHS):
        slots.train_epoch()
    *_, progress = train_solo(each)
    expected = progress.logits(each.split.test_features)
    np.testing.assert_allclose(slots.logits("test")[0], expected, rtol=0, atol=1e-4)


def headless(features: int, classes: int) -> list[Layer]:
    return [Dense(features, classes), ReLU()]


@pytest.mark.parametrize("name", ["crt", "lws", "tau_norm"])
def test_a_model_without_a_dense_head_is_refused(name):
    model = Part("model", "headless", f"{__name__}.headless")
    with pytest.raises(UserError, match="the last of which is Dense"):
        slots_of(replicate(config(model=model, second_stage=stage(name))))


@pytest.mark.parametrize(("share", "epochs"), [(0.95, 6), (0.3, 1)])
def test_a_share_that_leaves_no_epoch_is_refused_and_the_mend_works(share, epochs):
    budget = config().budget.__class__(epochs=epochs, rungs=1)
    with pytest.raises(UserError, match="an epoch at least for the first stage") as caught:
        Config("x", config().data, CROSS_ENTROPY, second_stage=stage("crt", share=share), budget=budget)
    mended = {"second_stage.share": share, "budget.epochs": epochs}
    key, value = caught.value.hint.removeprefix("write ").split("=")
    mended[key] = float(value)
    assert round(mended["second_stage.share"] * mended["budget.epochs"]) < mended["budget.epochs"]
