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
    parts = np.zeros(len(dataset.labels), np.int8) if dataset.parts is None else dataset.parts
    least = (sum(LEAST_OF_A_CLASS),) if dataset.parts is None else LEAST_OF_A_CLASS
    random = np.random.default_rng(SEED)
    left_out = []
    for part in np.unique(parts):
        for label in range(len(dataset.class_names)):
            rows = random.permutation(np.flatnonzero((parts == part) & (dataset.labels == label)))
            left_out.append(rows[max(round(len(rows) * limit / len(dataset.labels)), least[part]) :])
    rows = np.concatenate(left_out)
    kept = f"{len(dataset.labels) - len(rows):,} of {len(dataset.labels):,} rows kept"
    note = f"data.limit={limit}: {kept}, drawn from each class{'' if dataset.parts is None else ' and part'} alike"
    return replace(dataset.without(np.sort(rows)), notes=(*dataset.notes, note))
