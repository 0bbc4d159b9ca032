"""Samplers: which training examples each epoch draws, as indices.

Every sampler gives the same number of draws an epoch, the size of the training part, so that strategies are
compared at equal budgets. Two random streams depend on the seed alone: RESAMPLE chooses or makes the examples,
PLAN orders the draws; all samplers of a seed use the same PLAN stream.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Interval

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import ClassBalanced, Sampler, Smote
from lossfleet.runners.data.splits import Split
from lossfleet.runners.streams import Stream, generator, random_state


def shuffle(labels: np.ndarray, *, draws: int, random: np.random.Generator) -> np.ndarray:
    """Each example once an epoch."""
    raise NotImplementedError


def oversample(
    labels: np.ndarray, *, draws: int, random: np.random.Generator, random_state: int
) -> np.ndarray:
    """Every class drawn equally often; the rare ones repeat."""
    raise NotImplementedError


def undersample(
    labels: np.ndarray, *, draws: int, random: np.random.Generator, random_state: int
) -> np.ndarray:
    """Every class drawn equally often from as many examples as the rarest class has."""
    raise NotImplementedError


def class_balanced(
    labels: np.ndarray,
    *,
    draws: int,
    random: np.random.Generator,
    exponent: Annotated[float, Interval(ge=0, le=1)] = 1.0,
) -> np.ndarray:
    """Classes drawn in proportion to n_c^(1 - exponent)."""
    raise NotImplementedError


def smote(
    features: np.ndarray, labels: np.ndarray, *, random_state: int, neighbors: Annotated[int, Ge(1)] = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic examples of the rare classes between nearest neighbours."""
    raise NotImplementedError


def training_rows(sampler: Sampler, split: Split, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples that index plans point into: the training part, or SMOTE's synthetic set.

    SMOTE adds to each class, up to the size of the largest, points between its examples and their k nearest
    neighbours of the class, k = min(neighbors, smallest class - 1); a lowered k is told by a warning.

    Args:
        sampler: configuration of the sampler.
        split: the split to train on.
        seed: integer of at least 0; SMOTE's points depend on it.

    Returns:
        features (M, F) float32 and labels (M,) int32; M is n, or for SMOTE C times the largest class.

    Raises:
        UserError: for SMOTE where a class has a single example.

    Reference: Chawla et al. 2002, arXiv 1106.1813 (SMOTE).
    """
    if isinstance(sampler, Smote):
        return _synthetic_rows(sampler, split, seed)
    return split.train_features, split.train_labels


def index_plan(sampler: Sampler, split_n: int, labels: np.ndarray, *, seed: int, epochs: int) -> np.ndarray:
    """The examples to draw, epoch by epoch.

    shuffle and smote draw from all examples, oversample and undersample from imbalanced-learn's choice, made
    once a seed: their epochs are consecutive pieces of a stream of fresh permutations of it. class_balanced
    draws with replacement, example i with probability ~ n_c^-exponent for its class c, so that class c comes
    with probability ~ n_c^(1 - exponent).

    Args:
        sampler: configuration of the sampler.
        split_n: draws an epoch, the size of the training part.
        labels: (M,) int, the labels that `training_rows` returned.
        seed: integer of at least 0.
        epochs: at least 1.

    Returns:
        (epochs, split_n) int32, indices into `training_rows`.
    """
    plan = _PLANS[sampler.name](sampler, labels, epochs * split_n, seed)
    return plan.astype(np.int32).reshape(epochs, split_n)


def _synthetic_rows(sampler: Smote, split: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from imblearn.over_sampling import SMOTE

    smallest = int(split.class_counts.min())
    if smallest < 2:
        raise UserError(
            what=f"sampler=smote cannot interpolate within class {split.rarest_class}, "
            f"which has {smallest} training row",
            expected="at least 2 rows a class",
            hint="write for example sampler=oversample",
        )
    neighbors = min(sampler.neighbors, smallest - 1)
    if neighbors < sampler.neighbors:
        warnings.warn(
            f"sampler.neighbors lowered from {sampler.neighbors} to {neighbors}: "
            f"class {split.rarest_class} has {smallest} training rows",
            stacklevel=3,
        )
    smote = SMOTE(k_neighbors=neighbors, random_state=random_state(Stream.RESAMPLE, seed))
    return smote.fit_resample(split.train_features, split.train_labels)


def _all(sampler: Sampler, labels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    return _permutations(np.arange(len(labels)), draws, seed)


def _oversample(sampler: Sampler, labels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    from imblearn.over_sampling import RandomOverSampler

    return _permutations(_chosen(RandomOverSampler, labels, seed), draws, seed)


def _undersample(sampler: Sampler, labels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    from imblearn.under_sampling import RandomUnderSampler

    return _permutations(_chosen(RandomUnderSampler, labels, seed), draws, seed)


def _class_balanced(sampler: ClassBalanced, labels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    weight = np.bincount(labels)[labels] ** -sampler.exponent
    return generator(Stream.PLAN, seed).choice(len(labels), size=draws, p=weight / weight.sum())


def _chosen(resampler_class: Any, labels: np.ndarray, seed: int) -> np.ndarray:
    """The rows that a resampler of imbalanced-learn keeps or repeats; it looks at the labels only."""
    resampler = resampler_class(random_state=random_state(Stream.RESAMPLE, seed))
    resampler.fit_resample(np.zeros((len(labels), 1)), labels)
    return resampler.sample_indices_


def _permutations(indices: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The first `draws` of a stream of fresh permutations of `indices`."""
    random = generator(Stream.PLAN, seed)
    rounds = -(-draws // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:draws]


_PLANS: dict[str, Callable[..., np.ndarray]] = {
    "shuffle": _all,
    "oversample": _oversample,
    "undersample": _undersample,
    "class_balanced": _class_balanced,
    "smote": _all,
}
