"""All figures of a comparison: drawn once, written as PNG files and as one interactive page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lossfleet.runners.detection.timing import MILLISECONDS
from lossfleet.runners.metrics.evaluation import LOSS_SHARES
from lossfleet.runners.records import PAGE
from lossfleet.sweeps.comparison.blocks import WITH, data_set_of, in_order
from lossfleet.sweeps.comparison.frame import Comparison
from lossfleet.sweeps.comparison.nested import join_outer_parts
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report.figures import predictions, scores, searches, speeds
from lossfleet.sweeps.report.figures.columns import important_columns
from lossfleet.sweeps.report.figures.data import by_ratio
from lossfleet.sweeps.report.figures.letters import tell_numbers
from lossfleet.sweeps.report.figures.marks import Drawn, DrawnSheet, Figure, Gallery, looks
from lossfleet.sweeps.report.figures.source import NothingToShow, Source
from lossfleet.sweeps.report.importance import ColumnImportance

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.sweeps.report.figures.anchor_losses import LossMaps
    from lossfleet.sweeps.report.figures.sheets import Sheet

# In the order of the page; the file of a figure has its name.
FIGURES: dict[str, Callable[[Source], Figure]] = {
    "strategies": scores.strategies,
    "speed": speeds.speed,
    "landscape": searches.landscape,
    "history": searches.history,
    "importance": searches.importance,
    "learning_curves": predictions.learning_curves,
    "confusion": predictions.confusion,
    "precision_recall": predictions.precision_recall,
    "reliability": predictions.reliability,
}


def draw_gallery(
    frame: pd.DataFrame,
    comparison: Comparison | None = None,
    columns: ColumnImportance | None = None,
) -> Gallery:
    """Draws every figure that has something to show.

    A figure that fails is left out with a warning on stderr: it must not take the others along.

    Args:
        frame: as `frame.frame` or `frame.frame_from_records` give it, with curves.
        comparison: its summary; None makes it.
        columns: what they matter to the best strategy of one data set; None where that is not known.
    """
    comparison = comparison or summary(frame)
    frame = join_outer_parts(frame)
    several = frame["data"].nunique() > 1
    styles = looks(frame["strategy"].unique())
    gallery = Gallery(", ".join(sorted(frame["data"].unique())), [], [])
    for data in in_order(frame["data"]):
        part = frame[frame["data"] == data]
        source = Source(part, part["search_metric"].iloc[0], comparison.metrics[0], styles)
        for name, describe in FIGURES.items():
            _add(
                gallery,
                f"{name}-{data.replace(WITH, '-')}" if several else name,
                data,
                partial(describe, source),
            )
        if {f"curves.{name}" for name in LOSS_SHARES.values()} & {*part}:
            name = f"loss_shares-{data.replace(WITH, '-')}" if several else "loss_shares"
            _add(gallery, name, data, partial(predictions.loss_shares, source))
    if columns is not None:
        look = styles[columns.strategy]
        _add(gallery, "columns", gallery.title, partial(important_columns, columns, look))
    _add(gallery, "critical_difference", "", partial(scores.critical_difference, comparison.ranks, styles))
    gallery.drawn.extend(draw_curve(frame, comparison).drawn)
    return gallery


def draw_curve(frame: pd.DataFrame, comparison: Comparison) -> Gallery:
    """Draws what several sweeps on one data set show together alone: scores by imbalance, and by time of detectors."""
    gallery = Gallery("side by side", [], [])
    table = by_ratio(frame, comparison.table, comparison.metrics[0])
    styles = looks(frame["strategy"].unique())
    if len(table):
        _add(gallery, "imbalance", "", partial(scores.imbalance, table, comparison.metrics[0], styles))
    timed = frame.loc[frame[MILLISECONDS].notna(), "data"].unique()
    if len(timed) > 1 and len(set(map(data_set_of, timed))) == 1:
        _add(gallery, "speed", "", partial(speeds.speeds, frame, comparison.metrics[0], styles))
    return gallery


def write_figures(
    frame: pd.DataFrame,
    folder: Path,
    comparison: Comparison | None = None,
    note: str | None = None,
    columns: ColumnImportance | None = None,
    sheets: Callable[[], Iterable[Sheet | LossMaps]] = tuple,
) -> list[Path]:
    """Draws the figures and then sheets, and writes them, see `draw_gallery` and `write_gallery`."""
    gallery = draw_gallery(frame, comparison, columns)
    for sheet in sheets():
        gallery.sheets.append(DrawnSheet(sheet.name, sheet.title, sheet.caption, sheet.png(gallery.numbers)))
    return write_gallery(gallery, folder, note)


def write_gallery(gallery: Gallery, folder: Path, note: str | None = None) -> list[Path]:
    """Writes a PNG file a figure, and all figures as one interactive page that needs no network.

    Args:
        gallery: of `draw_gallery`.
        folder: made where it is missing; files of earlier figures are replaced.
        note: what the page says before the figures.

    Returns:
        The paths of the files.
    """
    from lossfleet.sweeps.report.figures.page import write_page

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    tell_numbers(gallery.numbers)
    for drawn in gallery.drawn:
        paths.append(folder / f"{drawn.figure.name}.png")
        paths[-1].write_bytes(drawn.png)
    for sheet in gallery.sheets:
        paths.append(folder / f"{sheet.name}.png")
        paths[-1].write_bytes(sheet.png)
    # The PNG files lie beside the page.
    write_page(folder / PAGE, title=f"Figures: {gallery.title}", gallery=gallery, note=note, stills=False)
    return [*paths, folder / PAGE]


def _add(gallery: Gallery, name: str, data: str, describe: Callable[[], Figure]) -> None:
    from lossfleet.sweeps.report.figures.interactive import plotly_figures
    from lossfleet.sweeps.report.figures.png import png

    try:
        figure = describe()
        figure = replace(figure, name=name, title=f"{figure.title}: {data}" if data else figure.title)
        plots = [plot.to_json() for plot in plotly_figures(figure)]
        gallery.drawn.append(Drawn(figure, png(figure, gallery.numbers), plots))
    except NothingToShow as reason:
        gallery.left_out.append(f"{name}: {reason}")
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        print(f"lossfleet: warning: the figure {name} could not be drawn ({what})", file=sys.stderr)
        gallery.left_out.append(f"{name}: it could not be drawn ({what})")
