"""Stratified training, validation and test parts of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.encoding import encode
from lossfleet.runners.streams import Stream, seed_sequence

# Two, so that every class of the training part has a neighbour to interpolate with.
SMALLEST_TRAINING_CLASS = 2


@dataclass(frozen=True, eq=False)
class Split:
    """One split: features (n, F) float32, encoded; labels (n,) int32; class_counts (C,) of training."""

    train_features: np.ndarray
    train_labels: np.ndarray
    validation_features: np.ndarray
    validation_labels: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray
    class_counts: np.ndarray
    rarest_class: int

    @property
    def nbytes(self) -> int:
        """The memory of all parts in bytes."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


def make_split(
    dataset: Dataset,
    *,
    seed: int,
    split: int,
    validation_fraction: float,
    test_fraction: float,
    long_tail: float | None = None,
) -> Split:
    """Split a data set, thin the training part to a long tail, encode all by the training part.

    A class of n rows gives max(1, round(fraction n)) rows to validation and to test and the rest to training.
    These counts depend on neither seed nor split, so that replicates stack; which rows they are depends on both.
    With `long_tail` the training part is thinned as `long_tail_counts` says. How columns are encoded and scaled
    is learnt from the training part alone, after thinning; a column that is constant there is only centred.

    Args:
        dataset: what to split.
        seed, split: integers of at least 0; each pair is another split.
        validation_fraction, test_fraction: shares of the whole data set, in (0, 1), their sum below 1.
        long_tail: largest/smallest class of the training part, above 1; None leaves the classes as they are.

    Returns:
        The split. `rarest_class` is the smallest class of the training part, the first one if several are.

    Raises:
        UserError: for a class too small to leave a row to validation and test and two to training.
    """
    from sklearn.model_selection import train_test_split

    counts = dataset.class_counts
    train_counts, validation_counts, test_counts = part_counts(
        dataset,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        long_tail=long_tail,
    )

    # One MT19937 generator walks through all classes: an integer would split equal classes alike.
    random = np.random.RandomState(np.random.MT19937(seed_sequence(Stream.SPLIT, seed, split)))
    train_rows, validation_rows, test_rows = [], [], []
    for label in range(len(counts)):
        rows = np.flatnonzero(dataset.labels == label)
        rows, test = train_test_split(rows, test_size=int(test_counts[label]), random_state=random)
        train, validation = train_test_split(
            rows, test_size=int(validation_counts[label]), random_state=random
        )
        train_rows.append(train[: train_counts[label]])
        validation_rows.append(validation)
        test_rows.append(test)

    parts = [np.sort(np.concatenate(rows)) for rows in (train_rows, validation_rows, test_rows)]
    features = encode(dataset.features, parts)
    labels = [dataset.labels[rows].astype(np.int32) for rows in parts]
    return Split(
        train_features=features[0],
        train_labels=labels[0],
        validation_features=features[1],
        validation_labels=labels[1],
        test_features=features[2],
        test_labels=labels[2],
        class_counts=train_counts,
        rarest_class=int(train_counts.argmin()),
    )


def part_counts(
    dataset: Dataset, *, validation_fraction: float, test_fraction: float, long_tail: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows a class (C,) of the training, validation and test part, as `make_split` makes them.

    Raises:
        UserError: for a class too small to leave a row to validation and test and two to training.
    """
    validation_counts = _held_out_counts(dataset.class_counts, validation_fraction)
    test_counts = _held_out_counts(dataset.class_counts, test_fraction)
    train_counts = dataset.class_counts - validation_counts - test_counts
    _check_split(dataset, train_counts)
    if long_tail is not None:
        train_counts = long_tail_counts(train_counts, long_tail)
        _check_long_tail(dataset, train_counts, long_tail)
    return train_counts, validation_counts, test_counts


def long_tail_counts(counts: np.ndarray, ratio: float) -> np.ndarray:
    """Class sizes that fall exponentially from the largest class to 1/ratio of it.

    n_c = min(count_c, floor(n_max ratio^(-r_c / (C - 1)))), with r_c the rank of class c by size, the largest
    first and equal ones by index. Where a class has fewer rows than that, the ratio gets larger.

    Args:
        counts: (C,) int, rows a class, C of at least 2.
        ratio: largest/smallest class, above 1.

    Returns:
        (C,) int64, rows to keep.

    Reference: Cui et al. 2019, arXiv 1901.05555 (long-tailed CIFAR).
    """
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    tail = counts.max() / ratio ** (rank / (len(counts) - 1))
    return np.minimum(counts, tail.astype(np.int64))


def _held_out_counts(counts: np.ndarray, fraction: float) -> np.ndarray:
    return np.maximum(1, np.rint(counts * fraction).astype(np.int64))


def _check_split(dataset: Dataset, train_counts: np.ndarray) -> None:
    label = int(train_counts.argmin())
    if train_counts[label] < SMALLEST_TRAINING_CLASS:
        raise UserError(
            what=f"class {dataset.class_names[label]!r} of {dataset.name} has "
            f"{dataset.class_counts[label]} rows, too few for training, validation and test",
            expected=f"a row each for validation and test and {SMALLEST_TRAINING_CLASS} for training",
            hint="lower data.validation_fraction and data.test_fraction, or join the class with another",
        )


def _check_long_tail(dataset: Dataset, train_counts: np.ndarray, ratio: float) -> None:
    label = int(train_counts.argmin())
    if train_counts[label] < SMALLEST_TRAINING_CLASS:
        raise UserError(
            what=f"data.long_tail={ratio:g} leaves class {dataset.class_names[label]!r} of {dataset.name} "
            f"{train_counts[label]} training rows",
            expected=f"at least {SMALLEST_TRAINING_CLASS}",
            hint=f"write data.long_tail={train_counts.max() // SMALLEST_TRAINING_CLASS} or less",
        )
