"""A sample of the rows of a file that is read batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 2000


class Sample:
    """At most MOST_ROWS rows, drawn from all batches alike: those with the smallest of random numbers."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._keys = np.empty(0)
        self._kept: list[pd.DataFrame] = []

    def add(self, batch: pd.DataFrame) -> None:
        """Draw among the rows of a batch too."""
        keys = np.concatenate([self._keys, self._random.random(len(batch))])
        kept = np.sort(np.argsort(keys)[:MOST_ROWS])
        self._kept.append(batch)
        self._kept, self._keys = [self.rows().iloc[kept]], keys[kept]

    def rows(self) -> pd.DataFrame:
        """The rows that are drawn by now, in the order of the file."""
        import pandas as pd

        return pd.concat(self._kept, ignore_index=True)
