"""What a final evaluation was made on, the fall from validation to it, and which classes it confuses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.metrics import sign_of
from lossfleet.runners.metrics.evaluation import confusion_names
from lossfleet.sweeps.comparison.frame import scored

if TYPE_CHECKING:
    import pandas as pd

# Recorded where test parts are not drawn from all rows.
POOL = "test_pool_rows"


def pool_rows(final: pd.DataFrame) -> float:
    """How many rows all test parts of a data set's final replicates are drawn from; NaN for the whole data set."""
    return final[POOL].mean() if POOL in final else math.nan


def rows_of(final: pd.DataFrame) -> dict[str, Any]:
    """The rows that the corrected t-test is told of a data set's final replicates.

    The correction stands for the correlation n_test / n of two test parts, n the rows that they are drawn from. Where
    it is the same rows each time, replicates differ by what their training drew, and are independent given those rows.

    Returns:
        `test_rows` and `train_rows`, the rows that a test part is drawn from without its own; see
        `statistics.corrected_t`.
    """
    test, pool = final["test_rows"].mean(), pool_rows(final)
    if pool == test:
        return {"train_rows": math.inf, "test_rows": test}
    if not math.isnan(pool):
        return {"train_rows": pool - test, "test_rows": test}
    # Sweeps of earlier versions do not say how many rows they validated on.
    learned = final[[name for name in ("train_rows", "validation_rows") if name in final]].sum(axis=1)
    return {"train_rows": learned.mean(), "test_rows": test}


def falls(search: pd.DataFrame, table: pd.DataFrame, metric: str) -> pd.Series:
    """By how much each strategy's best trial is worse on test than in the search's validation, a row of the table each.

    A part of it is luck: the trial was chosen because it was the best on those validation parts.

    Args:
        search: the replicates of the search of one data set.
        table: with `strategy`, `trial` and the metric.
        metric: `test_<name>`; NaN where the search did not validate it.
    """
    validated = metric.replace("test_", "validation_", 1)
    if validated not in search or validated == metric:
        return table[metric] * math.nan
    means = search.groupby(["strategy", "trial"])[validated].mean()
    before = [means.get(key, math.nan) for key in zip(table["strategy"], table["trial"], strict=True)]
    return sign_of(metric) * (before - table[metric])


def confusion_of(final: pd.DataFrame, strategy: str) -> np.ndarray | None:
    """The test examples of class i that a strategy predicts as class j, over its final replicates that have a score.

    Args:
        final: the final replicates of one data set.
        strategy: whose.

    Returns:
        The counts (C, C); None where the replicates have none, as those of more than 12 classes.
    """
    class_names = final["class_names"].iloc[0]
    names = confusion_names(class_names)
    if not names or not set(names) <= set(final):
        return None
    own = scored(final[final["strategy"] == strategy], names[0])
    return own[names].sum().to_numpy(float).reshape(len(class_names), -1) if len(own) else None
