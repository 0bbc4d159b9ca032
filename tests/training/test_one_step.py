"""An epoch of plain gradient descent in both engines against the gradient of each objective in float64.

Logits of a linear model say what its parameters are. The second of two batches is ragged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from replicate_runs import config, fill, make_fleet, mlp, replicate, shape_of_replicate
from test_conformance import LOSSES, MININGS

from lossfleet.conf.parts import named_part
from lossfleet.runners.training.replicate import Replicate
from lossfleet.runners.training.solo import train_solo

DESCENT = named_part("optimizer", "sgd", lr=1.0, weight_decay=0.0, momentum=0.0)
WINE, TUMOURS = "wine", "breast_cancer"
FRACTION, RATIO = ("fraction", {"keep": 0.3}), ("ratio", {"negatives_per_positive": 0.4})
NONE: tuple[str, dict[str, float]] = ("none", {})
# Loss and its settings, mining and its settings, data: members of one fleet differ in every number.
OBJECTIVES = [
    ("cross_entropy", {}, *NONE, WINE),
    ("weighted_cross_entropy", {"tau": 1.5}, *NONE, WINE),
    ("weighted_cross_entropy", {"beta": 0.97}, *NONE, WINE),
    ("weighted_cross_entropy", {"class_weight": (1.0, 5.0, 2.0)}, *NONE, WINE),
    ("focal", {"gamma": 0.7}, *NONE, WINE),
    ("focal", {"gamma": 3.0, "tau": 0.5}, *NONE, WINE),
    ("cross_entropy", {}, *FRACTION, WINE),
    ("focal", {"gamma": 2.0, "tau": 1.5}, "fraction", {"keep": 0.6}, WINE),
    ("weighted_cross_entropy", {"alpha": 0.9}, *RATIO, TUMOURS),
    ("focal", {"gamma": 0.5, "alpha": 0.2}, "ratio", {"negatives_per_positive": 2.0}, TUMOURS),
]
NAMES = [" ".join(map(str, (*objective[:2], *objective[2:4]))) for objective in OBJECTIVES]


@cache
def member(index: int) -> Replicate:
    loss, settings, mining, of_mining, data = OBJECTIVES[index]
    parts = {"mining": named_part("mining", mining, **of_mining), "model": mlp(), "optimizer": DESCENT}
    size = 60 if data == WINE else 180
    made = config(named_part("loss", loss, **settings), data=data, batch_size=size, **parts)
    return replicate(made, seed=index)


def class_weight(counts: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """The definition of each weighting, at mean 1 over the training examples."""
    weight = np.ones(len(counts))
    if "tau" in settings:
        weight = counts ** -settings["tau"]
    elif "beta" in settings:
        weight = (1 - settings["beta"]) / (1 - settings["beta"] ** counts)
    elif "alpha" in settings:
        weight = np.array([1 - settings["alpha"], settings["alpha"]])
    elif "class_weight" in settings:
        weight = np.array(settings["class_weight"])
    return weight * counts.sum() / (weight @ counts)


def defined_logits(index: int) -> np.ndarray:
    """Logits (C, N) of the validation part after the epoch."""
    loss, settings, mining, of_mining, _ = OBJECTIVES[index]
    each = member(index)
    weights = class_weight(each.split.class_counts, settings)

    def objective(logits: np.ndarray, labels: np.ndarray) -> float:
        losses = LOSSES[loss][0](logits, labels, weights, settings)
        mask = MININGS[mining][0](losses, labels, of_mining)
        return float((losses * mask).sum() / mask.sum())

    ((weight, bias),) = (tuple(map(np.float64, arrays)) for arrays in each.initial)
    size = each.config.batch_size
    assert len(each.plan[0]) % size
    for first in range(0, len(each.plan[0]), size):
        rows = each.plan[0][first : first + size]
        examples, labels = each.features[rows].astype(float), each.labels[rows]
        logits = weight @ examples.T + bias[:, None]
        slope = np.zeros(logits.shape)
        for place in np.ndindex(logits.shape):
            step = np.zeros(logits.shape)
            step[place] = 1e-6
            slope[place] = (objective(logits + step, labels) - objective(logits - step, labels)) / 2e-6
        weight, bias = weight - slope @ examples, bias - slope.sum(1)
    return weight @ each.split.validation_features.T + bias[:, None]


@cache
def fleet_logits() -> dict[int, np.ndarray]:
    """The logits of all objectives, those of equal shape from one fleet."""
    found: dict[int, np.ndarray] = {}
    by_shape: dict[Any, list[int]] = {}
    for index in range(len(OBJECTIVES)):
        by_shape.setdefault(shape_of_replicate(member(index)), []).append(index)
    for indices in by_shape.values():
        replicates = [member(index) for index in indices]
        fleet = fill(make_fleet(replicates), replicates)
        fleet.train_epoch()
        found |= dict(zip(indices, fleet.logits("validation"), strict=True))
    return found


@pytest.mark.parametrize("index", range(len(OBJECTIVES)), ids=NAMES)
def test_both_engines_descend_by_the_gradient_of_the_definition(index):
    expected = defined_logits(index)
    solo = next(train_solo(member(index))).logits(member(index).split.validation_features)
    np.testing.assert_allclose(solo, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fleet_logits()[index], expected, rtol=1e-4, atol=1e-4)
