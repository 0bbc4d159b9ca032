"""Figures of the result: the strategies' scores on one data set, and their ranks over several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from lossfleet.sweeps.comparison.frame import latest_finals, scored
from lossfleet.sweeps.comparison.ranks import Ranks
from lossfleet.sweeps.comparison.references import latest_references
from lossfleet.sweeps.report.figures import data
from lossfleet.sweeps.report.figures.marks import (
    DARK,
    QUIET,
    Axis,
    Figure,
    Label,
    Line,
    Look,
    Mark,
    Panel,
    Points,
)
from lossfleet.sweeps.report.figures.source import NothingToShow, Source


def strategies(source: Source) -> Figure:
    """Every final replicate's score, the mean of each strategy and its bootstrap interval."""
    references = data.reference_intervals(source.frame, source.score)
    table = pd.concat([source.intervals, references])
    scores = scored(pd.concat([latest_finals(source.frame), latest_references(source.frame)]), source.score)
    names = dict(enumerate(reversed(list(table["strategy"]))))
    marks: list[Mark] = []
    if len(references):
        height = len(references) - 0.5
        marks.append(
            Line([scores[source.score].min(), scores[source.score].max()], [height] * 2, QUIET, width=0.8)
        )
    for height, name in names.items():
        look = source.looks[name]
        row = table.set_index("strategy").loc[name]
        own = scores.loc[scores["strategy"] == name, source.score]
        # Splits lie above each other in a fixed zigzag, so that equal scores do not hide each other.
        heights = [height - 0.14 - 0.07 * (index % 3) for index in range(len(own))]
        texts = [f"{name}, split {split}" for split in scores.loc[own.index, "split"]]
        marks.append(Points(list(own), heights, look, size=4, filled=False, texts=texts))
        marks.append(
            Line([row["low"], row["high"]], [height + 0.12] * 2, replace(look, dash="solid"), width=3)
        )
        marks.append(
            Points([row["mean"]], [height + 0.12], look, size=9, texts=[f"{name}: {row['mean']:.4f}"])
        )
    splits = scores.groupby("strategy").size().max()
    caption = (
        f"Large markers: means over {splits} final splits, with 95 % bootstrap intervals. Small markers: the "
        "splits. Strategies share their splits, so intervals that overlap can still differ: the tests are paired."
    )
    if len(references):
        caption += " Below the line: the references, which are not tuned."
    return Figure(
        "strategies",
        "Test score of each strategy's best trial",
        caption,
        [
            Panel(
                marks,
                Axis(source.score.replace("_", " ")),
                Axis(names=names, limits=(-0.6, len(names) - 0.4)),
            )
        ],
        panel_height=0.16 + 0.09 * len(names),
    )


def imbalance(table: pd.DataFrame, score: str, looks: Mapping[str, Look]) -> Figure:
    """The mean score of each strategy by the ratio that the training part was thinned to.

    Args:
        table: of `data.by_ratio`.
        score: the compared column.
        looks: of the strategies.
    """
    panels = []
    for title, part in table.groupby("panel"):
        ratios = sorted(part["ratio"].unique())
        marks: list[Mark] = []
        for name, own in part.groupby("strategy"):
            places = [ratios.index(ratio) for ratio in own["ratio"]]
            texts = [f"{name}: {row.mean:.4f} ± {row.std:.4f}" for row in own[["mean", "std"]].itertuples()]
            marks.append(Line(places, list(own["mean"]), looks[name]))
            marks.append(Points(places, list(own["mean"]), looks[name], name=name, texts=texts))
        names = {place: f"{ratio:g}" for place, ratio in enumerate(ratios)}
        limits = (-0.2, len(ratios) - 0.8)
        x = Axis("largest / smallest class in training", names=names, limits=limits)
        panels.append(
            Panel(
                marks,
                x,
                Axis(score.replace("_", " ")),
                str(title) if len(table["panel"].unique()) > 1 else "",
            )
        )
    return Figure(
        "imbalance",
        f"Score by imbalance: {', '.join(dict.fromkeys(table['panel']))}",
        "Means over the final splits. Each ratio is a sweep of its own, tuned for it; the ratios stand at equal "
        "distances.",
        panels,
    )


def critical_difference(ranks: Ranks | None, looks: Mapping[str, Look]) -> Figure:
    """Demsar's diagram: average ranks, with bars over strategies that Nemenyi's test cannot tell apart."""
    if ranks is None:
        raise NothingToShow("it needs three strategies and two unrelated data sets or more")
    order = ranks.average.sort_values(kind="stable")
    count = len(order)
    margin = 0.5 * (count - 1)
    left, right = 1 - 0.1 * margin, count + 0.1 * margin
    groups = data.indistinguishable(order, ranks.critical_difference)
    marks: list[Mark] = [Line([1, count], [0, 0], DARK, width=1)]
    for rank in range(1, count + 1):
        marks += [Line([rank, rank], [0, 0.15], DARK, width=1), Label(rank, 0.45, str(rank))]
    for index, (low, high) in enumerate(groups):
        height = -0.4 * (index + 1)
        marks.append(Line([low - 0.03, high + 0.03], [height, height], DARK, width=4))
    floor = -0.4 * len(groups) - 0.2
    for index, (name, rank) in enumerate(order.items()):
        is_left = index < count / 2
        height = floor - 0.6 * (index + 1 if is_left else count - index)
        edge = left if is_left else right
        look = looks[str(name)]
        marks.append(Line([rank, rank, edge], [0, height, height], QUIET, width=1))
        marks.append(Points([rank], [0], look, size=8, texts=[f"{name}: {rank:.2f}"]))
        text = f"{name} {rank:.2f} " if is_left else f" {name} {rank:.2f}"
        marks.append(Label(edge, height, text, "right" if is_left else "left"))
    marks += _ruler(ranks.critical_difference)
    lowest = floor - 0.6 * ((count + 1) // 2) - 0.5
    return Figure(
        "critical_difference",
        f"Average ranks over {ranks.datasets} data sets",
        "1 is best. Nemenyi's test at 0.05 finds no difference between strategies that a thick bar joins, nor "
        "between any whose ranks lie closer than the critical difference.",
        [
            Panel(
                marks,
                Axis(limits=(left - margin, right + margin), visible=False),
                Axis(limits=(lowest, 2.1), visible=False),
            )
        ],
        panel_height=0.1 * (2.1 - lowest),
    )


def _ruler(length: float) -> list[Mark]:
    ends = [Line([end, end], [1.0, 1.3], DARK, width=1) for end in (1, 1 + length)]
    text = Label(1 + length / 2, 1.6, f"critical difference {length:.2f}")
    return [Line([1, 1 + length], [1.15, 1.15], DARK, width=1), *ends, text]
