"""A part of a data set that is like the whole: of each class, in each given part, its share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.parts import LEAST_OF_A_CLASS

SEED = 0


def limited(dataset: Dataset, limit: int | None) -> Dataset:
    """The data set with about so many of its rows, the same ones in every process.

    Args:
        dataset: as it was read.
        limit: rows to keep; None for all. Of a class in a part that the data gives the nearest whole number to its
            share is kept, and at least as many as a split needs.

    Returns:
        The data set; `notes` says how many rows were left out.
    """
    if limit is None or limit >= len(dataset.labels):
        return dataset
    rows, note = beyond(limit, dataset.labels, dataset.parts)
    return replace(dataset.without(rows), notes=(*dataset.notes, note))


def beyond(
    limit: int, labels: np.ndarray, parts: np.ndarray | None, noun: str = "rows"
) -> tuple[np.ndarray, str]:
    """The rows to leave out, sorted, and what is said of it.

    Args:
        limit: as `limited` has it.
        labels: (N,) of all rows.
        parts: (N,) likewise, None where the data gives none.
        noun: of rows.
    """
    of_parts = np.zeros(len(labels), np.int8) if parts is None else parts
    least = (sum(LEAST_OF_A_CLASS),) if parts is None else LEAST_OF_A_CLASS
    random = np.random.default_rng(SEED)
    left_out = []
    for part in np.unique(of_parts):
        for label in range(labels.max() + 1):
            rows = random.permutation(np.flatnonzero((of_parts == part) & (labels == label)))
            left_out.append(rows[max(round(len(rows) * limit / len(labels)), least[part]) :])
    rows = np.sort(np.concatenate(left_out))
    kept = f"{len(labels) - len(rows):,} of {len(labels):,} {noun} kept"
    return (
        rows,
        f"data.limit={limit}: {kept}, drawn from each class{'' if parts is None else ' and part'} alike",
    )
