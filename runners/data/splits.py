"""Training, validation and test parts of a data set: how many rows, and how they are encoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.categories import Categories
from lossfleet.runners.data.encoding import categories_of, encode
from lossfleet.runners.data.parts import (
    LEAST_OF_A_CLASS,
    PART_NAMES,
    Shares,
    class_counts,
    draw_parts,
    given_parts,
    held_out_counts,
)
from lossfleet.runners.images.parts import TEST, TRAINING, VALIDATION
from lossfleet.runners.images.pixels import Features, StandardisedImages

# Of classes, in a message.
MOST_NAMED = 10


@dataclass(frozen=True, eq=False)
class Split:
    """One split: features (n, F) float32, encoded, those of images as they are asked for; labels (n,) int32;
    class_counts (C,) of training.

    weights (n,) float64 of mean 1, what each row counts for; None where all count alike.

    draws and rarest_class are the same for all splits of a data set, so that replicates stack: an epoch draws as many
    examples as the training part has, or has about, where whole groups go into a part. train_rows, validation_rows and
    test_rows: those of the data set that each part has, (n,) int64; the former two where something asks for them, as of
    images with objects. pool_rows: how many rows all test parts are drawn from, None for the whole
    data set. image_shape: that of the data set. categories: the features that are no quantities, None for none.
    class_names: those of the data set, for what is told of classes.
    """

    train_features: Features
    train_labels: np.ndarray
    validation_features: Features
    validation_labels: np.ndarray
    test_features: Features
    test_labels: np.ndarray
    test_rows: np.ndarray
    class_counts: np.ndarray
    rarest_class: int
    draws: int
    pool_rows: int | None = None
    train_weights: np.ndarray | None = None
    validation_weights: np.ndarray | None = None
    test_weights: np.ndarray | None = None
    image_shape: tuple[int, int, int] | None = None
    categories: Categories | None = None
    class_names: tuple[str, ...] = ()
    train_rows: np.ndarray | None = None
    validation_rows: np.ndarray | None = None

    @property
    def weighted_counts(self) -> np.ndarray:
        """The sum of the weights of the training part's rows of each class, (C,): without weights their counts."""
        if self.train_weights is None:
            return self.class_counts
        return np.bincount(self.train_labels, self.train_weights, minlength=len(self.class_counts))

    @property
    def nbytes(self) -> int:
        """The memory of all parts in bytes, without that of images, which all splits share."""
        arrays = (np.ndarray, StandardisedImages)
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, arrays))


def row_counts(split: Split) -> dict[str, int]:
    """The metrics that say how many rows each part has, and how many all test parts are drawn from if not all."""
    counts = {
        f"{part}_rows": len(getattr(split, f"{part}_labels")) for part in ("train", "validation", "test")
    }
    return counts if split.pool_rows is None else counts | {"test_pool_rows": split.pool_rows}


def make_split(
    dataset: Dataset, shares: Shares, *, seed: int, split: int, long_tail: float | None = None
) -> Split:
    """Split a data set, thin the training part to a long tail, encode all by the training part.

    A class of n rows gives max(1, round(fraction n)) rows to validation and to test and the rest to training.
    These counts depend on neither seed nor split, so that replicates stack; which rows they are depends on both.
    `parts.draw_parts` says how groups, times and given parts change that.
    With `long_tail` the training part is thinned as `long_tail_counts` says. How columns are encoded and scaled
    is learnt from the training part alone, after thinning; a column that is constant there is only centred.

    Args:
        dataset: what to split.
        shares: of the whole data set.
        seed, split: integers of at least 0; each pair is another split.
        long_tail: largest/smallest class of the training part, above 1; None leaves the classes as they are.

    Returns:
        The split. `rarest_class` is the smallest class of the training part, the first one if several are.

    Raises:
        UserError: for a class too small to leave a row to validation and test and two to training.
    """
    counts = part_counts(dataset, shares, long_tail)
    parts, pool = draw_parts(dataset, shares, seed=seed, split=split)
    if dataset.groups is not None:
        _check_groups(dataset, parts)
    if long_tail is not None:
        parts[TRAINING] = _thinned(dataset, parts[TRAINING], long_tail)
    parts = [np.sort(rows) for rows in parts]
    return encoded_split(
        dataset,
        parts,
        pool,
        class_counts=np.bincount(dataset.labels[parts[TRAINING]], minlength=len(dataset.class_names)),
        rarest_class=int(counts[TRAINING].argmin()),
        draws=int(counts[TRAINING].sum()),
    )


def encoded_split(
    dataset: Dataset, parts: Sequence[np.ndarray], pool: np.ndarray | None, **others: Any
) -> Split:
    """The split of these rows, all encoded by the training part.

    Args:
        dataset: whose rows they are.
        parts: the rows (n,) of the training, validation and test part.
        pool: the rows that all test parts are drawn from, None for all.
        others: what else a `Split` has, such as what is counted in the training part.
    """
    features = encode(dataset.features, parts)
    labels = [dataset.labels[rows].astype(np.int32) for rows in parts]
    return Split(
        train_features=features[TRAINING],
        train_labels=labels[TRAINING],
        validation_features=features[VALIDATION],
        validation_labels=labels[VALIDATION],
        test_features=features[TEST],
        test_labels=labels[TEST],
        test_rows=parts[TEST],
        pool_rows=None if pool is None else len(pool),
        train_weights=weights_of(dataset, parts[TRAINING]),
        validation_weights=weights_of(dataset, parts[VALIDATION]),
        test_weights=weights_of(dataset, parts[TEST]),
        image_shape=dataset.image_shape,
        categories=categories_of(dataset.features),
        class_names=dataset.class_names,
        **others,
    )


def weights_of(dataset: Dataset, rows: np.ndarray) -> np.ndarray | None:
    """The weights (n,) of these rows, brought to mean 1; None where all rows count alike."""
    if dataset.weights is None:
        return None
    weights = dataset.weights[rows]
    return weights / weights.mean()


def part_counts(
    dataset: Dataset, shares: Shares, long_tail: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows a class (C,) of the training, validation and test part, as `make_split` makes them; with groups, about.

    Raises:
        UserError: for classes too small to leave a row to validation and test and two to training.
    """
    given = given_parts(dataset, shares)
    train_counts, validation_counts, test_counts = counts = _counts(dataset, shares, given)
    if given is not None:
        _check_given(dataset, counts)
    elif dataset.groups is None:
        # How many rows whole groups bring is known when they are drawn.
        _check_split(dataset, shares, train_counts)
    if long_tail is not None:
        _check_long_tail(dataset, train_counts, long_tail)
        train_counts = long_tail_counts(train_counts, long_tail)
    return train_counts, validation_counts, test_counts


def _counts(
    dataset: Dataset, shares: Shares, given: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if given is None:
        counts = dataset.class_counts
        test_counts = held_out_counts(counts, shares.test)
        apart = test_counts if shares.held_out is None else held_out_counts(counts, shares.held_out)
        validation_counts = held_out_counts(counts, shares.validation)
        return counts - validation_counts - apart, validation_counts, test_counts
    train_counts, validation_counts, test_counts = (
        np.bincount(dataset.labels[given == part], minlength=len(dataset.class_names))
        for part in (TRAINING, VALIDATION, TEST)
    )
    if not validation_counts.any():
        validation_counts = np.minimum(train_counts, held_out_counts(train_counts, shares.validation))
        train_counts = train_counts - validation_counts
    return train_counts, validation_counts, test_counts


def small_classes(dataset: Dataset, shares: Shares) -> np.ndarray:
    """(C,) bool, which classes have too few rows for a row to validate and to test on and two to train on."""
    given = given_parts(dataset, shares)
    counts = np.stack(_counts(dataset, shares, given))
    if given is None and dataset.groups is not None:
        counts = class_counts(dataset, draw_parts(dataset, shares, seed=0, split=0)[0])
    return (counts < np.array(LEAST_OF_A_CLASS)[:, None]).any(axis=0)


def check_split(dataset: Dataset, shares: Shares, long_tail: float | None = None) -> None:
    """Raises UserError unless the data set can be split as asked, see `make_split`."""
    part_counts(dataset, shares, long_tail)
    if dataset.groups is not None:
        _check_groups(dataset, draw_parts(dataset, shares, seed=0, split=0)[0])


def long_tail_counts(counts: np.ndarray, ratio: float) -> np.ndarray:
    """Class sizes of this ratio of the largest to the smallest, the others falling exponentially between them.

    The smallest class has n_min = min(smallest count, floor(largest count / ratio)) rows, the largest
    n_max = min(largest count, ceil(ratio n_min)), and class c min(count_c, floor(n_max ratio^(-r_c / (C - 1)))), at
    least n_min, with r_c its rank by size, the largest first and equal ones by index. So the larger classes are thinned
    where their data is more imbalanced than the ratio, and the smaller ones where it is less.

    Args:
        counts: (C,) int, rows a class, C of at least 2.
        ratio: largest/smallest class, above 1.

    Returns:
        (C,) int64, rows to keep; the ratio is exact up to a row of the largest class.

    Reference: Cui et al. 2019, arXiv 1901.05555 (long-tailed CIFAR).
    """
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    smallest = min(int(counts.min()), int(counts.max() / ratio))
    largest = min(int(counts.max()), math.ceil(ratio * smallest))
    tail = (largest / ratio ** (rank / (len(counts) - 1))).astype(np.int64)
    return np.minimum(counts, np.maximum(tail, smallest))


def _thinned(dataset: Dataset, rows: np.ndarray, ratio: float) -> np.ndarray:
    """The first rows of each class, as many as the long tail has."""
    labels = dataset.labels[rows]
    own = np.bincount(labels, minlength=len(dataset.class_names))
    _check_long_tail(dataset, own, ratio)
    counts = long_tail_counts(own, ratio)
    return np.concatenate([rows[labels == label][:count] for label, count in enumerate(counts)])


def _check_split(dataset: Dataset, shares: Shares, train_counts: np.ndarray) -> None:
    small = np.flatnonzero(train_counts < LEAST_OF_A_CLASS[TRAINING])
    if not small.size:
        return
    rows = dataset.class_counts[small]
    if rows.min() >= sum(LEAST_OF_A_CLASS):
        fractions = "data.validation_fraction or data.test_fraction"
        hint = f"lower {fractions if shares.held_out is None else 'evaluation.held_out'}"
    else:
        hint = _how_to_settle(dataset, small)
    raise UserError(
        what=f"{_named(dataset, small)} of {dataset.name} "
        f"{'has' if len(small) == 1 else 'have'} too few rows for training, validation and test",
        expected=f"a row each for validation and test and {LEAST_OF_A_CLASS[TRAINING]} for training, of each class",
        hint=hint,
    )


def _named(dataset: Dataset, labels: np.ndarray) -> str:
    """The classes with their rows: class 'a' (3 rows)."""
    said = []
    for label in labels[:MOST_NAMED]:
        rows = dataset.class_counts[label]
        repeats = dataset.repeats[label] if dataset.repeats else 0
        before = f", {rows + repeats} with those that repeat another" if repeats else ""
        said.append(f"{dataset.class_names[label]!r} ({rows} row{'' if rows == 1 else 's'}{before})")
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    return f"class{'' if len(labels) == 1 else 'es'} {', '.join(said)}{more}"


def _how_to_settle(dataset: Dataset, small: np.ndarray) -> str:
    """The mends for classes that are too small, of those that work."""
    ways = []
    if len(small) > 1 and dataset.class_counts[small].sum() >= sum(LEAST_OF_A_CLASS):
        ways.append("data.rare=join, which makes one class of them")
    if len(dataset.class_names) - len(small) > 1:
        ways.append("data.rare=drop, which leaves them out")
    if dataset.repeats and any(dataset.repeats[label] for label in small):
        ways.append("data.repeated=keep, which keeps rows that repeat another, in whatever part they fall")
    return f"write {', or '.join(ways)}" if ways else "bring more rows of each class"


def _check_given(dataset: Dataset, counts: Sequence[np.ndarray]) -> None:
    setting = "data.time" if dataset.times is not None else "data.part or data.test_path"
    lacking = np.stack(counts) < np.array(LEAST_OF_A_CLASS)[:, None]
    if lacking.any():
        part = int(lacking.any(axis=1).argmax())
        small = np.flatnonzero(lacking.any(axis=0))
        label = int(lacking[part].argmax())
        raise UserError(
            what=f"class {dataset.class_names[label]!r} of {dataset.name} has {counts[part][label]} rows in the "
            f"{PART_NAMES[part]} part that {setting} makes" + _and_others(dataset, small, label),
            expected=f"at least {LEAST_OF_A_CLASS[part]}",
            hint=f"{_how_to_settle(dataset, small)}, or make other parts",
        )


def _check_groups(dataset: Dataset, parts: Sequence[np.ndarray]) -> None:
    counts = class_counts(dataset, parts)
    lacking = counts < np.array(LEAST_OF_A_CLASS)[:, None]
    if lacking.any():
        part, label = np.argwhere(lacking)[0]
        small = np.flatnonzero(lacking.any(axis=0))
        assert dataset.groups is not None
        groups = len(np.unique(dataset.groups[dataset.labels == label]))
        raise UserError(
            what=f"class {dataset.class_names[label]!r} of {dataset.name} is in {groups} "
            f"group{'' if groups == 1 else 's'}, which leave{'s' if groups == 1 else ''} "
            f"{counts[part, label]} of its {dataset.class_counts[label]} rows to the {PART_NAMES[part]} part"
            + _and_others(dataset, small, label),
            expected=f"at least {LEAST_OF_A_CLASS[part]}, with whole groups in one part",
            hint=f"{_how_to_settle(dataset, small)}; groups of equal rows come apart with data.repeated=keep",
        )


def _and_others(dataset: Dataset, small: np.ndarray, label: int) -> str:
    others = small[small != label]
    return f", and likewise {_named(dataset, others)}" if others.size else ""


def _check_long_tail(dataset: Dataset, train_counts: np.ndarray, ratio: float) -> None:
    label = int(train_counts.argmin())
    left = min(int(train_counts[label]), int(train_counts.max() / ratio))
    if left < LEAST_OF_A_CLASS[TRAINING]:
        raise UserError(
            what=f"data.long_tail={ratio:g} leaves class {dataset.class_names[label]!r} of {dataset.name} "
            f"{left} training row{'' if left == 1 else 's'}",
            expected=f"at least {LEAST_OF_A_CLASS[TRAINING]}",
            hint=f"write data.long_tail={train_counts.max() // LEAST_OF_A_CLASS[TRAINING]} or less",
        )
