"""The fleet against its oracle, the solo engine on stock layers, and the properties of its slots."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import mindspore
import numpy as np
import pytest

from lossfleet.conf.schema import (
    Budget,
    ClassBalanced,
    Config,
    CrossEntropy,
    Data,
    Focal,
    Model,
    Ohem,
    Optimizer,
    Oversample,
    Shuffle,
    Smote,
    Undersample,
    WeightedCrossEntropy,
)
from lossfleet.runners.metrics.classification import classification_metrics, softmax
from lossfleet.runners.training.fleet import Fleet
from lossfleet.runners.training.replicate import Replicate, ReplicateFactory
from lossfleet.runners.training.shape import FleetShape
from lossfleet.runners.training.solo import train_solo

EPOCHS = 10
# 105 or 341 training rows: neither is a multiple of 19 or 64, so the last batch is ragged.
WINE, TUMOURS = Data(name="wine"), Data(name="breast_cancer")
WORKSHOPS = {data: ReplicateFactory(data) for data in (WINE, TUMOURS)}


def config(loss, sampler=None, *, data=WINE, lr=3e-3, weight_decay=1e-2, batch_size=19, **changes) -> Config:
    return Config(
        strategy="under_test",
        data=data,
        loss=loss,
        sampler=sampler or Shuffle(),
        optimizer=Optimizer(lr=lr, weight_decay=weight_decay),
        batch_size=batch_size,
        budget=Budget(epochs=EPOCHS),
        **{"model": Model(widths=(13, 11)), **changes},
    )


def replicate(made: Config, seed: int = 0, split: int = 0) -> Replicate:
    return WORKSHOPS[made.data].replicate(made, seed=seed, split=split)


def shape_of(each: Replicate) -> FleetShape:
    return FleetShape.of(
        each.config,
        features=each.features.shape[1],
        classes=len(each.class_weight),
        train_rows=len(each.split.train_labels),
    )


def make_fleet(replicates: list[Replicate], slots: int | None = None) -> Fleet:
    shape = shape_of(replicates[0])
    return Fleet(shape, slots=slots or len(replicates), pages=8, page_rows=700, evaluation_rows=150)


def fill(fleet: Fleet, replicates: list[Replicate]) -> Fleet:
    for slot, each in enumerate(replicates):
        fleet.enter(slot, each)
    return fleet


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    probabilities = softmax(logits.astype(np.float64))
    return float(-np.log(probabilities[labels, np.arange(len(labels))]).mean())


def solo_curves(each: Replicate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-loss and balanced accuracy on the validation part, and training loss, by epoch."""
    split, losses, accuracies, training = each.split, [], [], []
    for progress in train_solo(each):
        logits = progress.logits(split.validation_features)
        losses.append(log_loss(logits, split.validation_labels))
        metrics = classification_metrics(logits, split.validation_labels, rarest_class=split.rarest_class)
        accuracies.append(metrics["balanced_accuracy"])
        training.append(progress.training_loss[-1])
    return np.array(losses), np.array(accuracies), np.array(training)


def fleet_curves(fleet: Fleet, replicates: list[Replicate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same curves of replicates that enter the first slots, (K, epochs)."""
    fill(fleet, replicates)
    losses, accuracies, training = [], [], []
    for _ in range(EPOCHS):
        training.append(fleet.train_epoch()[: len(replicates)])
        logits = fleet.logits("validation")
        losses.append(
            [log_loss(logits[k], each.split.validation_labels) for k, each in enumerate(replicates)]
        )
        accuracies.append(
            [
                classification_metrics(
                    logits[k], each.split.validation_labels, rarest_class=each.split.rarest_class
                )["balanced_accuracy"]
                for k, each in enumerate(replicates)
            ]
        )
    return np.array(losses).T, np.array(accuracies).T, np.array(training).T


# A new strategy, model or sampler is one row: it must train in a fleet as it does alone.
MEMBERS = {
    "ce": config(CrossEntropy()),
    "weighted_ce by tau": config(WeightedCrossEntropy(tau=1.3)),
    "weighted_ce by effective number": config(WeightedCrossEntropy(beta=0.99)),
    "weighted_ce by given weights": config(WeightedCrossEntropy(class_weight=(1.0, 5.0, 2.0))),
    "weighted_ce by alpha": config(WeightedCrossEntropy(alpha=0.8), data=TUMOURS, batch_size=64),
    "ohem by fraction": config(Ohem(keep=0.4)),
    "ohem that keeps all": config(Ohem(keep=1.0)),
    "ohem by ratio": config(Ohem(negatives_per_positive=3), data=TUMOURS, batch_size=64),
    "resampling by oversample": config(CrossEntropy(), Oversample()),
    "resampling by undersample": config(CrossEntropy(), Undersample()),
    "resampling by class_balanced": config(CrossEntropy(), ClassBalanced(exponent=0.7)),
    "resampling by smote": config(CrossEntropy(), Smote()),
    "focal at gamma 0": config(Focal(gamma=0.0)),
    "focal at gamma 0.1": config(Focal(gamma=0.1)),
    "focal at gamma 2 by tau": config(Focal(gamma=2.0, tau=0.5)),
    "focal at gamma 5 by alpha": config(Focal(gamma=5.0, alpha=0.25), data=TUMOURS, batch_size=64),
    "no hidden layer": config(Focal(gamma=1.0), model=Model(widths=())),
    "one hidden layer": config(Focal(gamma=1.0), model=Model(widths=(17,))),
    "three hidden layers": config(Focal(gamma=1.0), model=Model(widths=(7, 5, 3))),
    "dropout": config(Focal(gamma=1.0), model=Model(widths=(13, 11), dropout=0.3)),
    "batch larger than the data": config(CrossEntropy(), batch_size=113),
}


# A member on one of two seeds, splits and learning rates; the second one keeps it company.
Key = tuple[str, int]
Curves = tuple[np.ndarray, np.ndarray, np.ndarray]


@cache
def member(key: Key) -> Replicate:
    name, turn = key
    made = MEMBERS[name]
    if turn == 0:
        return replicate(made, seed=5, split=2)
    return replicate(replace(made, optimizer=replace(made.optimizer, lr=5e-3)), seed=1, split=1)


@cache
def solo(key: Key) -> Curves:
    return solo_curves(member(key))


@cache
def fleet_of(shape: FleetShape, slots: int) -> dict[Key, Curves]:
    """The curves of all members of a shape from one fleet, into whose slots they go crew after crew."""
    keys = [(name, turn) for name in MEMBERS for turn in (1, 0)]
    keys = [key for key in keys if shape_of(member(key)) == shape]
    fleet = make_fleet([member(keys[0])], slots=slots)
    found = {}
    for first in range(0, len(keys), slots):
        aboard = keys[first : first + slots]
        curves = fleet_curves(fleet, [member(key) for key in aboard])
        for slot, key in enumerate(aboard):
            found[key] = tuple(curve[slot] for curve in curves)
            fleet.leave(slot)
    return found


@pytest.mark.parametrize("slots", [3, 7])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_fleets_replicate_equals_its_solo_run(name, slots):
    found = fleet_of(shape_of(member((name, 0))), slots)
    for curve, expected in zip(found[name, 0], solo((name, 0)), strict=True):
        np.testing.assert_allclose(curve, expected, rtol=1e-4)


def test_what_does_not_mine_trains_the_same_in_a_fleet_that_mines():
    names = ("ohem by fraction", "ce", "weighted_ce by tau", "resampling by smote", "focal at gamma 2 by tau")
    keys = [(name, 0) for name in names]
    replicates = [member(key) for key in keys]
    fleet = make_fleet(replicates)
    # A slot that mined before: its fraction must not stay behind.
    fleet.enter(1, replicate(MEMBERS["ohem by fraction"], seed=9))
    fleet.train_epoch()
    fleet.leave(1)
    curves = fleet_curves(fleet, replicates)
    for slot, key in enumerate(keys):
        for curve, expected in zip(curves, solo(key), strict=True):
            np.testing.assert_allclose(curve[slot], expected, rtol=1e-4)


def test_members_differ():
    replicates = [replicate(config(Focal(gamma=gamma)), seed=1) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)]
    replicates += [replicate(config(Focal(gamma=0.0)), seed=seed) for seed in (2, 3)]
    losses, _, _ = fleet_curves(make_fleet(replicates), replicates)
    assert len(set(losses[:, -1])) == len(replicates)


def test_permuting_the_slots_permutes_the_results():
    gammas = (0.0, 0.3, 1.0, 2.0, 3.0, 4.0, 5.0)
    replicates = [replicate(config(Focal(gamma=gamma)), seed=k) for k, gamma in enumerate(gammas)]
    order = np.random.default_rng(0).permutation(len(replicates))
    permuted = [replicates[k] for k in order]
    losses, _, training = fleet_curves(make_fleet(replicates), replicates)
    permuted_losses, _, permuted_training = fleet_curves(make_fleet(permuted), permuted)
    # Not to the last bit: the vector kernels round the ends of a buffer in another way than its middle.
    np.testing.assert_allclose(permuted_losses, losses[order], rtol=1e-6)
    np.testing.assert_allclose(permuted_training, training[order], rtol=1e-6)


@pytest.mark.parametrize("loss", [Focal(gamma=0.5), Ohem(keep=0.4)], ids=["focal", "ohem"])
def test_nan_stays_in_its_slot(loss):
    healthy = [replicate(config(loss), seed=k) for k in range(5)]
    poisoned = list(healthy)
    # So high a learning rate overflows float32 within an epoch.
    poisoned[2] = replicate(config(loss, lr=1e30), seed=2)
    losses, _, training = fleet_curves(make_fleet(healthy), healthy)
    poisoned_fleet = fill(make_fleet(poisoned), poisoned)
    poisoned_training, logits = [], []
    for _ in range(EPOCHS):
        poisoned_training.append(poisoned_fleet.train_epoch())
        logits = poisoned_fleet.logits("validation")
    poisoned_training = np.array(poisoned_training).T
    assert not np.isfinite(poisoned_training[2, -1])
    assert not np.isfinite(logits[2]).all()
    for k in (0, 1, 3, 4):
        np.testing.assert_array_equal(poisoned_training[k], training[k])
        assert log_loss(logits[k], healthy[k].split.validation_labels) == losses[k, -1]


def test_a_slot_is_reused_without_a_trace_of_its_former_replicate():
    first, second, bystander = (
        replicate(config(Focal(gamma=gamma)), seed=k) for k, gamma in enumerate((0.5, 2, 1))
    )
    _, _, alone_training = fleet_curves(make_fleet([second]), [second])
    fleet = make_fleet([first], slots=3)
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
    assert fleet.epochs.tolist() == [EPOCHS - 4, EPOCHS, 0]


def test_a_taken_slot_refuses_a_second_replicate():
    each = replicate(config(CrossEntropy()))
    fleet = fill(make_fleet([each]), [each])
    with pytest.raises(ValueError, match="slot 0 is taken"):
        fleet.enter(0, each)


def test_a_fleet_shape_compiles_once():
    replicates = [replicate(config(Focal(gamma=float(k))), seed=k) for k in range(3)]
    fleet = fill(make_fleet(replicates), replicates)
    fleet.train_epoch()
    fleet.logits("validation")
    compiled = set(mindspore.graph.api.ms_compile_cache)
    fleet.leave(1)
    fleet.enter(1, replicate(config(WeightedCrossEntropy(tau=0.7), Smote(), lr=1e-1), seed=9, split=4))
    fleet.train_epoch()
    fleet.leave(0)
    fleet.train_epoch()
    fleet.logits("validation")
    assert set(mindspore.graph.api.ms_compile_cache) == compiled


def test_strategies_without_mining_share_a_shape_and_static_differences_do_not():
    def shape(made: Config) -> FleetShape:
        return FleetShape.of(made, features=13, classes=3, train_rows=105)

    shared = {shape(MEMBERS[name]) for name in ("ce", "weighted_ce by tau", "focal at gamma 5 by alpha")}
    assert len({replace(each, batch_size=1) for each in shared}) == 1
    base = config(CrossEntropy())
    different = [
        base,
        config(Ohem(keep=0.4)),
        config(CrossEntropy(), batch_size=20),
        config(CrossEntropy(), model=Model(widths=(13,))),
        config(CrossEntropy(), model=Model(widths=(13, 11), dropout=0.1)),
        replace(base, optimizer=replace(base.optimizer, beta1=0.8)),
    ]
    assert len({shape(each) for each in different}) == len(different)
