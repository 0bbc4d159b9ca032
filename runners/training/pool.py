"""The rows that a fleet trains and is evaluated on, in one array of pages, a page for each set of rows."""

from __future__ import annotations

from collections.abc import Collection, Set

import numpy as np
from mindspore import Tensor

from lossfleet.runners.models.stacked import with_ones

Key = tuple[object, ...]


class Pool:
    """Pages of rows; a set that is not in use any more keeps its page until another one needs it.

    All pages are there from the beginning, so that the graph's shape never changes; the system gives them memory
    when they are first written. The Tensor shares that memory: a copy would double it.
    """

    def __init__(self, *, pages: int, page_rows: int, features: int) -> None:
        self.pages = pages
        self.page_rows = page_rows
        self.labels = np.zeros(pages * page_rows, np.int32)
        self._features = np.zeros((pages * page_rows, features + 1), np.float32)
        self._page_of: dict[Key, int] = {}
        self.tensor = Tensor.from_numpy(self._features)

    def has_room(self, key: Key, in_use: Set[Key]) -> bool:
        """Whether a set of rows is there, or could be beside those in use."""
        return key in self._page_of or len(in_use) < self.pages

    def add(self, key: Key, features: np.ndarray, labels: np.ndarray, in_use: Collection[Key]) -> int:
        """Give a set of rows a page, unless it has one.

        Args:
            key: names the set.
            features, labels: (n, F) and (n,), at most as many rows as a page has.
            in_use: the sets that must stay.

        Returns:
            The set's first row in the pool.

        Raises:
            ValueError: the set is larger than a page, or all pages are in use.
        """
        if key not in self._page_of:
            if len(labels) > self.page_rows:
                raise ValueError(f"a page has {self.page_rows} rows; expected room for {len(labels)}")
            page = self._free_page(in_use)
            self.write(page, features, labels)
            self._page_of[key] = page
        return self._page_of[key] * self.page_rows

    def write(self, page: int, features: np.ndarray, labels: np.ndarray) -> int:
        """Put rows (n, F) and labels (n,) on a page, whatever it has; returns the first of them in the pool."""
        first = page * self.page_rows
        self._features[first : first + len(labels)] = with_ones(features)
        self.labels[first : first + len(labels)] = labels
        return first

    def _free_page(self, in_use: Collection[Key]) -> int:
        if len(self._page_of) < self.pages:
            return len(self._page_of)
        oldest = next((key for key in self._page_of if key not in in_use), None)
        if oldest is None:
            raise ValueError(f"all {self.pages} pages are in use; expected a free one")
        return self._page_of.pop(oldest)
