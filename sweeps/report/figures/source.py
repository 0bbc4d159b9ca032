"""What the figures of one data set are made from, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from lossfleet.sweeps.report.figures import data
from lossfleet.sweeps.report.figures.marks import Band, Line, Look, Mark, Panel, Points


class NothingToShow(Exception):
    """Why a figure is left out, in words that follow its name and a colon."""


@dataclass(frozen=True, eq=False)
class Source:
    """The replicates of one sweep, with what several figures need.

    `metric` is the validation metric that the search maximised, `score` the column of the final replicates that
    is compared; `looks` has those of all strategies.
    """

    frame: pd.DataFrame
    metric: str
    score: str
    looks: Mapping[str, Look]

    @property
    def value_name(self) -> str:
        """The search's metric in words."""
        return f"validation {self.metric.replace('_', ' ')}"

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """See `data.intervals`."""
        return data.intervals(self.frame, self.score)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """See `data.trials`."""
        return data.trials(self.frame, self.metric)

    def in_order(self, present: Iterable[str]) -> list[str]:
        """These strategies in the order of the table: the best first, those without a final score last."""
        found = set(present)
        ranked = [name for name in self.intervals["strategy"] if name in found]
        return ranked + sorted(found - set(ranked))


def with_same_heights(panels: list[Panel]) -> list[Panel]:
    """The panels with the limits of y that hold all of their points."""
    heights = [height for panel in panels for mark in panel.marks for height in _heights(mark)]
    heights = [height for height in heights if np.isfinite(height)]
    margin = 0.05 * (max(heights) - min(heights)) or 0.01
    limits = (min(heights) - margin, max(heights) + margin)
    return [replace(panel, y=replace(panel.y, limits=limits)) for panel in panels]


def _heights(mark: Mark) -> Sequence[float]:
    if isinstance(mark, Points | Line):
        return mark.y
    return [*mark.low, *mark.high] if isinstance(mark, Band) else []
