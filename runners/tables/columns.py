"""Columns of features as the second reading fills them: numbers, dates as numbers, and text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.portable.cells import DATE_PARTS, date_part, dates_of
from lossfleet.runners.tables.profile import as_numbers
from lossfleet.runners.tables.reading import as_text
from lossfleet.runners.tables.uses import ColumnUse

if TYPE_CHECKING:
    import pyarrow as pa


class Column(Protocol):
    """Takes the cells of a column, batch by batch."""

    @property
    def name(self) -> str:
        """Of the column."""

    def fill(self, start: int, cells: pa.Array) -> None:
        """Take the cells of a batch whose first row is `start`, from 0."""


@dataclass(eq=False)
class NumberColumn:
    """Numbers by row, NaN where missing, written into a view (N,) of a larger array."""

    use: ColumnUse
    values: np.ndarray

    @property
    def name(self) -> str:
        """See Column."""
        return self.use.name

    def fill(self, start: int, cells: pa.Array) -> None:
        """See Column.

        Raises:
            UserError: a cell that is written otherwise than those before.
        """
        values = as_numbers(cells, self.use.decimal, self.use.missing)
        self.values[start : start + len(cells)] = values
        if self.use.decimal is None:
            return
        lost = np.isnan(values) & cells.is_valid().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(lost):
            if (word := cells[int(row)].as_py()) not in self.use.missing:
                raise UserError(
                    what=f"column {self.name!r} has {word!r} in row {start + int(row) + 1}, and other numbers with "
                    f"{self.use.decimal!r} before the fraction",
                    expected="numbers that are written alike",
                    hint="correct it, or say with data.decimal how they are written",
                )


@dataclass(eq=False)
class DateColumn:
    """Dates of a format, by row; NaT where missing."""

    name: str
    form: str
    rows: int
    stamps: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.stamps = np.full(self.rows, np.datetime64("NaT"), "datetime64[us]")

    def fill(self, start: int, cells: pa.Array) -> None:
        """See Column."""
        encoded = as_text(cells).dictionary_encode()
        dates = (
            dates_of(encoded.dictionary.to_pylist(), self.form).tz_localize(None).to_numpy("datetime64[us]")
        )
        of_word = np.append(dates, np.datetime64("NaT"))
        self.stamps[start : start + len(cells)] = of_word[encoded.indices.fill_null(-1).to_numpy()]

    def parts(self, how: str) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        """Name, numbers (N,) and how a kept model makes them, of each part that varies.

        Args:
            how: `parts` or `days`.
        """
        import pandas as pd

        dates = pd.DatetimeIndex(self.stamps).tz_localize("UTC")
        first = dates.min().isoformat()
        for part in DATE_PARTS if how == "parts" else ("days",):
            values = date_part(dates, part, first)
            if np.nanmin(values) < np.nanmax(values):
                spec = {"of": self.name, "part": part, "form": self.form, "first": first}
                yield f"{self.name}: {part}", values, spec


@dataclass(eq=False)
class TextColumn:
    """Texts by row, empty where missing."""

    name: str
    rows: int
    texts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.texts = np.full(self.rows, "", object)

    def fill(self, start: int, cells: pa.Array) -> None:
        """See Column."""
        self.texts[start : start + len(cells)] = as_text(cells).fill_null("").to_numpy(zero_copy_only=False)
