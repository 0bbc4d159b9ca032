"""Training, validation and test parts of a data set: how many rows, and how they are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.builtin import TEST, TRAINING, VALIDATION, Dataset
from lossfleet.runners.data.encoding import encode
from lossfleet.runners.data.parts import (
    LEAST_OF_A_CLASS,
    PART_NAMES,
    Shares,
    class_counts,
    draw_parts,
    given_parts,
    held_out_counts,
)


@dataclass(frozen=True, eq=False)
class Split:
    """One split: features (n, F) float32, encoded; labels (n,) int32; class_counts (C,) of training.

    draws and rarest_class are the same for all splits of a data set, so that replicates stack: an epoch draws as many
    examples as the training part has, or has about, where whole groups go into a part. test_rows: those of the data
    set that the test part has, (n,) int64. pool_rows: how many rows all test parts are drawn from, None for the whole
    data set.
    """

    train_features: np.ndarray
    train_labels: np.ndarray
    validation_features: np.ndarray
    validation_labels: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray
    test_rows: np.ndarray
    class_counts: np.ndarray
    rarest_class: int
    draws: int
    pool_rows: int | None = None

    @property
    def nbytes(self) -> int:
        """The memory of all parts in bytes."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


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
        class_counts=np.bincount(labels[TRAINING], minlength=len(dataset.class_names)),
        rarest_class=int(counts[TRAINING].argmin()),
        draws=int(counts[TRAINING].sum()),
        pool_rows=None if pool is None else len(pool),
    )


def part_counts(
    dataset: Dataset, shares: Shares, long_tail: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows a class (C,) of the training, validation and test part, as `make_split` makes them; with groups, about.

    Raises:
        UserError: for a class too small to leave a row to validation and test and two to training.
    """
    given = given_parts(dataset, shares)
    if given is None:
        counts = dataset.class_counts
        test_counts = held_out_counts(counts, shares.test)
        apart = test_counts if shares.held_out is None else held_out_counts(counts, shares.held_out)
        validation_counts = held_out_counts(counts, shares.validation)
        train_counts = counts - validation_counts - apart
        # How many rows whole groups bring is known when they are drawn.
        if dataset.groups is None:
            _check_split(dataset, train_counts)
    else:
        train_counts, validation_counts, test_counts = (
            np.bincount(dataset.labels[given == part], minlength=len(dataset.class_names))
            for part in (TRAINING, VALIDATION, TEST)
        )
        if not validation_counts.any():
            validation_counts = np.minimum(train_counts, held_out_counts(train_counts, shares.validation))
            train_counts = train_counts - validation_counts
        _check_given(dataset, (train_counts, validation_counts, test_counts))
    if long_tail is not None:
        train_counts = long_tail_counts(train_counts, long_tail)
        _check_long_tail(dataset, train_counts, long_tail)
    return train_counts, validation_counts, test_counts


def check_split(dataset: Dataset, shares: Shares, long_tail: float | None = None) -> None:
    """Raises UserError unless the data set can be split as asked, see `make_split`."""
    part_counts(dataset, shares, long_tail)
    if dataset.groups is not None:
        _check_groups(dataset, draw_parts(dataset, shares, seed=0, split=0)[0])


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


def _thinned(dataset: Dataset, rows: np.ndarray, ratio: float) -> np.ndarray:
    """The first rows of each class, as many as the long tail has."""
    labels = dataset.labels[rows]
    counts = long_tail_counts(np.bincount(labels, minlength=len(dataset.class_names)), ratio)
    _check_long_tail(dataset, counts, ratio)
    return np.concatenate([rows[labels == label][:count] for label, count in enumerate(counts)])


def _check_split(dataset: Dataset, train_counts: np.ndarray) -> None:
    label = int(train_counts.argmin())
    if train_counts[label] < LEAST_OF_A_CLASS[TRAINING]:
        raise UserError(
            what=f"class {dataset.class_names[label]!r} of {dataset.name} has "
            f"{dataset.class_counts[label]} rows, too few for training, validation and test",
            expected=f"a row each for validation and test and {LEAST_OF_A_CLASS[TRAINING]} for training",
            hint="lower data.validation_fraction and data.test_fraction, or join the class with another",
        )


def _check_given(dataset: Dataset, counts: Sequence[np.ndarray]) -> None:
    setting = "data.time" if dataset.times is not None else "data.part or data.test_path"
    for part, least in enumerate(LEAST_OF_A_CLASS):
        label = int(counts[part].argmin())
        if counts[part][label] < least:
            raise UserError(
                what=f"class {dataset.class_names[label]!r} of {dataset.name} has {counts[part][label]} rows in the "
                f"{PART_NAMES[part]} part that {setting} makes",
                expected=f"at least {least}",
                hint="join the class with another, or make other parts",
            )


def _check_groups(dataset: Dataset, parts: Sequence[np.ndarray]) -> None:
    counts = class_counts(dataset, parts)
    lacking = np.argwhere(counts < np.array(LEAST_OF_A_CLASS)[:, None])
    if len(lacking):
        part, label = lacking[0]
        assert dataset.groups is not None
        groups = len(np.unique(dataset.groups[dataset.labels == label]))
        raise UserError(
            what=f"class {dataset.class_names[label]!r} of {dataset.name} is in {groups} groups, which leave "
            f"{counts[part, label]} of its rows to the {PART_NAMES[part]} part",
            expected=f"at least {LEAST_OF_A_CLASS[part]}, with whole groups in one part",
            hint="join the class with another; groups of equal rows come apart with data.repeated=keep",
        )


def _check_long_tail(dataset: Dataset, train_counts: np.ndarray, ratio: float) -> None:
    label = int(train_counts.argmin())
    if train_counts[label] < LEAST_OF_A_CLASS[TRAINING]:
        raise UserError(
            what=f"data.long_tail={ratio:g} leaves class {dataset.class_names[label]!r} of {dataset.name} "
            f"{train_counts[label]} training rows",
            expected=f"at least {LEAST_OF_A_CLASS[TRAINING]}",
            hint=f"write data.long_tail={train_counts.max() // LEAST_OF_A_CLASS[TRAINING]} or less",
        )
