"""The figure of the columns that a model depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MOST_COLUMNS = 30


def draw_columns(table: pd.DataFrame, path: Path, title: str) -> None:
    """Draws the importance of the columns as bars, the largest at the top.

    Args:
        table: of `lossfleet.sweeps.keeping.importance.column_importance`.
        path: its ending, .png or .svg, is the format.
        title: over the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = table.head(MOST_COLUMNS)[::-1]
    figure = Figure(figsize=(7.2, 1.2 + 0.28 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    # Names of the user's are no formulas.
    names = [str(name).replace("$", r"\$") for name in shown["column"]]
    axes.barh(names, shown["mean"], xerr=shown["std"], color="#0072B2", ecolor="#555555")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("loss of balanced accuracy when the column is shuffled")
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize="medium")
    figure.savefig(path)
