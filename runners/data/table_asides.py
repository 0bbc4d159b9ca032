"""Columns of a table that are no features, and say which rows belong into which part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import show
from lossfleet.runners.data.parts import PART_NAMES
from lossfleet.runners.data.table_columns import Categories, ColumnProfile, as_numbers

if TYPE_CHECKING:
    import pyarrow as pa

# Named in a message.
FEW = 5


@dataclass(eq=False)
class Aside:
    """The cells of such a column: numbers, or words with a code a row."""

    name: str
    numbers: np.ndarray
    words: Categories | None

    @classmethod
    def of(cls, profile: ColumnProfile) -> Aside:
        """The column that a profile describes, to be filled."""
        if profile.is_numeric:
            return cls(profile.name, np.empty(profile.rows), None)
        return cls(profile.name, np.empty(0), Categories(profile.name, profile.rows, profile.rows))

    def fill(self, start: int, cells: pa.Array) -> None:
        """Take the cells of a batch."""
        if self.words is not None:
            self.words.fill(start, cells)
        else:
            self.numbers[start : start + len(cells)] = as_numbers(cells)

    def codes(self) -> np.ndarray:
        """(N,) int64, equal where the cells are."""
        if self.words is None:
            return np.unique(self.numbers, return_inverse=True)[1].astype(np.int64)
        return self.words.codes.astype(np.int64)

    def times(self) -> np.ndarray:
        """(N,) numbers in the order of the cells: the numbers themselves, or nanoseconds of dates.

        Raises:
            UserError: a word that is no date.
        """
        if self.words is None:
            return self.numbers
        import pandas as pd

        words = list(self.words.words)
        dates = pd.to_datetime(pd.Series(words), format="ISO8601", utc=True, errors="coerce")
        if dates.isna().any():
            wrong = int(dates.isna().to_numpy().argmax())
            raise self._wrong(
                wrong, "numbers, or dates from the year on, such as 2024-01-31 or 2024-01-31T12:00"
            )
        return dates.to_numpy("datetime64[ns]").astype(np.int64)[self.words.codes]

    def parts(self) -> np.ndarray:
        """(N,) int8, the part that each cell names.

        Raises:
            UserError: a word that is no part.
        """
        names = list(PART_NAMES.values())
        expected = f"one of {', '.join(names)}"
        if self.words is None:
            raise UserError(
                what=f"column {self.name!r} has numbers, and data.part names it",
                expected=f"{expected} in each row",
                hint="write the parts as words, or choose another data.part",
            )
        words = list(self.words.words)
        for code, word in enumerate(words):
            if word not in names:
                raise self._wrong(code, expected)
        return np.array([names.index(word) for word in words], np.int8)[self.words.codes]

    def _wrong(self, code: int, expected: str) -> UserError:
        assert self.words is not None
        row = int((self.words.codes == code).argmax()) + 1
        return UserError(
            what=f"column {self.name!r} has {show(list(self.words.words)[code])} in row {row}",
            expected=expected,
            hint="correct the row, or choose another column",
        )


def check_complete(setting: str, column: ColumnProfile) -> None:
    """Raises UserError where cells of a column are missing that each row needs.

    Args:
        setting: that names it, without `data.`.
        column: as it was read.
    """
    if column.missing:
        more = ", ..." if column.missing > FEW else ""
        raise UserError(
            what=f"the {setting} {column.name!r} is missing in {column.missing} of {column.rows} rows: "
            f"{', '.join(map(str, column.missing_rows[:FEW]))}{more}",
            expected=f"a {'class' if setting == 'target' else 'value'} in every row",
            hint="fill the cells in, or take the rows out",
        )
