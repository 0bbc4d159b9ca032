"""The numbers behind each figure, as tidy tables; pandas alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossfleet.conf.metrics import sign_of
from lossfleet.runners.metrics.evaluation import confusion_names
from lossfleet.sweeps.comparison.blocks import WITH, block_of, data_set_of
from lossfleet.sweeps.comparison.frame import latest_finals, scored
from lossfleet.sweeps.comparison.references import latest_references
from lossfleet.sweeps.comparison.statistics import bootstrap_interval

CURVES = "curves."
STATES = ("COMPLETE", "PRUNED", "FAIL")


def trials(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The trials of the search.

    Args:
        frame: of `frame.frame`, one data set.
        metric: the validation metric's name, without `validation_`.

    Returns:
        A row a trial: strategy, trial, state (COMPLETE, PRUNED or FAIL), value (the mean over its replicates
        of the last value of the metric), best (the best value so far of a complete trial that holds its
        constraints), chosen (whether it was evaluated at the end), and the columns `params.<name>`.
    """
    search = frame[frame["stage"] == "search"]
    params = [name for name in frame.columns if name.startswith("params.")]
    groups = search.groupby(["strategy", "trial"])
    table = groups[params].first()
    # One replicate that failed or was pruned ends the whole trial.
    worst = search["state"].map(STATES.index).groupby([search["strategy"], search["trial"]]).max()
    table["state"] = worst.map(dict(enumerate(STATES)))
    table["value"] = groups[f"validation_{metric}"].mean()
    table = table.reset_index()
    table.loc[table["state"] == "FAIL", "value"] = np.nan
    counted = (table["state"] == "COMPLETE") & groups["feasible"].first().to_numpy()
    ahead = sign_of(metric) * table["value"].where(counted)
    table["best"] = sign_of(metric) * ahead.groupby(table["strategy"]).transform(
        lambda values: values.cummax().ffill()
    )
    finals = latest_finals(frame)[["strategy", "trial"]].drop_duplicates().assign(chosen=True)
    table = table.merge(finals, how="left", on=["strategy", "trial"])
    return table.assign(chosen=table["chosen"].notna())


def by_ratio(frame: pd.DataFrame, table: pd.DataFrame, score: str) -> pd.DataFrame:
    """The scores of sweeps that differ in `data.long_tail`.

    Args:
        frame: of `frame.frame`, several sweeps.
        table: of their comparison.
        score: the compared column.

    Returns:
        A row a sweep and strategy, by panel (the data set, with what else sets sweeps apart), strategy and ratio:
        mean and std. Panels have two ratios or more; no rows where there are none.
    """
    ratios = frame.groupby("data")["long_tail"].first()
    found = table.rename(columns={score: "mean", f"{score}_std": "std"})
    found = found.assign(ratio=found["data"].map(ratios), panel=found["data"].map(_without_ratio))
    found = found.dropna(subset=["ratio", "mean"])
    several = found.groupby("panel")["ratio"].transform("nunique") > 1
    columns = ["panel", "strategy", "ratio", "mean", "std"]
    return found.loc[several, columns].sort_values(columns[:3], ignore_index=True)


def _without_ratio(data: str) -> str:
    rest = " ".join(part for part in block_of(data).split(" ") if not part.startswith("long_tail="))
    return data_set_of(data) + (f"{WITH}{rest}" if rest else "")


def finals(frame: pd.DataFrame) -> pd.DataFrame:
    """The final replicates that have a score."""
    return scored(latest_finals(frame))


def intervals(frame: pd.DataFrame, score: str) -> pd.DataFrame:
    """A row a strategy, the best first: mean over the final replicates, low and high (95 % bootstrap).

    Args:
        frame: of `frame.frame`, one data set.
        score: the column that is compared.
    """
    return _intervals(scored(latest_finals(frame), score), score)


def reference_intervals(frame: pd.DataFrame, score: str) -> pd.DataFrame:
    """The same of the references, as `intervals` has it of strategies."""
    return _intervals(scored(latest_references(frame), score), score)


def _intervals(replicates: pd.DataFrame, score: str) -> pd.DataFrame:
    rows = []
    for strategy, part in replicates.groupby("strategy"):
        scores = part[score].to_numpy(dtype=float)
        low, high = bootstrap_interval(scores)
        rows.append({"strategy": strategy, "mean": scores.mean(), "low": float(low), "high": float(high)})
    table = pd.DataFrame(rows, columns=["strategy", "mean", "low", "high"])
    return table.sort_values("mean", ascending=sign_of(score) < 0, kind="stable", ignore_index=True)


def curve_points(frame: pd.DataFrame, curve: str) -> pd.DataFrame:
    """A curve's points as rows: strategy, replicate, step, value."""
    column = f"{CURVES}{curve}"
    if column not in frame:
        return pd.DataFrame(columns=["strategy", "replicate", "step", "value"])
    rows = [
        (strategy, replicate, step, value)
        for strategy, replicate, points in zip(
            frame["strategy"], frame["replicate"], frame[column], strict=True
        )
        if isinstance(points, Sequence)
        for step, value in points
    ]
    return pd.DataFrame(rows, columns=["strategy", "replicate", "step", "value"])


def mean_curve(frame: pd.DataFrame, curve: str) -> pd.DataFrame:
    """Over the final replicates, by strategy and step: mean, low and high (a standard deviation away)."""
    points = curve_points(finals(frame), curve).groupby(["strategy", "step"])["value"]
    table = points.agg(["mean", "std"]).reset_index()
    spread = table["std"].fillna(0.0)
    return table.assign(low=table["mean"] - spread, high=table["mean"] + spread).drop(columns="std")


def reliability(frame: pd.DataFrame) -> pd.DataFrame:
    """By strategy and bin of confidence: count of examples over all final replicates, mean confidence and
    accuracy of these examples."""
    columns = {
        name: curve_points(finals(frame), f"test_reliability_{name}")
        for name in ("count", "confidence", "accuracy")
    }
    keys = ["strategy", "replicate", "step"]
    table = columns["count"].rename(columns={"value": "count"})
    for name in ("confidence", "accuracy"):
        table = table.merge(columns[name].rename(columns={"value": name}), on=keys)
        table[name] *= table["count"]
    sums = table.groupby(["strategy", "step"], as_index=False)[["count", "confidence", "accuracy"]].sum()
    return sums.assign(
        confidence=sums["confidence"] / sums["count"], accuracy=sums["accuracy"] / sums["count"]
    )


def confusions(frame: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By strategy, over the final replicates: mean counts (true, predicted), and mean shares of each row."""
    final = finals(frame)
    classes = class_names(frame)
    names = confusion_names(classes)
    found = {}
    for strategy, part in final.groupby("strategy") if names and set(names) <= set(frame.columns) else ():
        counts = part[names].to_numpy(dtype=float).reshape(-1, len(classes), len(classes))
        rows = counts.sum(axis=2, keepdims=True)
        shares = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
        found[str(strategy)] = (counts.mean(axis=0), shares.mean(axis=0))
    return found


def indistinguishable(ranks: pd.Series, difference: float) -> list[tuple[float, float]]:
    """The first and the last rank of each largest group of strategies less than `difference` apart.

    Args:
        ranks: by strategy, ascending.
        difference: the critical difference.
    """
    values = list(ranks)
    spans = [(low, max(high for high in values if high - low < difference)) for low in values]
    return [
        (low, high)
        for index, (low, high) in enumerate(spans)
        if high > low and all(high > earlier for _, earlier in spans[:index])
    ]


def class_names(frame: pd.DataFrame) -> list[str]:
    """The names of the classes, in the order of numbers where they are numbers, else the largest class first."""
    names = [str(name) for name in frame["class_names"].iloc[0]]
    return sorted(names, key=int) if all(re.fullmatch(r"-?\d+", name) for name in names) else names
