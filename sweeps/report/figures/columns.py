"""The figures of the columns that a model depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lossfleet.sweeps.report.figures.letters import lettered, tell_numbers
from lossfleet.sweeps.report.figures.marks import DARK, Axis, Bars, Figure, Line, Look, Mark, Panel
from lossfleet.sweeps.report.importance import ColumnImportance

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_COLUMNS = 30
# Longer names would leave no room for the bars.
LONGEST_NAME = 36


def important_columns(found: ColumnImportance, look: Look) -> Figure:
    """What the strategy ahead loses on its test parts when a column is shuffled, with standard errors."""
    shown = found.table.head(MOST_COLUMNS)
    heights = list(range(len(shown)))[::-1]
    marks: list[Mark] = [Bars(heights, list(shown["mean"]), look)]
    for height, mean, error in zip(heights, shown["mean"], shown["error"].fillna(0), strict=True):
        marks.append(Line([mean - error, mean + error], [height, height], DARK))
    limits = (-0.6, len(shown) - 0.4)
    marks.append(Line([0, 0], list(limits), DARK, width=0.8))
    names = dict(zip(heights, map(_shortened, shown["column"]), strict=True))
    further = len(found.table) - len(shown)
    return Figure(
        "columns",
        f"Which columns {found.strategy} relies on",
        f"How much {found.metric} is lost when the cells of a column are shuffled: means over {found.splits} "
        "final splits and their standard errors. Of two columns that say the same each loses little."
        + (f" {further} columns matter less than these." if further else "")
        + (f" Tried were the first {len(found.table)}." if found.left_out else ""),
        [Panel(marks, Axis(f"lost {found.metric}"), Axis(names=names, limits=limits))],
        panel_height=0.12 + 0.035 * len(shown),
    )


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def draw_columns(table: pd.DataFrame, path: Path, title: str) -> None:
    """Draws the importance of the columns as bars, the largest at the top.

    Args:
        table: of `lossfleet.sweeps.keeping.importance.column_importance`.
        path: its ending, .png or .svg, is the format.
        title: over the figure.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = table.head(MOST_COLUMNS)[::-1]
    # Names of the user's are no formulas.
    numbers: dict[str, str] = {}
    texts, fonts = lettered([title, *map(str, shown["column"])], numbers)
    tell_numbers(numbers)
    title, *names = (text.replace("$", r"\$") for text in texts)
    with matplotlib.rc_context({"font.family": fonts}):
        figure = Figure(figsize=(7.2, 1.2 + 0.28 * len(shown)), layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure.subplots(), shown, names, title)
        figure.savefig(path)


def _draw(axes: Axes, shown: pd.DataFrame, names: list[str], title: str) -> None:
    axes.barh(names, shown["mean"], xerr=shown["std"], color="#0072B2", ecolor="#555555")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("loss of balanced accuracy when the column is shuffled")
    axes.set_title(title, loc="left", fontsize="medium")
