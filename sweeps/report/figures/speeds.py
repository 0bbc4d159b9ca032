"""The figure of what detectors find by how long they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from lossfleet.runners.detection.timing import FRAMES, MILLISECONDS
from lossfleet.sweeps.comparison.frame import latest_finals
from lossfleet.sweeps.report.figures import data
from lossfleet.sweeps.report.figures.marks import Axis, Figure, Line, Look, Mark, Panel, Points
from lossfleet.sweeps.report.figures.source import NothingToShow, Source


def speed(source: Source) -> Figure:
    """The mean score of each detector with its bootstrap interval, by milliseconds an image."""
    return speeds(source.frame, source.score, source.looks)


def speeds(frame: pd.DataFrame, score: str, looks: Mapping[str, Look]) -> Figure:
    """The same of one sweep or several; a line joins those of a strategy.

    Args:
        frame: of the replicates.
        score: the compared column.
        looks: of the strategies.
    """
    timed = latest_finals(frame).dropna(subset=[MILLISECONDS])
    if len(timed) < 2:
        raise NothingToShow("it needs two detectors that were timed")
    rows = timed.groupby(["data", "strategy"], as_index=False).agg({MILLISECONDS: "min", FRAMES: "max"})
    several = rows["data"].nunique() > 1
    intervals = [data.intervals(part, score).assign(data=name) for name, part in frame.groupby("data")]
    rows = rows.merge(pd.concat(intervals), on=["data", "strategy"]).sort_values(MILLISECONDS)
    marks: list[Mark] = []
    for name, own in rows.groupby("strategy"):
        look, places = looks[str(name)], list(own[MILLISECONDS])
        if several:
            marks.append(Line(places, list(own["mean"]), look, width=1))
        marks += [
            Line([place, place], [low, high], replace(look, dash="solid"), width=2)
            for place, low, high in zip(places, own["low"], own["high"], strict=True)
        ]
        texts = [
            f"{name}{f' of {block}' if several else ''}: {mean:.4f}, {place:.2f} ms, {frames:,.0f} images a second"
            for block, mean, place, frames in zip(own["data"], own["mean"], places, own[FRAMES], strict=True)
        ]
        marks.append(Points(places, list(own["mean"]), look, name=str(name), size=7, texts=texts))
    x = Axis("milliseconds an image", (0, 1.1 * rows[MILLISECONDS].max()))
    return Figure(
        "speed",
        "Test score by milliseconds an image",
        "Means over the final splits with 95 % bootstrap intervals. Images are taken one at a time, in one thread of "
        "the native core, from pixels to boxes; of several rounds the fastest counts.",
        [Panel(marks, x, Axis(score.replace("_", " ")))],
    )
