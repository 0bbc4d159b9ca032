"""Figures of the search: which trials were made, how good they were, and what mattered."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lossfleet.conf.metrics import sign_of
from lossfleet.sweeps.report.figures.marks import (
    CHOSEN,
    DARK,
    QUIET,
    Axis,
    Bars,
    Cells,
    Figure,
    Line,
    Mark,
    Panel,
    Points,
    Scale,
)
from lossfleet.sweeps.report.figures.source import NothingToShow, Source, with_same_heights

# With fewer complete trials than these a strategy's importances mean little.
FEWEST_TRIALS = 10


def landscape(source: Source) -> Figure:
    """Each trial's value by gamma and by alpha or tau: a heat map for a grid, else points."""
    gamma = "params.loss.gamma"
    table = source.trials
    if gamma not in table or table.dropna(subset=[gamma, "value"]).empty:
        raise NothingToShow("no strategy searched loss.gamma")
    panels = []
    for name, part in table.dropna(subset=[gamma, "value"]).groupby("strategy"):
        second = next((f"params.loss.{key}" for key in ("alpha", "tau") if _searched(part, key)), None)
        if second is None:
            continue
        draw = _grid if _is_grid(part, gamma, second) else _scatter
        panels.append(draw(str(name), part, gamma, second, source.value_name))
    if not panels:
        raise NothingToShow("no strategy searched loss.alpha or loss.tau beside loss.gamma")
    return Figure(
        "landscape",
        "Trials by gamma and class weight",
        f"Colour: {source.value_name}, the mean over a trial's replicates. Star or frame: the trial chosen for the "
        "final evaluation. Hollow: pruned trials, at their last value.",
        panels,
        panel_height=0.62,
    )


def _searched(part: pd.DataFrame, key: str) -> bool:
    return f"params.loss.{key}" in part and part[f"params.loss.{key}"].nunique() > 1


def _is_grid(part: pd.DataFrame, x: str, y: str) -> bool:
    pairs = part[[x, y]].drop_duplicates()
    return part[x].nunique() * part[y].nunique() <= 1.5 * len(pairs)


def _grid(strategy: str, part: pd.DataFrame, x: str, y: str, value_name: str) -> Panel:
    values = part.pivot_table(index=y, columns=x, values="value", aggfunc="max").sort_index(ascending=False)
    cells = values.to_numpy()
    chosen = part[part["chosen"]]
    place = None
    if len(chosen):
        row = chosen.iloc[0]
        place = (values.index.get_loc(row[y]), values.columns.get_loc(row[x]))
    texts = [["" if np.isnan(value) else f"{value:.3f}".lstrip("0") for value in row] for row in cells]
    scale = Scale(float(np.nanmin(cells)), float(np.nanmax(cells)), name=value_name)
    return Panel(
        [Cells(cells.tolist(), texts, scale, place)],
        Axis(_plain(x), names={index: f"{value:g}" for index, value in enumerate(values.columns)}),
        Axis(_plain(y), names={index: f"{value:g}" for index, value in enumerate(values.index)}),
        strategy,
    )


def _scatter(strategy: str, part: pd.DataFrame, x: str, y: str, value_name: str) -> Panel:
    scale = Scale(part["value"].min(), part["value"].max(), name=value_name)
    marks: list[Mark] = []
    for is_complete, rows in part.groupby(part["state"] == "COMPLETE"):
        texts = [f"trial {row.trial}: {row.value:.4f}" for row in rows.itertuples()]
        marks.append(
            Points(
                list(rows[x]),
                list(rows[y]),
                QUIET,
                size=8,
                filled=bool(is_complete),
                texts=texts,
                values=list(rows["value"]),
                scale=scale,
            )
        )
    chosen = part[part["chosen"]]
    marks.append(Points(list(chosen[x]), list(chosen[y]), CHOSEN, size=14, filled=False, texts=["chosen"]))
    return Panel(marks, Axis(_plain(x)), Axis(_plain(y)), strategy)


def history(source: Source) -> Figure:
    """Each trial's value by its number, and the best so far."""
    table = source.trials
    if table.empty:
        raise NothingToShow("there are no trials of a search")
    panels = []
    for name in source.in_order(table["strategy"]):
        part = table[table["strategy"] == name]
        complete, pruned = part[part["state"] == "COMPLETE"], part[part["state"] == "PRUNED"]
        look = source.looks[name]
        marks: list[Mark] = [
            Points(list(pruned["trial"]), list(pruned["value"]), QUIET, size=4, filled=False),
            Points(list(complete["trial"]), list(complete["value"]), look, size=5),
            Line(list(part["trial"]), list(part["best"]), DARK, steps=True),
        ]
        panels.append(Panel(marks, Axis("trial"), Axis(), name))
    return Figure(
        "history",
        "Optimisation history",
        f"Markers: each trial's {source.value_name}; line: the best so far. Grey circles: pruned trials, at "
        "their last value.",
        with_same_heights(panels),
        columns=2,
        panel_height=0.42,
    )


def importance(source: Source) -> Figure:
    """How much each hyperparameter decided which trials became good, by PED-ANOVA."""
    from lossfleet.sweeps.search.study import importances

    table = source.trials
    complete = table[table["state"] == "COMPLETE"]
    counts = complete.groupby("strategy").size()
    found: dict[str, dict[str, float]] = {}
    few = []
    for name in source.in_order(table["strategy"]):
        part = complete[complete["strategy"] == name]
        params = part.filter(like="params.").dropna(axis=1, how="all")
        if not (params.nunique() > 1).any():
            continue
        if len(part) < FEWEST_TRIALS:
            few.append(f"{name} has {len(part)}")
            continue
        found[name] = importances(
            params.rename(columns=lambda key: key.removeprefix("params.")),
            sign_of(source.metric) * part["value"],
        )
    too_few = f"a strategy needs {FEWEST_TRIALS} complete trials, and {', '.join(few)}"
    if not found:
        raise NothingToShow(too_few if few else "no strategy has hyperparameters that vary")
    most = max(len(shares) for shares in found.values())
    panels = []
    for name, shares in found.items():
        # From the top down, as many places in each panel, so that all bars are of one height.
        names = {most - 1 - index: key for index, key in enumerate(shares)}
        bars = Bars(list(names), list(shares.values()), source.looks[name])
        heights = Axis(names=names, limits=(-0.5, most - 0.5))
        panels.append(Panel([bars], Axis(limits=(0, 1)), heights, f"{name}, {counts[name]} trials"))
    return Figure(
        "importance",
        "Which hyperparameters mattered",
        "PED-ANOVA: how far the best trials' values of a hyperparameter differ from all complete trials' "
        f"values, as shares of 1.{f' Left out: {too_few}.' if few else ''}",
        panels,
        panel_height=0.08 + 0.04 * most,
    )


def _plain(param: str) -> str:
    return param.removeprefix("params.").removeprefix("loss.")
