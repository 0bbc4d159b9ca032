"""Samplers: which training examples each epoch draws, as indices.

Every sampler gives the same number of draws an epoch, the size of the training part, so that strategies are
compared at equal budgets. A sampler is a function of the labels and of what it names of

- draws: how many indices it returns, those of all epochs;
- random: a generator on the stream PLAN, which orders the draws: all samplers of a seed use the same one;
- random_state: an integer of the stream RESAMPLE, which chooses or makes the examples.

One that names `features` returns new rows, features and labels, instead of indices; each of them is drawn once a
round. It may name `categories` too, the features that are no quantities, and `class_names` for what it says. Both
streams depend on the seed alone.

A sampler may be a class of imbalanced-learn's kind as well, with `fit_resample`: the rows that it selects are drawn
once a round, or those that it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.runners import streams
from lossfleet.runners.data.filling import ROUNDING, Ratio, filled_up
from lossfleet.runners.data.resamplers import check_classes, resampled, selects_rows
from lossfleet.runners.data.splits import Split
from lossfleet.runners.images.pixels import Features
from lossfleet.runners.streams import Stream

# As one more column, far too small to say who is whose neighbour; a power of two changes no digit.
FAINT = 2.0**-30


def makes_rows(sampler: Part) -> bool:
    """Whether a sampler makes rows of its own instead of drawing from the training part."""
    return not selects_rows(sampler) if sampler.is_estimator else "features" in sampler.inputs()


def training_rows(sampler: Part, split: Split, *, seed: int) -> tuple[Features, np.ndarray]:
    """The examples that index plans point into: the training part, or the rows that the sampler makes of it.

    Args:
        sampler: of the group `sampler`.
        split: the split to train on.
        seed: integer of at least 0; made rows depend on it.

    Returns:
        features (M, F) float32 and labels (M,) int32.

    Raises:
        UserError: the sampler cannot make rows of this split, or what it makes are no rows, or none of a class.
    """
    features, labels = split.train_features, split.train_labels
    if not makes_rows(sampler):
        return features, labels
    features = np.asarray(features)
    if sampler.is_estimator:
        rows, _ = resampled(sampler, features, labels, seed)
    else:
        rows = sampler.call(
            features=features,
            labels=labels,
            categories=split.categories,
            class_names=split.class_names,
            random=streams.generator(Stream.PLAN, seed),
            random_state=streams.random_state(Stream.RESAMPLE, seed),
        )
    columns = features.shape[1]
    shapes = [np.shape(each) for each in rows] if isinstance(rows, tuple) else [np.shape(rows)]
    if len(shapes) != 2 or shapes[1] != (shapes[0][0],) or shapes[0][1:] != (columns,) or not shapes[1][0]:
        raise _wrong(sampler, f"shapes {shapes}", f"features (M, {columns}) and labels (M,)")
    made, made_labels = (np.asarray(each) for each in rows)
    if not set(np.unique(made_labels)) <= set(range(len(split.class_counts))):
        raise _wrong(
            sampler, f"the labels {np.unique(made_labels)}", f"labels in 0..{len(split.class_counts) - 1}"
        )
    check_classes(sampler, labels, made_labels, split.class_names)
    if sampler.is_estimator and split.categories is not None:
        made = split.categories.whole(made, like=features)
    return made.astype(np.float32, copy=False), made_labels.astype(np.int32, copy=False)


def weighted_rows(
    sampler: Part, split: Split, *, seed: int
) -> tuple[Features, np.ndarray, np.ndarray | None]:
    """The examples of `training_rows` with what each of them counts for.

    A row that is drawn keeps its weight. A row that a sampler makes has what the sampler makes of weights as of one
    more column: SMOTE interpolates between those of the two rows that it makes the new one of.

    Args: as `training_rows` has them.

    Returns:
        features (M, F) float32, labels (M,) int32 and weights (M,) float32; None where all rows count alike.

    Raises:
        UserError: as `training_rows`, or a made row has a negative weight.
    """
    if split.train_weights is None:
        return *training_rows(sampler, split, seed=seed), None
    weights = split.train_weights.astype(np.float32)
    if not makes_rows(sampler):
        return *training_rows(sampler, split, seed=seed), weights
    column = FAINT * weights[:, None]
    widened = replace(split, train_features=np.concatenate([split.train_features, column], axis=1))
    features, labels = training_rows(sampler, widened, seed=seed)
    weights = features[:, -1] / np.float32(FAINT)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise _wrong(
            sampler,
            "rows with negative weights",
            "between the rows that they are made of: data.weight is the last column of features",
        )
    return np.ascontiguousarray(features[:, :-1]), labels, weights


def index_plan(
    sampler: Part,
    split_n: int,
    features: Features,
    labels: np.ndarray,
    *,
    seed: int,
    epochs: int,
    class_names: Sequence[str] = (),
) -> np.ndarray:
    """The examples to draw, epoch by epoch.

    Args:
        sampler: of the group `sampler`.
        split_n: draws an epoch, the size of the training part.
        features, labels: (M, F) and (M,) int, the rows that `training_rows` returned.
        seed: integer of at least 0.
        epochs: at least 1.
        class_names: for errors; without them classes are numbers.

    Returns:
        (epochs, split_n) int32, indices into `training_rows`.

    Raises:
        UserError: the sampler does not return so many indices, or selects no row of a class.
    """
    draws = epochs * split_n
    random = streams.generator(Stream.PLAN, seed)
    if makes_rows(sampler):
        plan = shuffle(labels, draws=draws, random=random)
    elif sampler.is_estimator:
        _, selected = resampled(sampler, np.asarray(features), labels, seed)
        check_classes(sampler, labels, labels[selected], class_names)
        plan = _permutations(selected, draws, random)
    else:
        state = streams.random_state(Stream.RESAMPLE, seed)
        plan = np.asarray(sampler.call(labels=labels, draws=draws, random=random, random_state=state))
        if plan.shape != (draws,) or plan.dtype.kind not in "iu":
            raise _wrong(sampler, f"{plan.dtype} of shape {plan.shape}", f"{draws} integers, the draws")
        if plan.min() < 0 or plan.max() >= len(labels):
            raise _wrong(
                sampler, f"indices from {plan.min()} to {plan.max()}", f"indices in 0..{len(labels) - 1}"
            )
    return plan.astype(np.int32).reshape(epochs, split_n)


def shuffle(labels: np.ndarray, *, draws: int, random: np.random.Generator) -> np.ndarray:
    """Each example once an epoch: consecutive pieces of a stream of fresh permutations.

    Args:
        labels: (N,) int.
        draws: the number of indices to return.
        random: orders the draws.

    Returns:
        (draws,) indices.
    """
    return _permutations(np.arange(len(labels)), draws, random)


def oversample(
    labels: np.ndarray, *, draws: int, random: np.random.Generator, random_state: int, ratio: Ratio = 1.0
) -> np.ndarray:
    """Every class drawn at least ratio times as often as the largest; the rare ones repeat.

    Args:
        labels: (N,) int.
        draws: the number of indices to return.
        random: orders the draws.
        random_state: decides which examples repeat, once for all epochs.
        ratio: in (0, 1], 1 for classes that are drawn equally often.

    Returns:
        (draws,) indices.
    """
    from imblearn.over_sampling import RandomOverSampler

    goals = filled_up(labels, ratio)
    sampler = RandomOverSampler(sampling_strategy=goals, random_state=random_state)
    return _permutations(_chosen(sampler, labels), draws, random)


def undersample(
    labels: np.ndarray, *, draws: int, random: np.random.Generator, random_state: int, ratio: Ratio = 1.0
) -> np.ndarray:
    """At most 1 / ratio times as many examples of every class as the rarest has, all of them drawn equally often.

    Args:
        labels: (N,) int.
        draws: the number of indices to return.
        random: orders the draws.
        random_state: decides which examples are used, once for all epochs.
        ratio: in (0, 1], 1 for classes that are drawn equally often.

    Returns:
        (draws,) indices.
    """
    from imblearn.under_sampling import RandomUnderSampler

    classes, counts = np.unique(labels, return_counts=True)
    most = int(counts.min() / ratio + ROUNDING)
    # The rarest class is not asked for: it stays.
    goals = {
        int(label): min(int(count), most)
        for place, (label, count) in enumerate(zip(classes, counts, strict=True))
        if place != counts.argmin()
    }
    sampler = RandomUnderSampler(sampling_strategy=goals, random_state=random_state)
    return _permutations(_chosen(sampler, labels), draws, random)


def class_balanced(
    labels: np.ndarray,
    *,
    draws: int,
    random: np.random.Generator,
    exponent: Annotated[float, Interval(ge=0, le=1)] = 1.0,
) -> np.ndarray:
    """Draws with replacement, class c with probability ~ n_c^(1 - exponent): 0 is uniform over examples, 1 over classes.

    Args:
        labels: (N,) int.
        draws: the number of indices to return.
        random: draws.
        exponent: in [0, 1].

    Returns:
        (draws,) indices.
    """  # noqa: E501
    weight = np.bincount(labels)[labels] ** -exponent
    return random.choice(len(labels), size=draws, p=weight / weight.sum())


def _chosen(resampler: Any, labels: np.ndarray) -> np.ndarray:
    """The rows that a resampler of imbalanced-learn keeps or repeats; it looks at the labels only."""
    resampler.fit_resample(np.zeros((len(labels), 1)), labels)
    return resampler.sample_indices_


def _permutations(indices: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """The first `draws` of a stream of fresh permutations of `indices`."""
    rounds = -(-draws // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:draws]


def _wrong(sampler: Part, what: str, expected: str) -> UserError:
    return UserError(
        what=f"sampler={sampler.name} returned {what}",
        expected=expected,
        hint=f"correct {sampler.target} ({sampler.signature.place})",
    )
