"""The column with the classes: which cells name one, and the labels of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.tables.categories import MISSING_CODE, Categories
from lossfleet.runners.tables.profile import ColumnProfile, as_numbers
from lossfleet.runners.tables.reading import MISSING

if TYPE_CHECKING:
    import pyarrow as pa

# A target with more classes than a row in twenty is a measurement; small tables may have as many as this.
ROWS_A_CLASS = 20
CLASSES_OF_A_SMALL_TABLE = 20
# What elsewhere stands for a missing cell, and may be the name of a class.
NAMES = ("None", "none", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "NULL", "Null", "null")
# Among classes that are numbers such a word is one where it is in this share of the rows.
SHARE_OF_A_CLASS = 0.05


@dataclass(eq=False)
class Target:
    """The classes of the rows, filled batch by batch.

    Fields: name of the column; missing, words that stand for no class; is_numeric, whether classes are whole numbers;
    remarks; numbers or words of the rows.
    """

    name: str
    rows: int
    missing: tuple[str, ...]
    is_numeric: bool
    remarks: tuple[str, ...]

    def __post_init__(self) -> None:
        self.numbers = np.full(self.rows if self.is_numeric else 0, np.nan)
        self.words = Categories(self.name, self.rows)

    @classmethod
    def of(cls, profile: ColumnProfile, *, is_decided: bool) -> Target:
        """The target that a profile describes.

        Args:
            profile: of the cells, of which only empty ones are missing.
            is_decided: whether the user says which words are missing.
        """
        standing = () if is_decided else MISSING
        found = {word: count for word, (_, count) in profile.strange.items() if word in standing}
        has_words = profile.is_text or len(profile.strange) > len(found) or bool(profile.code)
        classes = {
            word: count
            for word, count in found.items()
            if word in NAMES and (has_words or count >= SHARE_OF_A_CLASS * profile.rows)
        }
        missing = tuple(word for word in found if word not in classes)
        remarks = tuple(
            f"{word!r} is a class, of {count} rows; 'data.missing=[{word}]' makes them rows without one"
            for word, count in classes.items()
        )
        is_numeric = not has_words and not classes and profile.plain == profile.present - sum(found.values())
        return cls(profile.name, profile.rows, missing, is_numeric and profile.plain > 0, remarks)

    def fill(self, start: int, cells: pa.Array) -> None:
        """Take the cells of a batch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.missing and pa.types.is_string(cells.type):
            is_missing = pc.is_in(cells, value_set=pa.array(self.missing))
            cells = pc.if_else(is_missing, pa.scalar(None, pa.string()), cells)
        if self.is_numeric:
            self.numbers[start : start + len(cells)] = as_numbers(cells)
        else:
            self.words.fill(start, cells)

    @property
    def unlabelled(self) -> np.ndarray:
        """The rows without a class, from 0."""
        is_missing = np.isnan(self.numbers) if self.is_numeric else self.words.codes == MISSING_CODE
        return np.flatnonzero(is_missing)

    def classes(self, *, fold_case: bool) -> tuple[np.ndarray, tuple[str, ...]]:
        """Labels (N,), -1 where there is none, and class names: the largest first, equal ones by value or alphabet.

        Args:
            fold_case: whether names that differ in case and spaces alone are one.

        Raises:
            UserError: no classes, but measurements, or a single one, or names that are alike.
        """
        most = max(CLASSES_OF_A_SMALL_TABLE, self.rows // ROWS_A_CLASS)
        if self.is_numeric:
            self._check_whole()
            present = ~np.isnan(self.numbers)
            values, of_present = np.unique(self.numbers[present], return_inverse=True)
            names = [str(int(value)) for value in values]
            codes = np.full(self.rows, -1, np.int64)
            codes[present] = of_present
        else:
            if fold_case:
                self.words.join_alike()
            if len(self.words.words) > most:
                raise self._continuous(most)
            self._check_alike()
            column = self.words.sorted()
            codes, names = column.codes.astype(np.int64), list(column.categories)
        if len(names) < 2:
            raise UserError(
                what=f"the target {self.name!r} has {f'one class, {names[0]}' if names else 'no class'}",
                expected="at least two classes",
                hint="choose another data.target",
            )
        if len(names) > most:
            raise self._continuous(most)
        order = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(names)), kind="stable")
        labels = np.append(np.argsort(order), -1)[codes]
        return labels.astype(np.int64), tuple(names[label] for label in order)

    def _check_whole(self) -> None:
        excess = np.flatnonzero(np.isinf(self.numbers))
        broken = excess if excess.size else np.flatnonzero(np.abs(self.numbers - np.trunc(self.numbers)) > 0)
        if broken.size:
            hint = (
                "correct the row, or take it out"
                if excess.size
                else ("choose another data.target, or make classes of it, such as low and high")
            )
            raise UserError(
                what=f"the target {self.name!r} has {self.numbers[broken[0]]:g} in row {broken[0] + 1}",
                expected="classes: text, truth values or whole numbers",
                hint=hint,
            )

    def _check_alike(self) -> None:
        if alike := self.words.alike():
            shown = "; ".join(", ".join(map(repr, words)) for words in alike[:3])
            raise UserError(
                what=f"the target {self.name!r} has classes that differ in case or spaces alone: {shown}",
                expected="one name a class",
                hint="write data.fold_case=true to take them as one, or correct the rows",
            )

    def _continuous(self, most: int) -> UserError:
        return UserError(
            what=f"the target {self.name!r} has more than {most} different values in {self.rows} rows",
            expected="classes with rows enough to learn from, not a measurement or an identifier",
            hint="choose another data.target, or make fewer classes of it",
        )
