"""What the first reading finds in a column: numbers, however they are written, words, dates or numbers of rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.runners.portable.cells import (
    COMMA,
    COMPACT,
    POINT,
    date_formats,
    dates_of,
    numbers_of,
    read_number,
)

if TYPE_CHECKING:
    import pyarrow as pa

NAMED_ROWS = 5
# Words that stand for a missing number, in small letters; among words they are words.
MARKS = frozenset(
    (
        "unknown",
        "missing",
        "not available",
        "not applicable",
        "n.a.",
        "n.a",
        "na",
        "nan",
        "nil",
        "none",
        "null",
    )
    + (
        "(null)",
        "(none)",
        "<null>",
        "\\n",
        "-",
        "--",
        "---",
        "\u2013",
        "\u2014",
        ".",
        "..",
        "...",
        "*",
        "?",
        "n/d",
        "nd",
    )
    + (
        "#div/0!",
        "#value!",
        "#ref!",
        "#name?",
        "#num!",
        "#null!",
        "#n/a",
        "inf?",
        "tbd",
        "undefined",
        "not reported",
    )
)
# Features are float32.
LARGEST_NUMBER = float(np.finfo(np.float32).max)
# Whole numbers beyond are not what float64 holds.
LARGEST_WHOLE = 2**53
FIRST_LONG = 1e15
CODE = r"^(?:0\d+|\d{16,})$"
# With a mark that may stand between thousands.
THOUSANDS = r"^[-+]?[1-9]\d{0,2}(?:[.,]\d{3})+$"
FIRST_DAY, LAST_DAY = 1900_01_01, 2100_12_31
# So many different words that are no numbers make a column of text.
MOST_STRANGE = 200
# In fewer rows, numbers that differ say nothing; those that do not count up say it later.
FEWEST_COUNTED, FEWEST_DIFFERENT = 20, 100


def as_numbers(cells: pa.Array, decimal: str | None = None, missing: tuple[str, ...] = ()) -> np.ndarray:
    """Cells as float64, NaN where they are missing or no number; arguments as `portable.cells.numbers_of` has them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(cells.type):
        return pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    try:
        if decimal != COMMA:
            return pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False)
        if not pc.any(pc.match_substring(cells, POINT)).as_py():
            return pc.cast(pc.replace_substring(cells, COMMA, POINT), pa.float64()).to_numpy(
                zero_copy_only=False
            )
    except pa.ArrowInvalid:
        pass
    # Each word once: few columns have as many words as rows.
    encoded = cells.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    numbers = numbers_of(words, missing=missing)
    if decimal is not None:
        odd = np.flatnonzero(np.isnan(numbers) if decimal == POINT else np.ones(len(words), bool))
        numbers[odd] = numbers_of([words[place] for place in odd], decimal)
    return np.append(numbers, np.nan)[encoded.indices.fill_null(-1).to_numpy()]


@dataclass(eq=False)
class ColumnProfile:
    """What is in a column; rows are counted from 1, the header not counted.

    Args:
        name: of the column.
        separator: of the file, where it is text.
        decimal: the mark before fractions, where the user says so.
        marks: words that may stand for a missing number, in small letters.
        is_class: whether these are names of classes, where 1e0 is another than 1.
    """

    name: str
    separator: str | None = None
    decimal: str | None = None
    marks: frozenset[str] = MARKS
    is_class: bool = False
    rows: int = 0
    missing: int = 0
    missing_rows: list[int] = field(default_factory=list)
    # Cells that are numbers as programs write them; that are only with a decimal point, or comma; with either.
    plain: int = 0
    pointed: int = 0
    commaed: int = 0
    either: int = 0
    # Of the latter, whether some are two different numbers.
    is_ambiguous: bool = False
    points: str = ""
    disguised: str = ""
    code: str = ""
    strange: dict[str, list[int]] = field(default_factory=dict)
    strange_cells: int = 0
    is_text: bool = False
    excess: tuple[int, float] | None = None
    is_whole: bool = True
    low: float = np.inf
    high: float = -np.inf
    formats: list[str] | None = None
    is_compact_date: bool = True
    _different: list[np.ndarray] | None = field(default_factory=list)

    def look(self, cells: pa.Array) -> None:
        """Take the cells of a further batch."""
        import pyarrow as pa

        is_text = pa.types.is_string(cells.type)
        missing = cells.null_count
        if not is_text:
            values = as_numbers(cells)
            missing = int(np.count_nonzero(np.isnan(values)))
            self._look_at_numbers(values, missing)
            if pa.types.is_integer(cells.type) and max(-self.low, self.high) > LARGEST_WHOLE:
                self.code = self.code or str(int(self.high))
            self.plain += len(cells) - missing
        elif missing < len(cells):
            self._look_at_text(cells, missing)
        if missing and len(self.missing_rows) < NAMED_ROWS:
            absent = cells.is_null(nan_is_null=not is_text).to_numpy(zero_copy_only=False)
            self.missing_rows += [self.rows + int(row) + 1 for row in np.flatnonzero(absent)[:NAMED_ROWS]]
        if missing:
            self._different = None
        self.rows += len(cells)
        self.missing += missing

    def _look_at_text(self, cells: pa.Array, missing: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            if self.decimal == COMMA and pc.any(pc.match_substring(cells, POINT)).as_py():
                raise pa.ArrowInvalid("a point between thousands")
            values = pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False)
            if self.is_class and np.count_nonzero(np.isnan(values)) > missing:
                raise pa.ArrowInvalid("a class that is called nan")
        except pa.ArrowInvalid:
            self._look_at_words(cells)
            return
        self.plain += len(cells) - missing
        self._look_at_numbers(values, missing)
        self._look_at_spelling(cells)

    def _look_at_spelling(self, cells: pa.Array) -> None:
        """Whether numbers are written as codes are, and whether a point may stand between thousands."""
        import pyarrow.compute as pc

        if not self.code:
            # Few cells need a closer look; all of them would take as long as reading them.
            suspects = cells if self.high >= FIRST_LONG else _begin_with_zero(cells)
            self.code = _first_match(suspects, CODE)
        if self.is_class and not self.code:
            self.code = _first_match(cells, "[eE]")
        if self.separator not in (None, COMMA) and self.points != "decided":
            dotted = cells.filter(pc.fill_null(pc.match_substring(cells, POINT), False))
            if len(dotted):
                is_thousands = pc.all(pc.match_substring_regex(dotted, THOUSANDS)).as_py()
                self.points = "thousands" if is_thousands else "decided"

    def _look_at_words(self, cells: pa.Array) -> None:
        encoded = cells.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        places = encoded.indices.fill_null(len(words)).to_numpy()
        counts = np.bincount(places, minlength=len(words) + 1)[:-1]
        plain = numbers_of(words)
        if self.decimal == COMMA:
            plain[[POINT in word for word in words]] = np.nan
        is_plain = ~np.isnan(plain)
        self.plain += int(counts[is_plain].sum())
        odd = np.flatnonzero(~is_plain)
        values = plain
        if self.is_text:
            self.strange_cells += int(counts[odd].sum())
        else:
            values = plain.copy()
            if odd.size and is_plain.any():
                self.points = self.points or _points([words[place] for place in np.flatnonzero(is_plain)])
            for place in odd:
                values[place] = self._look_at_word(words[place], int(counts[place]), places, place)
        strange = [words[place] for place in odd if np.isnan(values[place])]
        self._look_at_dates([word for word in strange if word.lower() not in self.marks])
        self.code = self.code or next((word for word in words if re.match(CODE, word)), "")
        self._look_at_numbers(np.append(values, np.nan)[places], 1)

    def _look_at_word(self, word: str, count: int, places: np.ndarray, place: int) -> float:
        """The number that a word may be written for, or NaN."""
        pointed = np.nan if self.decimal == COMMA else read_number(word, POINT)
        commaed = np.nan if self.decimal == POINT else read_number(word, COMMA)
        if np.isnan(pointed) and np.isnan(commaed):
            self.strange_cells += count
            if word in self.strange or len(self.strange) < MOST_STRANGE:
                known = self.strange.setdefault(word, [self.rows + int((places == place).argmax()) + 1, 0])
                known[1] += count
            else:
                self.is_text = True
            return np.nan
        self.disguised = self.disguised or word
        if np.isnan(commaed):
            self.pointed += count
        elif np.isnan(pointed):
            self.commaed += count
        else:
            self.either += count
            self.is_ambiguous |= pointed != commaed
        return commaed if np.isnan(pointed) else pointed

    def _look_at_dates(self, words: list[str]) -> None:
        if not words or self.formats == []:
            return
        if self.formats is None:
            self.formats = date_formats(words[0])
        self.formats = [each for each in self.formats if not dates_of(words, each).isna().any()]

    def _look_at_numbers(self, values: np.ndarray, missing: int) -> None:
        """Extremes, and whether numbers are whole, differ in every row, or are dates."""
        present = values if missing == 0 else values[~np.isnan(values)]
        if not present.size:
            return
        low, high = float(present.min()), float(present.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if max(-low, high) > LARGEST_NUMBER and self.excess is None:
            row = int(np.flatnonzero(np.abs(values) > LARGEST_NUMBER)[0])
            self.excess = self.rows + row + 1, float(values[row])
        if self.is_whole and not np.array_equal(present, np.trunc(present)):
            self.is_whole = False
        if not self.is_whole:
            self._different, self.is_compact_date = None, False
            return
        if self._different is not None:
            batch = np.sort(present)
            self._different = None if (batch[1:] == batch[:-1]).any() else [*self._different, batch]
        if self.is_compact_date:
            self.is_compact_date = low >= FIRST_DAY and high <= LAST_DAY and _all_days(present)

    @property
    def present(self) -> int:
        """Cells that are not missing."""
        return self.rows - self.missing

    @property
    def is_empty(self) -> bool:
        """Whether every cell is missing."""
        return not self.present

    @property
    def numbers(self) -> int:
        """Cells that can be read as numbers."""
        return self.plain + self.pointed + self.commaed + self.either

    @property
    def missing_marks(self) -> list[str]:
        """The words of the column that stand for a missing number."""
        return [] if self.is_text else [word for word in self.strange if word.lower() in self.marks]

    @property
    def first_word(self) -> tuple[int, str] | None:
        """The first cell that is neither a number nor stands for a missing one: its row and the word."""
        words = [(row, word) for word, (row, _) in self.strange.items() if word.lower() not in self.marks]
        return min(words, default=None)

    @property
    def is_number(self) -> bool:
        """Whether every cell is a number of one way of writing, or stands for a missing one, and none is a code."""
        is_one_way = not (self.commaed and (self.pointed or self.points == "decided"))
        return (
            self.numbers > 0 and self.first_word is None and not self.is_text and not self.code and is_one_way
        )

    @property
    def is_plain(self) -> bool:
        """Whether every cell is a number as programs write them, and none is a code."""
        return self.plain == self.present > 0 and not self.code

    @property
    def date_format(self) -> str | None:
        """The format of a column of dates, the likeliest where several fit."""
        if self.is_plain and self.is_compact_date and self.is_whole:
            return COMPACT
        return self.formats[0] if self.formats and not self.numbers else None

    @property
    def counts_rows(self) -> bool:
        """Whether each row has a whole number of its own."""
        if self._different is None or self.missing or not self.is_plain or not self.is_whole:
            return False
        is_range = self.high - self.low == self.rows - 1
        if self.rows < (FEWEST_COUNTED if is_range else FEWEST_DIFFERENT):
            return False
        values = np.sort(np.concatenate(self._different))
        return not bool((values[1:] == values[:-1]).any())


def _begin_with_zero(cells: pa.Array) -> pa.Array:
    """The cells that begin with a zero and go on otherwise than with a fraction, found by their bytes."""
    _, starts, letters = cells.buffers()
    places = np.frombuffer(starts, np.int32)[cells.offset : cells.offset + len(cells) + 1]
    content = np.frombuffer(letters or b"", np.uint8)
    rows = np.flatnonzero(np.diff(places) > 1)
    rows = rows[content[places[rows]] == ord("0")]
    rows = rows[content[places[rows] + 1] != ord(".")]
    return cells.take(rows) if rows.size else cells.slice(0, 0)


def _first_match(cells: pa.Array, pattern: str) -> str:
    import pyarrow.compute as pc

    if not len(cells):
        return ""
    found = cells.filter(pc.fill_null(pc.match_substring_regex(cells, pattern), False))
    return found[0].as_py() if len(found) else ""


def _points(words: list[str]) -> str:
    dotted = [word for word in words if POINT in word]
    if not dotted:
        return ""
    return "thousands" if all(re.match(THOUSANDS, word) for word in dotted) else "decided"


def _all_days(values: np.ndarray) -> bool:
    words: Any = np.unique(values).astype(np.int64).astype(str)
    return not dates_of(list(words), COMPACT).isna().any()
