"""Which rows are trained, validated and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lossfleet.conf.datasets import Data
from lossfleet.conf.errors import UserError
from lossfleet.conf.evaluations import Evaluation
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.images.parts import TEST, TRAINING, VALIDATION
from lossfleet.runners.streams import Stream, seed_sequence

PART_NAMES = {TRAINING: "training", VALIDATION: "validation", TEST: "test"}
# Rows of a class in each part; two to train on, so that each has a neighbour to interpolate with.
LEAST_OF_A_CLASS = (2, 1, 1)
# Where whole groups go into a part, a class may miss one by chance; so often another draw is tried.
DRAWS_OF_GROUPS = 100


class Shares(NamedTuple):
    """The shares of the validation and the test part, in (0, 1), their sum below 1; the rest is for training.

    Attributes:
        held_out: the share, at least `test`, that all test parts are drawn from, whatever the seed and split; None for
            the whole data set.
        outer_part: which draw of the held-out rows, from 1; None for that of evaluation=holdout.
    """

    validation: float
    test: float
    held_out: float | None = None
    outer_part: int | None = None

    @classmethod
    def of(cls, data: Data, evaluation: Evaluation) -> Shares:
        """What the settings ask for."""
        validation, test = data.validation_fraction, data.test_fraction
        if evaluation.name == "nested":
            # All that is put aside is tested on.
            return cls(validation, test, held_out=test, outer_part=evaluation.outer_part or 1)
        return cls(validation, test, evaluation.held_out)


def draw_parts(
    dataset: Dataset, shares: Shares, *, seed: int, split: int
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """The rows of the training, validation and test part.

    Each class gives its share of rows to each part. Of a data set with groups whole groups go into a part; a group
    counts for the rarest of its classes, and of the groups that count for a class each part gets its share, so that
    rows a part differ from split to split. Given parts, and those by time, are the same for all pairs of seed and
    split; where they have no validation part, it is drawn from the training part.

    Args:
        dataset: what to split.
        shares: of the parts.
        seed, split: integers of at least 0.

    Returns:
        Rows a part, those of a class in random order, and the rows that all test parts are drawn from; None for all.

    Raises:
        UserError: as `given_parts`.
    """
    # One MT19937 generator walks through all classes: an integer would split equal classes alike.
    random = np.random.RandomState(np.random.MT19937(seed_sequence(Stream.SPLIT, seed, split)))
    units, strata = _units(dataset)
    given = given_parts(dataset, shares)
    if units is None:
        return _draw(strata, given, shares, random)
    # A group is in one part, so that any of its rows says in which.
    given = None if given is None else given[np.unique(units, return_index=True)[1]]
    for _ in range(DRAWS_OF_GROUPS):
        parts, pool = _draw(strata, given, shares, random)
        parts = [random.permutation(np.flatnonzero(np.isin(units, part))) for part in parts]
        if (class_counts(dataset, parts) >= np.array(LEAST_OF_A_CLASS)[:, None]).all():
            break
    return parts, None if pool is None else np.flatnonzero(np.isin(units, pool))


def class_counts(dataset: Dataset, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (P, C) of each class in each of the parts."""
    return np.stack([dataset.counts_among(rows) for rows in parts])


def given_parts(dataset: Dataset, shares: Shares) -> np.ndarray | None:
    """The part of each row (N,) where the data decides it, or None.

    By time the latest rows are tested on, as near to their share as whole times allow, and those before them are
    validated on.

    Raises:
        UserError: a group in two parts, fewer than three times, or rows to hold out beside given parts.
    """
    if dataset.parts is None and dataset.times is None:
        return None
    if shares.held_out is not None:
        name = "holdout" if shares.outer_part is None else "nested"
        raise UserError(
            what=f"evaluation={name} on {dataset.name}, whose test part is given",
            expected="rows to draw a test part from",
            hint="write evaluation=resampled: the given test part is apart from the search already",
        )
    parts = dataset.parts if dataset.times is None else _parts_by_time(dataset.times, shares)
    assert parts is not None
    if dataset.groups is not None:
        pairs = np.unique(np.stack([dataset.groups, parts]), axis=1)
        torn = len(pairs[0]) - len(np.unique(pairs[0]))
        if torn:
            raise UserError(
                what=f"{torn} groups of {dataset.name} have rows in more than one of the given parts",
                expected="each group in one part",
                hint="make other parts, or leave data.group out",
            )
    return parts


def is_fixed(dataset: Dataset) -> bool:
    """Whether the data decides all parts, so that all of its splits are the same."""
    return dataset.times is not None or (dataset.parts is not None and VALIDATION in dataset.parts)


def held_out_counts(counts: np.ndarray | int, fraction: float) -> np.ndarray:
    """How many of some rows are this share of them, at least one."""
    return np.maximum(1, np.rint(np.multiply(counts, fraction)).astype(np.int64))


def _units(dataset: Dataset) -> tuple[np.ndarray | None, np.ndarray]:
    """What goes into a part as a whole: its number by row, None for the rows themselves; the class it counts for."""
    if dataset.groups is None:
        return None, dataset.labels
    units = np.unique(dataset.groups, return_inverse=True)[1]
    strata = np.empty(units.max() + 1, np.int64)
    # From the largest class to the rarest, which stays.
    for label in np.argsort(-dataset.class_counts, kind="stable"):
        strata[units[dataset.labels == label]] = label
    return units, strata


def _draw(
    strata: np.ndarray, given: np.ndarray | None, shares: Shares, random: np.random.RandomState
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """The units of each part, and those that all test parts are drawn from; None for all units."""
    if given is None:
        *parts, pool = _draw_all(strata, shares, random)
        return parts, None if shares.held_out is None else pool
    parts = [np.flatnonzero(given == part) for part in PART_NAMES]
    if not parts[VALIDATION].size:
        free = parts[TRAINING]
        train, validation, *_ = _draw_all(strata[free], shares._replace(test=0, held_out=None), random)
        parts[TRAINING], parts[VALIDATION] = free[train], free[validation]
    return parts, parts[TEST]


def _draw_all(strata: np.ndarray, shares: Shares, random: np.random.RandomState) -> list[np.ndarray]:
    """The units to train, to validate and to test on, and those that all test parts are drawn from."""
    key = () if shares.outer_part is None else (shares.outer_part,)
    held_out_random = np.random.RandomState(np.random.MT19937(seed_sequence(Stream.HELD_OUT, *key)))
    drawn: list[list[np.ndarray]] = []
    for stratum in np.unique(strata):
        units = np.flatnonzero(strata == stratum)
        tested, validated, held_out = (
            int(held_out_counts(len(units), share)) if share else 0
            for share in (shares.test, shares.validation, shares.held_out)
        )
        if len(units) <= max(tested, held_out) + validated:
            # Groups that are too few for all parts; a class that is in no others is refused.
            drawn.append([units, units[:0], units[:0], units[:0]])
            continue
        if held_out:
            rest, pool = _cut(units, held_out, held_out_random)
            _, test = _cut(pool, tested, random)
        else:
            rest, test = _cut(units, tested, random)
            pool = units
        train, validation = _cut(rest, validated, random)
        drawn.append([train, validation, test, pool])
    return [np.concatenate(each) for each in zip(*drawn, strict=True)]


def _cut(units: np.ndarray, count: int, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """The units that are left, and so many drawn from them, or all."""
    from sklearn.model_selection import train_test_split

    if count == 0:
        return units, units[:0]
    if count == len(units):
        return units[:0], units
    rest, drawn = train_test_split(units, test_size=count, random_state=random)
    return rest, drawn


def _parts_by_time(times: np.ndarray, shares: Shares) -> np.ndarray:
    different, rows = np.unique(times, return_counts=True)
    if len(different) < len(PART_NAMES):
        raise UserError(
            what=f"data.time has {len(different)} different times",
            expected="at least three, for training, validation and test",
            hint="choose another data.time",
        )
    from_here = rows[::-1].cumsum()[::-1] / len(times)
    tested = 2 + int(np.abs(from_here[2:] - shares.test).argmin())
    validated = 1 + int(np.abs(from_here[1:tested] - shares.test - shares.validation).argmin())
    parts = np.full(len(times), TRAINING, np.int8)
    parts[times >= different[validated]] = VALIDATION
    parts[times >= different[tested]] = TEST
    return parts
