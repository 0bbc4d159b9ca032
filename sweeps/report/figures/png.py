"""Figures as PNG files, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

from lossfleet.sweeps.report.figures.letters import lettered
from lossfleet.sweeps.report.figures.marks import (
    Axis,
    Band,
    Bars,
    Cells,
    Figure,
    Label,
    Line,
    Panel,
    Points,
    Scale,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Inches and dots an inch: 900 pixels, whose letters can still be read when they are shown as 400.
WIDTH = 4.5
RESOLUTION = 200
CAPTION_WIDTH = 74
TITLE_WIDTH = 48
LINE_HEIGHT = 0.16
MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-down": "v",
    "triangle-up": "^",
    "x": "X",
    "cross": "P",
    "star": "*",
    "pentagon": "p",
}
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (7, 2))}
STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.color": "#222222",
    # Names are data: a dollar sign in them begins no formula.
    "text.parse_math": False,
}


def png(figure: Figure, numbers: dict[str, str] | None = None) -> bytes:
    """A figure as the bytes of a PNG file.

    Args:
        figure: what to draw.
        numbers: see `letters.lettered`.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure, fonts = lettered(figure, {} if numbers is None else numbers)
    caption = textwrap.fill(figure.caption, CAPTION_WIDTH)
    title = textwrap.fill(figure.title, TITLE_WIDTH)
    below = LINE_HEIGHT * (caption.count("\n") + 1.8)
    above = LINE_HEIGHT * (title.count("\n") + 1.4)
    height = WIDTH * figure.panel_height * figure.rows + below + above
    with matplotlib.rc_context(STYLE | {"font.family": fonts}):
        inside = (0.01, below / height, 0.98, 1 - (above + below) / height)
        layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06, rect=inside)
        canvas = Canvas(figsize=(WIDTH, height), dpi=RESOLUTION, layout=layout)
        canvas.text(0.5, 1 - 0.05 / height, title, ha="center", va="top", fontsize=10.5, fontweight="bold")
        canvas.text(0.015, 0.08 / height, caption, fontsize=8, color="#444444", va="bottom")
        grid = canvas.add_gridspec(figure.rows, figure.columns)
        for place, panel in enumerate(figure.panels):
            axes = canvas.add_subplot(grid[divmod(place, figure.columns)])
            _draw_panel(axes, panel, 1 / figure.columns)
        file = io.BytesIO()
        # Figure.savefig would lay everything out twice.
        FigureCanvasAgg(canvas).print_png(file, pil_kwargs={"compress_level": 4})
    return file.getvalue()


def _draw_panel(axes: Axes, panel: Panel, share: float) -> None:
    """Draws on a share of the figure's width."""
    for mark in panel.marks:
        if isinstance(mark, Cells):
            _draw_cells(axes, mark, share)
        else:
            _draw(axes, mark)
    for artist in (*axes.collections, *axes.lines, *axes.texts):
        # Marks lie inside of the axes; measuring them takes as long as drawing them.
        artist.set_in_layout(False)
    axes.set_title(panel.title)
    _set_axis(axes, "x", panel.x)
    _set_axis(axes, "y", panel.y)
    if any(isinstance(mark, Points | Line) and mark.name for mark in panel.marks):
        axes.legend()


def _set_axis(axes: Axes, which: str, axis: Axis) -> None:
    axes.set(**{f"{which}label": axis.label})
    if axis.names is not None:
        axes.set(**{f"{which}ticks": list(axis.names), f"{which}ticklabels": list(axis.names.values())})
    if axis.limits is not None:
        axes.set(**{f"{which}lim": axis.limits})
    if not axis.visible:
        getattr(axes, f"{which}axis").set_visible(False)
        axes.spines[["bottom"] if which == "x" else ["left"]].set_visible(False)


def _draw(axes: Axes, mark: Points | Line | Band | Bars | Label) -> None:
    if isinstance(mark, Points):
        _draw_points(axes, mark)
    elif isinstance(mark, Line):
        axes.plot(
            mark.x,
            mark.y,
            color=mark.look.color,
            linestyle=DASHES[mark.look.dash],
            linewidth=mark.width,
            drawstyle="steps-post" if mark.steps else "default",
            label=mark.name or None,
        )
    elif isinstance(mark, Band):
        axes.fill_between(mark.x, mark.low, mark.high, color=mark.look.color, alpha=0.2, linewidth=0)
    elif isinstance(mark, Bars):
        axes.barh(mark.y, mark.widths, height=0.6, color=mark.look.color)
    elif isinstance(mark, Label):
        axes.text(mark.x, mark.y, mark.text, ha=mark.align, va="center")


def _draw_points(axes: Axes, mark: Points) -> None:
    # matplotlib's sizes are areas.
    sizes = [size**2 for size in mark.size] if not isinstance(mark.size, int | float) else mark.size**2
    colors: Any = mark.look.color
    if mark.values is not None and mark.scale is not None:
        colors = _colormap(mark.scale)(_normalised(mark.scale)(mark.values))
        if mark.filled:
            _draw_scale(axes, mark.scale)
    axes.scatter(
        mark.x,
        mark.y,
        s=sizes,
        marker=MARKERS[mark.look.marker],
        facecolors=colors if mark.filled else "none",
        edgecolors=colors if not mark.filled else "#333333" if mark.values is not None else "none",
        linewidths=1.2 if not mark.filled else 0.5,
        label=mark.name or None,
        zorder=3,
        # Half of a marker at the edge would look like another marker.
        clip_on=False,
    )


def _draw_cells(axes: Axes, mark: Cells, share: float) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = len(mark.values), len(mark.values[0])
    axes.imshow(mark.values, cmap=_colormap(mark.scale), norm=_normalised(mark.scale), aspect="auto")
    axes.spines[:].set_visible(False)
    size = min(8.5, 68 * share / columns)
    for row in range(rows):
        for column in range(columns):
            color = mark.scale.text_color(mark.values[row][column])
            text = mark.texts[row][column]
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
    if mark.chosen is not None:
        corner = (mark.chosen[1] - 0.46, mark.chosen[0] - 0.46)
        axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="#d55e00", linewidth=2.5))
    _draw_scale(axes, mark.scale)


def _draw_scale(axes: Axes, scale: Scale) -> None:
    if scale.name:
        from matplotlib.cm import ScalarMappable

        colors = ScalarMappable(norm=_normalised(scale), cmap=_colormap(scale))
        axes.figure.colorbar(colors, ax=axes, label=scale.name)


def _normalised(scale: Scale) -> Any:
    from matplotlib.colors import Normalize

    return Normalize(scale.low, scale.high)


def _colormap(scale: Scale) -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("scale", scale.colors)
