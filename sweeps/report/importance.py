"""What the columns of the user's matter to the strategy ahead, on the test parts of its final evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.encoding import encoded_columns
from lossfleet.runners.records import Record
from lossfleet.sweeps.comparison.frame import Comparison
from lossfleet.sweeps.report.mistakes import final_replicates

if TYPE_CHECKING:
    import pandas as pd

# A sentence names so many columns, whose means are above so many standard errors and this share of the largest:
# of fifty columns that say nothing a few are above two errors by chance.
MOST_NAMED = 3
FEWEST_ERRORS = 2
LEAST_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class ColumnImportance:
    """What a strategy loses on test parts when the cells of a column are shuffled.

    Fields: strategy; metric, what it loses, in words; splits, how many test parts; table, a row a column, the largest
    mean first: column, mean and error (the standard error) over the splits; left_out, how many columns were not
    shuffled.
    """

    strategy: str
    metric: str
    splits: int
    table: pd.DataFrame
    left_out: int

    def sentence(self) -> str:
        """The columns that matter most."""
        first = self.table.head(MOST_NAMED)
        # One split has no error.
        least = np.maximum(FEWEST_ERRORS * first["error"].fillna(0), LEAST_SHARE * first["mean"].max())
        first = first[first["mean"] > least]
        named = [f"{row.column} ({row.mean:.3f})" for row in first.itertuples(index=False)]
        if named:
            said = (
                f"Columns: {self.strategy} relies most on {', '.join(named)}: so much {self.metric} is lost "
                f"when {'its' if len(named) == 1 else 'their'} cells are shuffled"
            )
        else:
            said = (
                f"Columns: {self.strategy} loses no {self.metric} when the cells of a single one are shuffled"
            )
        if self.left_out:
            said += (
                f"; only the first {len(self.table)} of {len(self.table) + self.left_out} columns were tried"
            )
        return said


def column_importance(
    records: Iterable[Record], comparison: Comparison, metric: str, dataset: Dataset
) -> ColumnImportance | None:
    """What the columns matter to the best strategy; None where no replicate recorded it, as in earlier versions.

    Args:
        records: of the sweep.
        comparison: of the sweep.
        metric: that was searched.
        dataset: of the sweep.
    """
    import pandas as pd

    found = pd.DataFrame(
        [each.importance for each in final_replicates(records, comparison) if each.importance]
    )
    if found.empty:
        return None
    table = pd.DataFrame({"column": list(found), "mean": found.mean().values, "error": found.sem().values})
    return ColumnImportance(
        comparison.best,
        f"test {metric.replace('_', ' ')}",
        len(found),
        table.sort_values("mean", ascending=False, ignore_index=True, kind="stable"),
        len(encoded_columns(dataset)) - len(table),
    )
