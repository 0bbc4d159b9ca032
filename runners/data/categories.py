"""Which encoded features are no quantities, and rows in which each of them is a whole category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Categories:
    """The features of a table with categories or missing numbers, by their places among all F.

    Fields: numbers, all that are quantities; words, of each column of categories the places of which a row has 1 in
    one; flags, those that are 1 where a number is missing; flagged, the place of the number of each flag. Features
    behind the table's own, such as weights, are in none of them.
    """

    numbers: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    flags: tuple[int, ...]
    flagged: tuple[int, ...]

    @classmethod
    def of(cls, has_gaps: Sequence[bool], widths: Sequence[int], texts: int) -> Categories | None:
        """The places where `encode` has all numbers first, then flags, categories and texts.

        Args:
            has_gaps: of each number, whether some are missing.
            widths: of each column of categories, how many there are.
            texts: how many features text gives.

        Returns:
            None where all features are quantities.
        """
        flagged = tuple(place for place, gap in enumerate(has_gaps) if gap)
        if not flagged and not widths:
            return None
        first = len(has_gaps) + len(flagged)
        ends = np.cumsum([first, *widths]).tolist()
        return cls(
            numbers=(*range(len(has_gaps)), *range(ends[-1], ends[-1] + texts)),
            words=tuple(tuple(range(*both)) for both in pairwise(ends)),
            flags=tuple(range(len(has_gaps), first)),
            flagged=flagged,
        )

    @property
    def width(self) -> int:
        """F, the features of the table."""
        return len(self.numbers) + sum(map(len, self.words)) + len(self.flags)

    def coded(self, features: np.ndarray) -> np.ndarray:
        """The numbers of rows, then the code of each category and flag, (n, numbers + words + flags) float32."""
        codes = [features[:, places].argmax(axis=1) for places in self.words]
        coded = np.column_stack([features[:, self.numbers], *codes, features[:, self.flags]])
        return coded.astype(np.float32)

    def decoded(self, coded: np.ndarray, *, like: np.ndarray) -> np.ndarray:
        """The rows (m, F) of `coded` ones; what the table does not have is 0.

        Args:
            coded: (m, numbers + words + flags).
            like: (n, F), rows of the training part, which say what stands for a missing number.
        """
        rows = np.zeros((len(coded), like.shape[1]), np.float32)
        first = len(self.numbers)
        rows[:, self.numbers] = coded[:, :first]
        for places, codes in zip(self.words, coded[:, first:].T, strict=False):
            rows[:, places] = codes[:, None] == np.arange(len(places))
        rows[:, self.flags] = coded[:, first + len(self.words) :]
        return self._filled(rows, like)

    def whole(self, rows: np.ndarray, *, like: np.ndarray) -> np.ndarray:
        """Rows (m, F) between others, with the category and the flag that each is nearest to."""
        rows = np.array(rows)
        for places in self.words:
            rows[:, places] = rows[:, places].argmax(axis=1)[:, None] == np.arange(len(places))
        rows[:, self.flags] = rows[:, self.flags] > 0.5
        return self._filled(rows, like)

    def _filled(self, rows: np.ndarray, like: np.ndarray) -> np.ndarray:
        """The rows, what is missing in them having the number that it has in training."""
        for number, flag in zip(self.flagged, self.flags, strict=True):
            missing = like[:, flag] == 1
            if missing.any():
                rows[rows[:, flag] == 1, number] = like[missing, number][0]
        return rows
