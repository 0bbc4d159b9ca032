"""What a sweep that runs, or was killed, has found so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.conf.metrics import sign_of
from lossfleet.sweeps.comparison.frame import Comparison, hyperparameters
from lossfleet.sweeps.comparison.front import trade_offs
from lossfleet.sweeps.comparison.statistics import compare_pairs

if TYPE_CHECKING:
    import pandas as pd

FINISHED = "FINISHED"


def strategies_of(sweep: Mapping[str, Any], frame: pd.DataFrame) -> list[str]:
    """The strategies of a sweep, also those of which no trial has ended.

    Args:
        sweep: of `lossfleet.runners.tracking.read.read_sweeps`.
        frame: its rows.
    """
    planned = [value for name, value in sweep["params"].items() if name.split(".")[-1] == "strategy"]
    return sorted({*planned, *frame["strategy"]})


def is_evaluated(sweep: Mapping[str, Any], frame: pd.DataFrame) -> bool:
    """Whether a sweep has finished, or every strategy of it has a final evaluation all the same."""
    final = set(frame.loc[frame["stage"] == "final", "strategy"])
    return sweep["status"] == FINISHED or (len(final) > 0 and final == set(strategies_of(sweep, frame)))


def mark_unfinished(sweep: Mapping[str, Any]) -> str:
    """The sentence in front of a comparison of a sweep that is evaluated and not finished."""
    return (
        f"UNFINISHED: MLflow has the sweep {sweep['sweep']} on {sweep['data']} as {sweep['status']}; these are the "
        "final evaluations that it has."
    )


def best_so_far(sweep: Mapping[str, Any], frame: pd.DataFrame) -> Comparison:
    """The best trial of each strategy, on the validation part; nothing is tested.

    Args:
        sweep: of `lossfleet.runners.tracking.read.read_sweeps`.
        frame: its rows, as `frame.frame` gives them.

    Raises:
        UserError: no trial has ended yet.
    """
    import pandas as pd

    search = frame[frame["stage"] == "search"]
    if search.empty:
        raise UserError(
            what=f"no trial of the sweep {sweep['sweep']} on {sweep['data']} has ended ({sweep['status']})",
            expected="a trial to show",
            hint="wait for it, or run the same command again where it was killed",
        )
    measure = search["search_metric"].iloc[0]
    metric, sign = f"validation_{measure}", sign_of(measure)
    rows = [_row(search[search["strategy"] == name], name, metric) for name in strategies_of(sweep, frame)]
    table = pd.DataFrame(rows).assign(data=frame["data"].iloc[0], long_tail=frame["long_tail"].iloc[0])
    table = table.iloc[(-sign * table[metric]).argsort(kind="stable")].reset_index(drop=True)
    nothing = compare_pairs(pd.DataFrame({"": []}), train_rows=1, test_rows=1)
    return Comparison(
        metrics=(metric,),
        table=table,
        sentence=_sentence(sweep, table, metric),
        pairwise=nothing.assign(data="", kind=""),
        front=trade_offs(frame),
    )


def _row(search: pd.DataFrame, strategy: str, metric: str) -> dict[str, Any]:
    """A strategy's row as `summary.summary` has it, of the trial that would be evaluated if no other came."""
    complete = search[search["state"] == "COMPLETE"]
    held = complete[complete["feasible"].astype(bool)]
    means = sign_of(metric) * (held if len(held) else complete).groupby("trial")[metric].mean()
    row = {"strategy": strategy, "trials": search["trial"].nunique(), "beaten": False}
    row |= dict.fromkeys(("difference_low", "difference_high"), math.nan)
    if means.empty:
        return row | {"replicates": 0, "hyperparameters": "", metric: math.nan, f"{metric}_std": math.nan}
    best = complete[complete["trial"] == means.idxmax()]
    return row | {
        "replicates": len(best),
        "hyperparameters": hyperparameters(best.iloc[0]),
        metric: best[metric].mean(),
        f"{metric}_std": best[metric].std(),
    }


def _sentence(sweep: Mapping[str, Any], table: pd.DataFrame, metric: str) -> str:
    ended = ", ".join(f"{row.strategy} {row.trials}" for row in table.sort_values("strategy").itertuples())
    said = [
        f"UNFINISHED: MLflow has the sweep {sweep['sweep']} on {sweep['data']} as {sweep['status']}. "
        f"Trials that have ended: {ended}"
    ]
    best = table.iloc[0]
    if best["replicates"]:
        extreme = "lowest" if sign_of(metric) < 0 else "highest"
        said.append(
            f"So far {best['strategy']} has the {extreme} {metric.replace('_', ' ')} ({best[metric]:.3f}), that of "
            "its best trial, which is too good by the luck of having been chosen; nothing is tested before the "
            "final evaluation"
        )
    return ". ".join(said) + "."
