"""What the columns of a table hold: numbers, categories, or what cannot be used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import show
from lossfleet.runners.data.table_file import is_date

if TYPE_CHECKING:
    import pyarrow as pa

# A text column of more different values is no set of categories, and each costs a feature.
MOST_CATEGORIES = 256
# A column of which at least this share is numbers has wrong cells, not categories.
NUMBERS_OF_A_NUMERIC_COLUMN = 0.9
# Features are float32.
LARGEST_NUMBER = float(np.finfo(np.float32).max)
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}( .*)?")
NAMED_ROWS = 5


def as_numbers(cells: pa.Array) -> np.ndarray:
    """Cells as float64, NaN where they are missing or no number."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        # Each word once: few columns have as many words as rows.
        encoded = cells.dictionary_encode()
        words = pd.Series(encoded.dictionary.to_pylist(), dtype=object)
        numbers = pd.to_numeric(words, errors="coerce").to_numpy(np.float64)
        return np.append(numbers, np.nan)[encoded.indices.fill_null(-1).to_numpy()]


@dataclass(eq=False)
class ColumnProfile:
    """What the first reading finds in a column; rows are counted from 1, the header not counted."""

    name: str
    rows: int = 0
    missing: int = 0
    numbers: int = 0
    missing_rows: list[int] = field(default_factory=list)
    first_word: tuple[int, str] | None = None
    first_excess: tuple[int, float] | None = None

    def look(self, cells: pa.Array) -> None:
        """Take the cells of a further batch."""
        absent = cells.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        values = as_numbers(cells)
        words = np.flatnonzero(~absent & np.isnan(values))
        excess = np.flatnonzero(np.abs(values) > LARGEST_NUMBER)
        if words.size and self.first_word is None:
            self.first_word = self.rows + int(words[0]) + 1, cells[int(words[0])].as_py()
        if excess.size and self.first_excess is None:
            self.first_excess = self.rows + int(excess[0]) + 1, float(values[excess[0]])
        if absent.any() and len(self.missing_rows) < NAMED_ROWS:
            self.missing_rows += [self.rows + int(row) + 1 for row in np.flatnonzero(absent)[:NAMED_ROWS]]
        self.rows += len(cells)
        self.missing += int(absent.sum())
        self.numbers += len(cells) - int(absent.sum()) - len(words)

    @property
    def is_empty(self) -> bool:
        """Whether every cell is missing."""
        return self.missing == self.rows

    @property
    def is_numeric(self) -> bool:
        """Whether every cell that is not missing is a number."""
        return self.first_word is None and not self.is_empty

    def check(self) -> None:
        """Raises UserError for words among numbers, and for numbers that are infinite."""
        present = self.rows - self.missing
        if self.first_word is not None and self.numbers >= NUMBERS_OF_A_NUMERIC_COLUMN * present:
            row, word = self.first_word
            raise UserError(
                what=f"column {self.name!r} has {word!r} in row {row}, and numbers in {self.numbers} "
                f"of its {present} cells",
                expected="a number in every cell; an empty one is missing",
                hint=f"correct it, or write data.categorical=[{self.name}] if the numbers are codes",
            )
        if self.is_numeric and self.first_excess is not None:
            row, value = self.first_excess
            raise UserError(
                what=f"column {self.name!r} has {value:g} in row {row}",
                expected=f"finite numbers, at most {LARGEST_NUMBER:.2g}",
                hint=f"correct it, leave the cell empty, or write data.drop=[{self.name}]",
            )


@dataclass(eq=False)
class Categories:
    """The codes of a column's words, in the order of their first row; -1 where missing."""

    name: str
    rows: int
    most: int
    codes: np.ndarray = field(init=False)
    words: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.codes = np.full(self.rows, -1, np.int32)

    def fill(self, start: int, cells: pa.Array) -> bool:
        """Take the cells of a batch; returns whether there still are few enough words."""
        encoded = text(cells).dictionary_encode()
        of_batch = [self.words.setdefault(word, len(self.words)) for word in encoded.dictionary.to_pylist()]
        codes = np.array([*of_batch, -1], np.int32)
        self.codes[start : start + len(cells)] = codes[encoded.indices.fill_null(-1).to_numpy()]
        return len(self.words) <= self.most

    def check(self) -> None:
        """Raises UserError for dates, and for words that are too many to be categories."""
        if all(DATE.fullmatch(word) for word in self.words):
            raise is_date(self.name, f"{next(iter(self.words))}, ...")
        present = int((self.codes >= 0).sum())
        repeats = len(self.words) < present
        if len(self.words) > self.most or not repeats:
            count = (
                f"more than {self.most} different values" if repeats else "a value of its own in every row"
            )
            raise UserError(
                what=f"column {self.name!r} has {count}, such as {show(next(iter(self.words)))}",
                expected=f"numbers, or categories: at most {self.most} that repeat",
                hint=f"write data.drop=[{self.name}], or join its values to fewer",
            )

    def sorted(self) -> Any:
        """The column as pandas' Categorical, its categories in alphabetical order."""
        import pandas as pd

        names = sorted(self.words)
        place = np.empty(len(names) + 1, np.int32)
        place[[self.words[name] for name in names]] = np.arange(len(names))
        place[-1] = -1
        return pd.Categorical.from_codes(place[self.codes], categories=names)


def text(cells: pa.Array) -> pa.Array:
    """Cells as text; whole numbers of a Parquet file without a fraction."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(cells.type):
        return cells
    present = pc.if_else(pc.is_nan(cells), pa.scalar(None, pa.float64()), cells)
    whole = pc.all(pc.equal(present, pc.trunc(present))).as_py()
    return pc.cast(pc.cast(present, pa.int64()) if whole else present, pa.string())
