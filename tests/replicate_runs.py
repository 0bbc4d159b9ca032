"""Replicates to train in tests, and their curves from each engine."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from lossfleet.conf.parts import Part, named_part
from lossfleet.conf.schema import Budget, Config, choose
from lossfleet.runners.metrics.classification import classification_metrics, softmax
from lossfleet.runners.models.images import Convolution, Flatten, GroupNorm, Image, MaxPool
from lossfleet.runners.models.layers import GELU, Dense, Dropout, Layer, LayerNorm, ReLU
from lossfleet.runners.models.shortcuts import Shortcut
from lossfleet.runners.training.cells import Cells
from lossfleet.runners.training.fleet import Fleet
from lossfleet.runners.training.native.fleet import NativeFleet
from lossfleet.runners.training.replicate import Replicate, ReplicateFactory
from lossfleet.runners.training.shape import CellShape, FleetShape, shape_of
from lossfleet.runners.training.slots import Slots
from lossfleet.runners.training.solo import train_solo

EPOCHS = 6
CROSS_ENTROPY = named_part("loss", "cross_entropy")
# Log-loss and balanced accuracy on the validation part, and training loss, by epoch.
Curves = tuple[np.ndarray, ...]


def focal(gamma: float, **settings: Any) -> Part:
    return named_part("loss", "focal", gamma=gamma, **settings)


def weighted(**settings: Any) -> Part:
    return named_part("loss", "weighted_cross_entropy", **settings)


def mlp(*widths: int, dropout: float = 0.0) -> Part:
    return named_part("model", "mlp", widths=widths, dropout=dropout)


def normalised(features: int, classes: int) -> list[Layer]:
    return [Dense(features, 13), LayerNorm(13), GELU(), Dropout(0.2), Dense(13, classes)]


def image(features: int, classes: int) -> list[Layer]:
    """Of breast_cancer's 30 features as an image, and of no data else."""
    return [
        *(Image(1, 6, 5), Convolution(1, 4), GroupNorm(2, 4), ReLU(), MaxPool(), Dropout(0.2)),
        *(
            Convolution(4, 6, kernel=5, stride=2),
            Shortcut(2),
            GELU(),
            Flatten(),
            Dense(12, classes, "glorot"),
        ),
    ]


def adamw(lr: float = 3e-3, **settings: Any) -> Part:
    return named_part("optimizer", "adamw", lr=lr, **{"weight_decay": 1e-2, **settings})


def config(
    loss: Part = CROSS_ENTROPY, sampler: str | Part = "shuffle", *, data: str = "wine", **changes: Any
) -> Config:
    """A small configuration; 106 and 343 training rows are no multiple of 19 and 64, so the last batch is ragged."""
    return Config(
        strategy="under_test",
        data=choose("data", data),
        loss=loss,
        sampler=named_part("sampler", sampler) if isinstance(sampler, str) else sampler,
        budget=Budget(epochs=EPOCHS, rungs=EPOCHS),
        **{
            "model": mlp(13, 11),
            "optimizer": adamw(),
            "batch_size": 64 if data == "breast_cancer" else 19,
            **changes,
        },
    )


@cache
def factory(data: str) -> ReplicateFactory:
    return ReplicateFactory(choose("data", data))


def replicate(made: Config, seed: int = 0, split: int = 0) -> Replicate:
    return factory(made.data.name).replicate(made, seed=seed, split=split)


def shape_of_replicate(each: Replicate, **settings: Any) -> FleetShape | CellShape:
    return shape_of(
        each.config,
        features=each.features.shape[1],
        classes=each.classes,
        train_rows=len(each.split.train_labels),
        weighs=each.weights is not None,
        **settings,
    )


def make_fleet(replicates: list[Replicate], slots: int | None = None) -> Fleet | Cells:
    return _make_fleet(shape_of_replicate(replicates[0]), slots or len(replicates))


def _make_fleet(shape: FleetShape | CellShape, slots: int) -> Fleet | Cells:
    if isinstance(shape, CellShape):
        return Cells(shape, slots=slots)
    return Fleet(shape, slots=slots, pages=8, page_rows=700, evaluation_rows=150)


_compiled = cache(_make_fleet)


def empty_fleet(replicates: list[Replicate], slots: int | None = None) -> Slots:
    """A fleet that tests share, since compiling its graph takes longer than all that they train in it."""
    return empty(_compiled(shape_of_replicate(replicates[0]), slots or len(replicates)))


def make_native_fleet(replicates: list[Replicate], slots: int | None = None, threads: int = 1) -> NativeFleet:
    shape = shape_of_replicate(replicates[0])
    assert isinstance(shape, FleetShape)
    return NativeFleet(shape, slots=slots or len(replicates), threads=threads)


def fill(fleet: Slots, replicates: list[Replicate]) -> Slots:
    for slot, each in enumerate(replicates):
        fleet.enter(slot, each)
    return fleet


def empty(fleet: Slots) -> Slots:
    """Take all replicates out of their slots: another fleet of the shape would be compiled anew."""
    for slot, each in enumerate(fleet.occupants):
        if each is not None:
            fleet.leave(slot)
    return fleet


def check_recall(fleet: Slots, replicates: list[Replicate], epoch: int = 2, epochs: int = 3) -> None:
    """The first of two slots is recalled as it was after an epoch, the second goes on, and who comes next has neither.

    Args:
        fleet: empty slots for the replicates, whose first ones they take.
        replicates: two or more.
        epoch: after which the first slot is remembered for the second time.
        epochs: after which it is recalled.
    """
    fill(fleet, replicates)
    found: list[np.ndarray] = []
    for number in range(1, epochs + 1):
        fleet.train_epoch()
        found.append(fleet.logits("validation"))
        if number in (1, epoch):
            fleet.remember([0])
    assert np.abs(found[-1][0] - found[epoch - 1][0]).max() > 1e-3
    fleet.recall([0])
    recalled = fleet.logits("validation")
    np.testing.assert_allclose(recalled[0], found[epoch - 1][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(recalled[1], found[-1][1])
    empty(fleet)
    fill(fleet, replicates).train_epoch()
    np.testing.assert_allclose(fleet.logits("validation")[0], found[0][0], rtol=1e-4, atol=1e-5)
    empty(fleet)


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    probabilities = softmax(logits.astype(np.float64))
    return float(-np.log(probabilities[labels, np.arange(len(labels))]).mean())


def balanced_accuracy(logits: np.ndarray, each: Replicate) -> float:
    split = each.split
    metrics = classification_metrics(logits, split.validation_labels, rarest_class=split.rarest_class)
    return float(metrics["balanced_accuracy"])


def solo_curves(each: Replicate, cell: Any = None) -> Curves:
    """The curves (epochs,) of a replicate, or of a cell on its data."""
    losses, accuracies, training = [], [], []
    for progress in train_solo(each, cell):
        logits = progress.logits(each.split.validation_features)
        losses.append(log_loss(logits, each.split.validation_labels))
        accuracies.append(balanced_accuracy(logits, each))
        training.append(progress.training_loss[-1])
    return np.array(losses), np.array(accuracies), np.array(training)


def fleet_curves(fleet: Slots, replicates: list[Replicate]) -> Curves:
    """The curves (K, epochs) of replicates that enter the first slots."""
    fill(fleet, replicates)
    losses, accuracies, training = [], [], []
    for _ in range(replicates[0].config.budget.epochs):
        training.append(fleet.train_epoch()[: len(replicates)])
        logits = fleet.logits("validation")
        losses.append(
            [log_loss(logits[k], each.split.validation_labels) for k, each in enumerate(replicates)]
        )
        accuracies.append([balanced_accuracy(logits[k], each) for k, each in enumerate(replicates)])
    return np.array(losses).T, np.array(accuracies).T, np.array(training).T
