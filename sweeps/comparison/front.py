"""The Pareto front of a search for several metrics: the trials that no other beats in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.metrics import sign_of, split_names
from lossfleet.sweeps.comparison.frame import hyperparameters

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.sweeps.comparison.frame import Comparison

# Columns of `trade_offs` beside the metrics.
COLUMNS = ("data", "strategy", "trial", "hyperparameters", "pareto", "pareto_overall")


def is_on_front(points: np.ndarray) -> np.ndarray:
    """Which points no other dominates: is as good in every coordinate and better in one.

    Args:
        points: (N, M) floats, more is better.

    Returns:
        (N,) bool.
    """
    as_good = (points[None, :, :] >= points[:, None, :]).all(axis=-1)
    better = (points[None, :, :] > points[:, None, :]).any(axis=-1)
    return ~(as_good & better).any(axis=-1)


def trade_offs(frame: pd.DataFrame) -> pd.DataFrame:
    """The complete trials of searches for several metrics, with the means of these over the replicates.

    Args:
        frame: as `frame.frame` gives it.

    Returns:
        A row a trial that holds its constraints: data, strategy, trial, hyperparameters, `pareto` (on the
        front of its study), `pareto_overall` (on the front of all studies of the sweep), and a column a
        metric; no rows where one metric is optimised. It is what a figure of the fronts needs.
    """
    import pandas as pd

    searched = frame[
        (frame["stage"] == "search")
        & (frame["state"] == "COMPLETE")
        & frame["feasible"]
        & (frame["objectives"] != "")
    ]
    parts = []
    for (data, objectives), sweep in searched.groupby(["data", "objectives"]):
        metrics = split_names(objectives)
        trials = sweep.groupby(["strategy", "trial"])
        part = trials[[f"validation_{name}" for name in metrics]].mean().set_axis(metrics, axis=1)
        part["hyperparameters"] = [hyperparameters(rows.iloc[0]) for _, rows in trials]
        gains = part[metrics] * [sign_of(name) for name in metrics]
        part["pareto_overall"] = is_on_front(gains.to_numpy())
        part["pareto"] = False
        for rows in part.groupby("strategy").indices.values():
            part.iloc[rows, part.columns.get_loc("pareto")] = is_on_front(gains.to_numpy()[rows])
        parts.append(part.reset_index().assign(data=data))
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.concat(parts, ignore_index=True)
    return table[[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]]


def front_metrics(front: pd.DataFrame) -> list[str]:
    """The metrics' columns of `trade_offs`."""
    return [name for name in front.columns if name not in COLUMNS]


def front_members(comparison: Comparison) -> list[list[str | int]]:
    """Strategy and number of each trial on the front of its study."""
    if comparison.front is None:
        return []
    members = comparison.front[comparison.front["pareto"]]
    return [[str(row.strategy), int(row.trial)] for row in members.itertuples()]


def sentence_about_front(front: pd.DataFrame) -> str:
    """How many trials of which strategies are on the front of a sweep, and which of them was evaluated.

    Args:
        front: rows of `trade_offs` for one data set.
    """
    metrics = [name.replace("_", " ") for name in front_metrics(front)]
    counts = front[front["pareto_overall"]]["strategy"].value_counts().sort_index()
    members = ", ".join(f"{strategy} {count}" for strategy, count in counts.items())
    are = "trial is" if counts.sum() == 1 else "trials are"
    return (
        f"{counts.sum()} {are} on the Pareto front of {' and '.join(metrics)} (validation part): {members}. "
        f"Of each strategy's front the trial with the best {metrics[0]} was evaluated."
    )
