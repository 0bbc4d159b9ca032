"""What a sweep has measured with a setting: of a strategy at its end, or of hyperparameters in its search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossfleet.conf.metrics import sign_of
from lossfleet.conf.published import STRATEGY, Selection
from lossfleet.sweeps.comparison.evaluated import pool_rows, rows_of
from lossfleet.sweeps.comparison.frame import latest_finals, scored

if TYPE_CHECKING:
    import pandas as pd

SPLIT = ["seed", "split"]


@dataclass(frozen=True, eq=False)
class Measured:
    """The trial that stands for a setting.

    Fields: replicates, its rows; part, what they are judged on, `validation` or `test`; among, of how many trials it is
    the best there.
    """

    replicates: pd.DataFrame
    part: str
    among: int

    def scores(self, metric: str) -> pd.Series:
        """A metric that was measured, by seed and split."""
        return self.replicates.set_index(SPLIT)[f"{self.part}_{metric}"]

    def text(self, metric: str) -> str:
        """The mean of a metric and its standard deviation; empty where it was not measured."""
        if f"{self.part}_{metric}" not in self.replicates:
            return ""
        scores = self.scores(metric)
        return f"{scores.mean():.3f}" + (f" ±{scores.std():.3f}" if len(scores) > 1 else "")


class Settings:
    """The trials of one sweep by what is set in them.

    A strategy alone stands for its final evaluation, on test parts that the search never saw. Anything else stands for
    the best of the search's trials that have it, on the validation parts on which it was found the best.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        """Args:
        frame: the replicates of the sweep, as `frame.frame` gives them, of which some are final.
        """
        self.metric: str = frame["search_metric"].iloc[0]
        self._final = latest_finals(frame)
        self._search = frame[frame["stage"] == "search"]

    def find(self, setting: Selection) -> Measured | None:
        """What stands for a setting; None where no trial with it was completed."""
        part = "test" if set(setting) == {STRATEGY} else "validation"
        column = f"{part}_{self.metric}"
        rows = scored(self._final, column) if part == "test" else self.completed(setting)
        rows = rows[_has(rows, setting)]
        if rows.empty:
            return None
        means = sign_of(self.metric) * rows.groupby(["strategy", "trial"])[column].mean()
        strategy, trial = means.idxmax()
        return Measured(rows[(rows["strategy"] == strategy) & (rows["trial"] == trial)], part, len(means))

    def completed(self, setting: Selection) -> pd.DataFrame:
        """The replicates of the search's trials that have a setting and ended well."""
        rows = self._search[_has(self._search, setting) & (self._search["state"] == "COMPLETE")]
        return rows[rows[f"validation_{self.metric}"].notna()]

    def failed(self, setting: Selection) -> int:
        """How many trials of the search that have a setting failed."""
        rows = self._search[_has(self._search, setting) & (self._search["state"] == "FAIL")]
        return len(rows[["strategy", "trial"]].drop_duplicates())

    def rows(self, part: str) -> dict[str, Any]:
        """The rows that the corrected t-test is told of the validation parts or of the test parts.

        Validation parts are drawn from all rows but a pool that test parts are drawn from, see `evaluated.rows_of`.
        """
        if part == "test":
            return rows_of(self._final)
        has_pool = pool_rows(self._final) > 0
        others = self._final["train_rows"] + (0 if has_pool else self._final["test_rows"])
        return {"train_rows": others.mean(), "test_rows": self._final["validation_rows"].mean()}


def _has(rows: pd.DataFrame, setting: Mapping[str, Any]) -> pd.Series:
    """Which replicates have a setting; a hyperparameter that nothing samples is none of any."""
    found = rows["trial"].notna()
    for name, value in setting.items():
        column = name if name == STRATEGY else f"params.{name}"
        if column not in rows:
            return found & False
        found &= rows[column].isna() if value is None else rows[column] == value
    return found
