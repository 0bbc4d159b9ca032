"""What the losses are for: on data whose densities are known, who learns the best rule for the balanced error?"""

from __future__ import annotations

import numpy as np
import pytest
from replicate_runs import adamw, config, fill, mlp
from scipy.stats import t as student

from lossfleet.conf.parts import Part, named_part
from lossfleet.runners.data.splits import Split
from lossfleet.runners.training.build import build_slots
from lossfleet.runners.training.replicate import drawn_plan, drawn_rows, make_replicate
from lossfleet.runners.training.second_stages import outputs
from lossfleet.runners.training.shape import shape_of

ROWS, RARE_SHARE, NOISE, REPLICATES, TEST_ROWS = 40_000, 0.05, 0.35, 5, 4000
ANGLES = np.linspace(0, np.pi, 400)


def moon(label: int, angles: np.ndarray) -> np.ndarray:
    """Points (n, 2) on one of two interleaving half circles."""
    if label == 0:
        return np.column_stack([np.cos(angles), np.sin(angles)])
    return np.column_stack([1 - np.cos(angles), 0.5 - np.sin(angles)])


def drawn(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    points = np.empty((len(labels), 2))
    for label in (0, 1):
        own = labels == label
        points[own] = moon(label, random.uniform(0, np.pi, own.sum()))
    return points + random.normal(scale=NOISE, size=points.shape)


def log_density(points: np.ndarray, label: int) -> np.ndarray:
    """Of a normal distribution around each point of the half circle, up to a constant."""
    squares = ((points[:, None] - moon(label, ANGLES)[None]) ** 2).sum(2)
    return np.log(np.exp(-squares / (2 * NOISE**2)).mean(1))


def balanced_error(is_rare: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([(is_rare[labels == label] != label).mean() for label in (0, 1)]))


def excess_errors(loss: Part) -> np.ndarray:
    """The balanced error of each trained network beyond that of the densities, on the same test rows."""
    random = np.random.default_rng(7)
    made = config(loss, model=mlp(32, 32), optimizer=adamw(5e-3, weight_decay=1e-4), batch_size=256)
    replicates, tests = [], []
    for seed in range(REPLICATES):
        labels = (np.arange(ROWS) < RARE_SHARE * ROWS).astype(np.int32)
        features = drawn(labels, random).astype(np.float32)
        counts = np.bincount(labels)
        split = Split(
            train_features=features,
            train_labels=labels,
            validation_features=features[:0],
            validation_labels=labels[:0],
            test_features=features[:0],
            test_labels=labels[:0],
            test_rows=np.arange(0),
            class_counts=counts,
            rarest_class=1,
            draws=ROWS,
        )
        rows = drawn_rows(made, split, seed=seed)
        plan = drawn_plan(made, split, rows, seed=seed)
        replicates.append(make_replicate(made, split, rows, plan, seed=seed, split_number=0, key=(seed,)))
        tested = np.repeat([0, 1], TEST_ROWS // 2)
        tests.append((drawn(tested, random), tested))
    shape = shape_of(made, features=2, classes=2, train_rows=ROWS)
    slots = build_slots(
        shape, native=True, slots=REPLICATES, pages=REPLICATES, page_rows=ROWS, evaluation_rows=1
    )
    fill(slots, replicates)
    for _ in range(made.budget.epochs):
        slots.train_epoch()
    excess = []
    for slot, (points, labels) in enumerate(tests):
        (network,) = slots.networks(slot)
        logits = outputs(replicates[slot].layers or (), network, points.astype(np.float32))
        best = balanced_error(log_density(points, 1) > log_density(points, 0), labels)
        excess.append(balanced_error(logits.argmax(1), labels) - best)
    return np.array(excess)


@pytest.mark.parametrize(
    ("loss", "reaches"),
    [
        (named_part("loss", "cross_entropy"), False),
        (named_part("loss", "focal", gamma=2.0), False),
        (named_part("loss", "logit_adjusted", tau=1.0), True),
        (named_part("loss", "balanced_softmax"), True),
        (named_part("loss", "weighted_cross_entropy", tau=1.0), True),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_who_reaches_the_least_balanced_error_that_there_is(loss, reaches):
    excess = excess_errors(loss)
    half = student.ppf(0.975, REPLICATES - 1) * excess.std(ddof=1) / np.sqrt(REPLICATES)
    assert half < 0.03
    if reaches:
        assert abs(excess.mean()) < max(half, 0.005)
    else:
        assert excess.mean() - half > 0.1
