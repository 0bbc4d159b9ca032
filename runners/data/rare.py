"""Classes with too few rows for training, validation and test: left out, or joined into one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import small_classes
from lossfleet.runners.tables.report import rows_of

JOINED = "other"


def settle_rare(dataset: Dataset, how: str, shares: Shares) -> Dataset:
    """The data set without its too small classes, or with one class in their place.

    Args:
        dataset: as it was read, its repeated rows settled.
        how: `refuse` leaves it as it is, to be refused when it is split; `drop` leaves the rows of classes out that are
            too small; `join` makes one class of them.
        shares: of validation and test.

    Returns:
        The data set; `notes` says what was done.

    Raises:
        UserError: fewer than two classes are left, or there is one class alone to join.
    """
    small = np.flatnonzero(small_classes(dataset, shares))
    if how == "refuse" or not small.size:
        return dataset
    counts = dataset.class_counts
    named = ", ".join(
        f"{dataset.class_names[label]} ({counts[label]} row{'' if counts[label] == 1 else 's'})"
        for label in small
    )
    if len(dataset.class_names) - len(small) < (2 if how == "drop" else 1):
        raise UserError(
            what=f"data.rare={how} leaves fewer than two classes of {dataset.name}: too small are {named}",
            expected="at least two classes",
            hint="bring more rows of these classes",
        )
    if how == "drop":
        dropped = np.flatnonzero(np.isin(dataset.labels, small))
        kept = _with_classes(dataset.without(dropped), np.delete(dataset.class_names, small).tolist())
        note = f"{rows_of(len(dropped))} left out, of classes that are too small: {named}"
        # Without them whole groups may fall otherwise.
        return settle_rare(replace(kept, notes=(*dataset.notes, note)), how, shares)
    if len(small) < 2:
        raise UserError(
            what=f"data.rare=join on {dataset.name}, where one class alone is too small: {named}",
            expected="at least two classes to join",
            hint="write data.rare=drop, or join it with another class in your data",
        )
    name = JOINED
    while name in np.delete(dataset.class_names, small):
        name = f"{name} classes"
    labels = np.where(np.isin(dataset.labels, small), small[0], dataset.labels)
    names = [name if label == small[0] else own for label, own in enumerate(dataset.class_names)]
    joined = _with_classes(replace(dataset, labels=labels), np.delete(names, small[1:]).tolist(), names)
    return replace(joined, notes=(*dataset.notes, f"classes that are too small joined into {name}: {named}"))


def _with_classes(dataset: Dataset, kept: list[str], names: list[str] | None = None) -> Dataset:
    """The data set with these of its classes alone, numbered from the largest to the smallest.

    Args:
        dataset: its labels are of kept classes alone.
        kept: names.
        names: of all its labels; None for its own.
    """
    names = list(dataset.class_names) if names is None else names
    labels = np.array([names.index(name) for name in kept])
    order = labels[np.argsort(-np.bincount(dataset.labels, minlength=len(names))[labels], kind="stable")]
    renumbered = np.zeros(len(names), np.int64)
    renumbered[order] = np.arange(len(order))
    return replace(
        dataset,
        labels=renumbered[dataset.labels],
        class_names=tuple(names[label] for label in order),
        repeats=(),
    )
