"""The column that says what each row counts for, in training and in metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.tables.columns import NumberColumn
from lossfleet.runners.tables.profile import LARGEST_NUMBER, ColumnProfile
from lossfleet.runners.tables.uses import Choices, use_of_number

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(eq=False)
class Weights:
    """The weights of the rows, filled batch by batch; they are numbers, written as those of features may be."""

    column: NumberColumn

    @classmethod
    def of(cls, profile: ColumnProfile, choices: Choices) -> Weights:
        """The weights that a profile describes.

        Raises:
            UserError: a cell that is no finite number; missing ones are not looked at.
        """
        if profile.strange:
            row, word = min((row, word) for word, (row, _) in profile.strange.items())
            raise _wrong(profile.name, repr(word), row)
        if profile.excess is not None:
            row, value = profile.excess
            raise _wrong(profile.name, f"{value:g}", row)
        return cls(NumberColumn(use_of_number(profile, choices), np.empty(profile.rows)))

    @property
    def name(self) -> str:
        """Of the column."""
        return self.column.name

    @property
    def values(self) -> np.ndarray:
        """(N,) float64, as the file has them."""
        return self.column.values

    def fill(self, start: int, cells: pa.Array) -> None:
        """Take the cells of a batch."""
        self.column.fill(start, cells)

    def check(self) -> None:
        """Raises UserError for a negative weight, or where no row weighs anything."""
        negative = np.flatnonzero(self.values < 0)
        if negative.size:
            raise _wrong(self.name, f"{self.values[negative[0]]:g}", int(negative[0]) + 1)
        if not self.values.any():
            raise UserError(
                what=f"the weight {self.name!r} is 0 in all {len(self.values)} rows",
                expected="a weight above 0 in some of them",
                hint="choose another data.weight, or leave it out",
            )


def weighed(dataset: Dataset, column: str) -> Dataset:
    """The data set without the rows that weigh nothing, with a note on the weights of the others.

    Args:
        dataset: has weights, of at least 0.
        column: that they are from.

    Raises:
        UserError: a class whose rows all weigh nothing.
    """
    weights = dataset.weights
    assert weights is not None
    nothing = np.flatnonzero(weights == 0)
    notes = []
    if nothing.size:
        notes.append(
            f"{len(nothing)} of {len(dataset.labels)} rows left out that weigh{'s' if len(nothing) == 1 else ''} 0"
        )
        dataset, weights = dataset.without(nothing), np.delete(weights, nothing)
        for name, count in zip(dataset.class_names, dataset.class_counts, strict=True):
            if not count:
                raise UserError(
                    what=f"the weight {column!r} is 0 in every row of class {name!r}",
                    expected="a weight above 0 in some rows of each class",
                    hint="take the rows of this class out, or choose another data.weight",
                )
    notes.append(
        f"weights: from the column {column}, {weights.min():.6g} to {weights.max():.6g}, mean {weights.mean():.3g}, "
        "brought to mean 1 in each part"
    )
    return replace(dataset, notes=(*dataset.notes, *notes))


def _wrong(column: str, value: str, row: int) -> UserError:
    return UserError(
        what=f"the weight {column!r} has {value} in row {row}",
        expected=f"a number of at least 0 in every row, at most {LARGEST_NUMBER:.2g}",
        hint="correct it, or choose another data.weight",
    )
