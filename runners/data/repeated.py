"""Rows that repeat an earlier one: in a training and a test part at once they would be known before they are tested."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.images.parts import TRAINING
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.tables.report import rows_of

if TYPE_CHECKING:
    import pandas as pd

# Where fewer rows repeat an earlier one, they are measurements written twice; where more do, there are few
# different rows to begin with, and their number is what was measured.
SHARE_TO_DROP = 0.05


def settle_repeated(dataset: Dataset, how: str) -> Dataset:
    """The data set with its repeated rows left out, or kept in one part.

    Args:
        dataset: as it was read.
        how: `drop` leaves out rows that are equal to an earlier one, label included; `group` keeps them, and rows of
            equal features in one part; `keep` leaves the data as it is; `auto` keeps where the data says itself what
            belongs together, by groups, times or parts, else drops where less than 5 % go, else groups.

    Returns:
        The data set; `notes` says what was done, and how many equal rows have different labels.
    """
    equal = equal_rows(dataset.features)
    # Few of a large table are: the others need no memory.
    alike = np.flatnonzero(np.bincount(equal)[equal] > 1)
    pairs = np.stack([equal[alike], dataset.labels[alike]])
    different, first, of_pair = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
    repeated = np.delete(alike, first)
    sets, classes = np.unique(different[0], return_counts=True)
    torn = np.isin(equal, sets[classes > 1])
    notes = []
    otherwise = 0
    if dataset.weights is not None:
        otherwise = np.count_nonzero(dataset.weights[alike] != dataset.weights[alike[first][of_pair.ravel()]])
    if repeated.size:
        of_all = f"{len(repeated)} of {len(equal)} rows repeat an earlier row exactly"
        chosen = _chosen(dataset, len(repeated) / len(equal)) if how == "auto" else how
        if chosen == "drop":
            repeats = np.bincount(dataset.labels[repeated], minlength=len(dataset.class_names))
            dataset = replace(dataset.without(repeated), repeats=tuple(repeats.tolist()))
            torn = np.delete(torn, repeated)
            notes.append(
                f"{rows_of(len(repeated))} left out that repeat{'s' if len(repeated) == 1 else ''} an earlier row "
                f"exactly: {'it' if len(repeated) == 1 else 'they'} would leak across splits"
                + (f"; {otherwise} of them weigh otherwise than the row that stays" if otherwise else "")
            )
        elif chosen == "group":
            dataset = replace(dataset, groups=equal)
            sets = f"each of {len(np.unique(equal))} sets of equal features in one part"
            hint = "; data.repeated=keep leaves them wherever they fall" if how == "auto" else ""
            notes.append(f"{of_all}: all are kept, {sets}{hint}")
        else:
            notes.append(f"{of_all}: all are kept, in whatever part they are")
            if dataset.parts is not None:
                notes += _leaks(equal, dataset.parts)
    if torn.any():
        notes.append(f"{torn.sum()} rows have the features of a row of another class")
    return replace(dataset, notes=(*dataset.notes, *notes))


def _leaks(equal: np.ndarray, parts: np.ndarray) -> list[str]:
    """What of given parts is known before it is tested: rows of others that have the features of a training row."""
    of_training = np.isin(equal, equal[parts == TRAINING]) & (parts != TRAINING)
    if not of_training.any():
        return []
    tested = parts[parts != TRAINING].size
    return [
        f"leak: {of_training.sum()} of {tested} validation and test rows have the features of a training row; "
        "data.repeated=drop leaves out rows that repeat an earlier one, label included"
    ]


def equal_rows(features: pd.DataFrame | Images) -> np.ndarray:
    """(N,) int64: for each row the first one with the same features, which may be itself; missing equals missing."""
    from pandas.util import hash_pandas_object

    if isinstance(features, Images):
        return features.equal()
    if features.shape[1] > len(features):
        return _equal_wide_rows(features)
    # Only rows of equal hashes are compared: comparing all would need the memory of the table again.
    hashes = hash_pandas_object(features, index=False)
    alike = np.flatnonzero(hashes.duplicated(keep=False))
    first = np.arange(len(features))
    if alike.size:
        suspects = features.iloc[alike]
        words = suspects.select_dtypes("category").columns
        suspects = suspects.assign(**{name: suspects[name].cat.codes for name in words})
        sets = suspects.groupby(list(suspects), sort=False, dropna=False).ngroup().to_numpy()
        # Sets are numbered in the order of their first rows.
        first[alike] = alike[np.unique(sets, return_index=True)[1]][sets]
    return first


def _equal_wide_rows(features: pd.DataFrame) -> np.ndarray:
    """The same for few rows of many columns, each of which takes pandas longer than all of its cells."""
    coded = {name: features[name].cat.codes for name in features.select_dtypes("category").columns} | {
        name: features[name].factorize()[0] for name in features.select_dtypes(["object", "string"]).columns
    }
    # A zero may be negative, and NaN have several patterns of bits.
    values = (features.assign(**coded) if coded else features).to_numpy(np.float64) + 0.0
    values[np.isnan(values)] = np.nan
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), place) for place, row in enumerate(values)], np.int64)


def _chosen(dataset: Dataset, share: float) -> str:
    if any(each is not None for each in (dataset.groups, dataset.times, dataset.parts)):
        return "keep"
    return "drop" if share < SHARE_TO_DROP else "group"
