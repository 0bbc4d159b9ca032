"""A column of words: codes in place of them, the frequent ones where they are many, spellings that are alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.runners.portable.cells import folded
from lossfleet.runners.tables.reading import as_text

if TYPE_CHECKING:
    import pyarrow as pa

# Each category costs a feature: of a column with more of them those that are not frequent are joined, to this name.
MOST_CATEGORIES = 256
FREQUENT_CATEGORIES = 50
REST = "(other)"
# What comes after so many different words is known as one of the rest alone.
MOST_WORDS = 2**16
MISSING_CODE, BEYOND_CODE = -1, -2


@dataclass(eq=False)
class Categories:
    """The codes of a column's words, in the order of their first row; -1 where missing, -2 beyond `most`."""

    name: str
    rows: int
    most: int = MOST_WORDS
    codes: np.ndarray = field(init=False)
    words: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.codes = np.full(self.rows, MISSING_CODE, np.int32)

    def fill(self, start: int, cells: pa.Array) -> None:
        """Take the cells of a batch."""
        encoded = as_text(cells).dictionary_encode()
        of_batch = [self._code(word) for word in encoded.dictionary.to_pylist()]
        codes = np.array([*of_batch, MISSING_CODE], np.int32)
        self.codes[start : start + len(cells)] = codes[encoded.indices.fill_null(-1).to_numpy()]

    def _code(self, word: str) -> int:
        if len(self.words) < self.most:
            return self.words.setdefault(word, len(self.words))
        return self.words.get(word, BEYOND_CODE)

    @property
    def counts(self) -> np.ndarray:
        """(words,) rows of each."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))

    @property
    def repeats(self) -> bool:
        """Whether any word is in two rows."""
        return bool((self.counts > 1).any())

    def alike(self) -> list[list[str]]:
        """Words that differ in case and spaces alone, the most frequent one of each set first."""
        counts, sets = self.counts, defaultdict(list)
        for word, code in self.words.items():
            sets[folded(word)].append((-counts[code], code, word))
        return [[word for *_, word in sorted(each)] for each in sets.values() if len(each) > 1]

    def join_alike(self) -> None:
        """Give all words of such a set the code of its most frequent one."""
        names = list(self.words)
        stands_for = {word: words[0] for words in self.alike() for word in words[1:]}
        kept = [word for word in names if word not in stands_for]
        self.words = {word: code for code, word in enumerate(kept)}
        new = [self.words[stands_for.get(word, word)] for word in names]
        self.codes = np.array([*new, BEYOND_CODE, MISSING_CODE], np.int32)[self.codes]

    def join_rare(self, most: int | None) -> int:
        """Join all but the most frequent words.

        Args:
            most: how many to keep; None for 50 of more than 256.

        Returns:
            How many there were, or 0 where nothing was joined.
        """
        found = len(self.words)
        limit = MOST_CATEGORIES if most is None else most
        if found <= limit and not (self.codes == BEYOND_CODE).any():
            return 0
        order = np.argsort(-self.counts, kind="stable")[: FREQUENT_CATEGORIES if most is None else most]
        names = list(self.words)
        self.words = {names[old]: new for new, old in enumerate(order)}
        rest = self.words.setdefault(REST, len(self.words))
        new = np.full(found + 2, rest, np.int32)
        new[order], new[-1] = np.arange(len(order)), MISSING_CODE
        self.codes = new[self.codes]
        return found

    def sorted(self) -> Any:
        """The column as pandas' Categorical, its categories in alphabetical order."""
        import pandas as pd

        names = sorted(self.words)
        place = np.empty(len(names) + 1, np.int32)
        place[[self.words[name] for name in names]] = np.arange(len(names))
        place[-1] = -1
        return pd.Categorical.from_codes(place[self.codes], categories=names)
