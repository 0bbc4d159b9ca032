"""The figure of the columns that a model depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lossfleet.sweeps.report.figures.letters import lettered, tell_numbers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_COLUMNS = 30


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
