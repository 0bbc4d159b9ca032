"""Columns of a table that are no features, and say which rows belong into which part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import show
from lossfleet.runners.data.parts import PART_NAMES
from lossfleet.runners.portable.cells import dates_of
from lossfleet.runners.tables.categories import Categories
from lossfleet.runners.tables.profile import ColumnProfile, as_numbers

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
    form: str | None = None

    @classmethod
    def of(cls, profile: ColumnProfile) -> Aside:
        """The column that a profile describes, to be filled."""
        if profile.is_plain:
            return cls(profile.name, np.empty(profile.rows), None)
        words = Categories(profile.name, profile.rows, most=profile.rows)
        return cls(profile.name, np.empty(0), words, profile.date_format)

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
        words = list(self.words.words)
        dates = dates_of(words, self.form or "ISO8601")
        if dates.isna().any():
            wrong = int(dates.isna().argmax())
            raise self._wrong(
                wrong, "numbers, or dates, all written alike, such as 2024-01-31 or 31.01.2024 12:00"
            )
        return dates.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64)[self.words.codes]

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


def check_complete(setting: str, column: str, rows: int, missing: int, first: Sequence[int]) -> None:
    """Raises UserError where cells of a column are missing that each row needs.

    Args:
        setting: that names it, without `data.`.
        column: its name.
        rows: of the table.
        missing: how many cells.
        first: the first rows where they are, from 1.
    """
    if missing:
        more = ", ..." if missing > FEW else ""
        raise UserError(
            what=f"the {setting} {column!r} is missing in {missing} of {rows} rows: "
            f"{', '.join(map(str, first[:FEW]))}{more}",
            expected=f"a {'class' if setting == 'target' else 'value'} in every row",
            hint="fill the cells in, or take the rows out",
        )
