"""Both fleets against their oracle, the solo engine on stock layers, and the properties of the fleet's slots."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import mindspore
import numpy as np
import pytest
from replicate_runs import (
    CROSS_ENTROPY,
    EPOCHS,
    Curves,
    adamw,
    check_recall,
    config,
    empty,
    empty_fleet,
    fill,
    fleet_curves,
    focal,
    log_loss,
    make_fleet,
    make_native_fleet,
    mlp,
    replicate,
    shape_of_replicate,
    solo_curves,
    weighted,
)

from lossfleet.conf.parts import Part, named_part
from lossfleet.conf.schema import Budget, Config
from lossfleet.runners.training.replicate import Replicate
from lossfleet.runners.training.shape import FleetShape, shape_of


def fraction(keep: float) -> Part:
    return named_part("mining", "fraction", keep=keep)


def ratio(negatives_per_positive: float) -> Part:
    return named_part("mining", "ratio", negatives_per_positive=negatives_per_positive)


def sgd(**settings: float) -> Part:
    return named_part("optimizer", "sgd", lr=3e-2, weight_decay=1e-2, **settings)


SMOOTHED = named_part("loss", "focal", gamma=1.5, tau=0.5, label_smoothing=0.1)
MIXUP = named_part("mixing", "mixup", alpha=0.5)
COSINE = named_part("schedule", "cosine", warmup=0.25)
ADAM = named_part("optimizer", "adam", lr=1e-2, weight_decay=1e-1)
STEPS = named_part("schedule", "step", gamma=0.3, milestones=(0.4, 0.7), warmup=0.2)
TUMOURS = "breast_cancer"

# A new strategy, model or sampler is one row: it must train in a fleet as it does alone.
MEMBERS = {
    "ce": config(),
    "weighted_ce by tau": config(weighted(tau=1.3)),
    "weighted_ce by given weights": config(weighted(class_weight=(1.0, 5.0, 2.0))),
    "ohem by fraction": config(mining=fraction(0.4)),
    "ohem that keeps all": config(mining=fraction(1.0)),
    "ohem by ratio": config(mining=ratio(3), data=TUMOURS),
    "resampling by oversample": config(sampler="oversample"),
    "resampling by undersample": config(sampler="undersample"),
    "resampling by class_balanced": config(sampler=named_part("sampler", "class_balanced", exponent=0.7)),
    "resampling by smote": config(sampler="smote"),
    "focal at gamma 0": config(focal(0.0)),
    "focal at gamma 0.1": config(focal(0.1)),
    "focal at gamma 2 by tau": config(focal(2.0, tau=0.5)),
    "focal at gamma 5 by alpha": config(focal(5.0, alpha=0.25), data=TUMOURS),
    "focal with mining by tau": config(focal(2.0, tau=0.5), mining=fraction(0.6)),
    "focal with mining by ratio and alpha": config(focal(1.0, alpha=0.9), mining=ratio(0.5), data=TUMOURS),
    "label smoothing with mining": config(SMOOTHED, mining=ratio(2), data=TUMOURS),
    "logit adjustment": config(named_part("loss", "logit_adjusted", tau=1.5, beta=0.9), defer=0.6),
    "balanced softmax": config(named_part("loss", "balanced_softmax")),
    "ldam, deferred weights": config(named_part("loss", "ldam", scale=3.0, tau=1.0), defer=0.5),
    "vector scaling": config(named_part("loss", "vs")),
    "poly-1, one hidden layer": config(
        named_part("loss", "poly1", epsilon=2.0, gamma=0.5, tau=0.5), model=mlp(17)
    ),
    "asymmetric": config(named_part("loss", "asymmetric", tau=0.5), defer=0.3),
    "gradient density": config(named_part("loss", "gradient_density", bins=5)),
    "mixup": config(focal(1.0, tau=0.7), mixing=MIXUP, defer=0.5),
    "remix of oversampled examples": config(sampler="oversample", mixing=named_part("mixing", "remix")),
    "smote, deferred": config(sampler="smote", defer=0.5),
    "no hidden layer, sgd with nesterov": config(
        focal(1.0), model=mlp(), optimizer=sgd(momentum=0.8, nesterov=True)
    ),
    "three hidden layers, sgd with momentum": config(
        focal(1.0), model=mlp(7, 5, 3), optimizer=sgd(momentum=0.8)
    ),
    "layer normalisation and gelu": config(
        focal(1.0), model=Part("model", "normalised", "replicate_runs.normalised")
    ),
    "layers of images": config(
        focal(1.0), data=TUMOURS, model=Part("model", "image", "replicate_runs.image")
    ),
    "dropout": config(focal(1.0), model=mlp(13, 11, dropout=0.3)),
    "dropout of another rate": config(focal(1.0), model=mlp(13, 11, dropout=0.1)),
    "cosine with warm-up": config(focal(1.0), schedule=COSINE),
    "adam in steps with warm-up, clipped": config(optimizer=ADAM, schedule=STEPS, clip_norm=0.6),
    "adam in one cycle, clipped at another norm": config(
        focal(1.0), optimizer=ADAM, schedule=named_part("schedule", "one_cycle"), clip_norm=0.15
    ),
    "batch larger than the data": config(batch_size=113),
}


# How long the engines are held equal.
TEN = Budget(epochs=10, rungs=10)
# A member on one of two seeds, splits and learning rates; the second one keeps it company.
Key = tuple[str, int]


@cache
def member(key: Key) -> Replicate:
    name, turn = key
    made = replace(MEMBERS[name], budget=TEN)
    if turn == 0:
        return replicate(made, seed=5, split=2)
    faster = made.optimizer.replace(lr=made.optimizer["lr"] * 5 / 3)
    return replicate(replace(made, optimizer=faster), seed=1, split=1)


@cache
def solo(key: Key) -> Curves:
    return solo_curves(member(key))


@cache
def fleet_of(shape: FleetShape, slots: int) -> dict[Key, Curves]:
    """The curves of all members of a shape from one fleet, into whose slots they go crew after crew."""
    keys = [(name, turn) for name in MEMBERS for turn in (1, 0)]
    keys = [key for key in keys if shape_of_replicate(member(key)) == shape]
    fleet = empty_fleet([member(keys[0])], slots)
    found = {}
    for first in range(0, len(keys), slots):
        aboard = keys[first : first + slots]
        curves = fleet_curves(fleet, [member(key) for key in aboard])
        for slot, key in enumerate(aboard):
            found[key] = tuple(curve[slot] for curve in curves)
            fleet.leave(slot)
    return found


# Those of these words in a wider fleet.
WIDER = ("by ratio", "dropout", "images")


@pytest.mark.parametrize("name", MEMBERS)
def test_a_fleets_replicate_equals_its_solo_run(name):
    slots = 7 if any(word in name for word in WIDER) else 3
    found = fleet_of(shape_of_replicate(member((name, 0))), slots)
    for curve, expected in zip(found[name, 0], solo((name, 0)), strict=True):
        np.testing.assert_allclose(curve, expected, rtol=1e-4)


# The core does not know their losses.
IN_GRAPHS = ("asymmetric", "gradient density")


@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in IN_GRAPHS])
def test_a_native_replicate_equals_its_solo_run(name):
    company = [member((name, 1)), member((name, 0))]
    for curve, expected in zip(
        fleet_curves(make_native_fleet(company), company), solo((name, 0)), strict=True
    ):
        np.testing.assert_allclose(curve[1], expected, rtol=1e-4)


def test_members_differ():
    replicates = [replicate(config(focal(gamma)), seed=1) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)]
    replicates += [replicate(config(focal(0.0)), seed=seed) for seed in (2, 3)]
    losses, _, _ = fleet_curves(empty_fleet(replicates), replicates)
    assert len(set(losses[:, -1])) == len(replicates)


def test_permuting_the_slots_permutes_the_results():
    gammas = (0.0, 0.3, 1.0, 2.0, 3.0, 4.0, 5.0)
    replicates = [replicate(config(focal(gamma)), seed=k) for k, gamma in enumerate(gammas)]
    order = np.random.default_rng(0).permutation(len(replicates))
    permuted = [replicates[k] for k in order]
    fleet = empty_fleet(replicates)
    losses, _, training = fleet_curves(fleet, replicates)
    empty(fleet)
    permuted_losses, _, permuted_training = fleet_curves(fleet, permuted)
    # Not to the last bit: the vector kernels round the ends of a buffer in another way than its middle.
    np.testing.assert_allclose(permuted_losses, losses[order], rtol=1e-6)
    np.testing.assert_allclose(permuted_training, training[order], rtol=1e-6)
    # Here, where the graphs are compiled.
    check_recall(empty(fleet), replicates)


POISONED = {
    "focal": config(focal(0.5)),
    "ohem": config(mining=fraction(0.4)),
    "label smoothing": config(SMOOTHED),
    "sgd": config(focal(0.5), optimizer=sgd(momentum=0.8)),
}


@pytest.mark.parametrize("name", POISONED)
def test_nan_stays_in_its_slot(name):
    made = POISONED[name]
    healthy = [replicate(made, seed=k) for k in range(5)]
    poisoned = list(healthy)
    # So high a learning rate overflows float32 within an epoch.
    poisoned[2] = replicate(replace(made, optimizer=made.optimizer.replace(lr=1e30)), seed=2)
    fleet = make_fleet(healthy)
    losses, _, training = fleet_curves(fleet, healthy)
    fill(empty(fleet), poisoned)
    poisoned_training, logits = [], []
    for _ in range(EPOCHS):
        poisoned_training.append(fleet.train_epoch())
        logits = fleet.logits("validation")
    poisoned_training = np.array(poisoned_training).T
    assert not np.isfinite(poisoned_training[2, -1])
    assert not np.isfinite(logits[2]).all()
    for k in (0, 1, 3, 4):
        np.testing.assert_array_equal(poisoned_training[k], training[k])
        assert log_loss(logits[k], healthy[k].split.validation_labels) == losses[k, -1]


def test_a_slot_is_reused_without_a_trace_of_its_former_replicate():
    first, second, bystander = (
        replicate(config(focal(gamma)), seed=k) for k, gamma in enumerate((0.5, 2, 1))
    )
    fleet = empty_fleet([first], slots=3)
    before = fleet.epochs[2]
    _, _, alone_training = fleet_curves(fleet, [second])
    empty(fleet)
    fleet.enter(0, first)
    fleet.enter(1, bystander)
    for _ in range(4):
        fleet.train_epoch()
    fleet.leave(0)
    assert fleet.free_slots() == [0, 2]
    fleet.enter(0, second)
    training = np.array([fleet.train_epoch() for _ in range(EPOCHS - 4)])
    np.testing.assert_allclose(training[:, 0], alone_training[0, : EPOCHS - 4], rtol=1e-6)
    assert np.isnan(training[:, 2]).all()
    assert fleet.epochs.tolist() == [EPOCHS - 4, EPOCHS, before]


def test_a_taken_slot_refuses_a_second_replicate():
    each = replicate(config())
    fleet = fill(make_fleet([each]), [each])
    with pytest.raises(ValueError, match="slot 0 is taken"):
        fleet.enter(0, each)


def test_a_fleet_shape_compiles_once():
    replicates = [replicate(config(focal(float(k))), seed=k) for k in range(3)]
    fleet = fill(empty_fleet(replicates), replicates)
    fleet.train_epoch()
    fleet.logits("validation")
    compiled = set(mindspore.graph.api.ms_compile_cache)
    fleet.leave(1)
    others = config(weighted(tau=0.7), "smote", optimizer=adamw(1e-1), schedule=COSINE)
    fleet.enter(1, replicate(others, seed=9, split=4))
    fleet.train_epoch()
    fleet.leave(0)
    fleet.train_epoch()
    fleet.logits("validation")
    assert set(mindspore.graph.api.ms_compile_cache) == compiled


def shape(made: Config) -> FleetShape:
    found = shape_of(made, features=13, classes=3, train_rows=106)
    assert isinstance(found, FleetShape)
    return found


def test_what_differs_in_numbers_alone_shares_a_shape():
    names = ("ce", "weighted_ce by tau", "focal at gamma 5 by alpha", "cosine with warm-up")
    shared = {shape(MEMBERS[name]) for name in names} | {
        shape(config(optimizer=adamw(1.0, weight_decay=0.0)))
    }
    assert len({replace(each, batch_size=1) for each in shared}) == 1
    for name, other in (
        ("dropout", "dropout of another rate"),
        ("ohem by fraction", "ohem that keeps all"),
        ("ohem by fraction", "focal with mining by tau"),
    ):
        assert shape(MEMBERS[name]) == shape(MEMBERS[other])
    assert shape(config(SMOOTHED)) == shape(config(SMOOTHED.replace(label_smoothing=0.3, gamma=0.5)))


def test_what_shapes_the_graph_shares_none():
    base = config(CROSS_ENTROPY)
    different = [
        base,
        config(mining=fraction(0.4)),
        config(mining=ratio(3), data=TUMOURS, batch_size=19),
        config(SMOOTHED),
        config(batch_size=20),
        config(model=mlp(13)),
        config(model=mlp(13, 11, dropout=0.1)),
        config(optimizer=adamw(beta1=0.8)),
        config(optimizer=sgd(momentum=0.8)),
        config(optimizer=sgd(momentum=0.8, nesterov=True)),
    ]
    assert len({shape(each) for each in different}) == len(different)
