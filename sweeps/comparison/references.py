"""The best strategy beside the references: the same paired test, but no place in the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lossfleet.conf.metrics import sign_of
from lossfleet.sweeps.comparison.frame import spread
from lossfleet.sweeps.comparison.statistics import ALPHA, corrected_t, holm, holm_levels

if TYPE_CHECKING:
    import pandas as pd


def latest_references(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each reference's last evaluation."""
    rows = frame[(frame["stage"] == "reference") & (frame["state"] == "COMPLETE")]
    last = rows.groupby(["sweep", "strategy"])["trial"].transform("max")
    return rows[rows["trial"] == last]


def beside(
    references: pd.DataFrame,
    best: pd.Series | None,
    metrics: Sequence[str],
    *,
    train_rows: float,
    test_rows: float,
) -> pd.DataFrame:
    """The references on one data set, the best one first.

    Args:
        references: of `latest_references`, one data set.
        best: the compared metric of the best strategy, by seed and split; None where no strategy has a score.
        metrics: columns of the frame, the first one is compared.
        train_rows, test_rows: see `statistics.corrected_t`.

    Returns:
        A row a reference: data, strategy (its name), replicates, mean, `<metric>_std` and `<metric>_median` of each
        metric, difference to the best strategy with difference_low and difference_high, p and p_holm of the corrected t
        with Holm's correction for the number of references, beaten (the best strategy is better) and ahead (the
        reference is). What cannot be tested is NaN.
    """
    import numpy as np
    import pandas as pd

    rows, differences = [], []
    for name, part in references.groupby("strategy"):
        own = part.set_index(["seed", "split"])
        shared = own if best is None else own.loc[own.index.intersection(best.index)]
        row = {"data": part["data"].iloc[0], "strategy": name, "replicates": len(shared)}
        rows.append(row | spread(shared, metrics))
        against = shared[metrics[0]] - best if best is not None else shared[metrics[0]] * np.nan
        differences.append(against.dropna().to_numpy(dtype=float))
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    size = {"train_rows": train_rows, "test_rows": test_rows}
    # Two equal differences stand for those too few to test: nothing varies, so nothing is tested.
    tested = [each if len(each) > 1 else np.zeros(2) for each in differences]
    table["difference"] = [each.mean() if len(each) else np.nan for each in differences]
    table["p"] = [corrected_t(each, **size).p for each in tested]
    table[["difference_low", "difference_high"]] = [
        corrected_t(each, **size, alpha=level)[2:]
        for each, level in zip(tested, holm_levels(table["p"].to_numpy()), strict=True)
    ]
    table["p_holm"] = holm(table["p"].to_numpy())
    gain = sign_of(metrics[0]) * table["difference"]
    table["beaten"] = (table["p_holm"] < ALPHA) & (gain < 0)
    table["ahead"] = (table["p_holm"] < ALPHA) & (gain > 0)
    order = (-sign_of(metrics[0]) * table[metrics[0]]).argsort(kind="stable")
    return table.iloc[order].reset_index(drop=True)
