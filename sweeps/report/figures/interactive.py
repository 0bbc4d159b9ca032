"""Panels as interactive figures of plotly."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from lossfleet.sweeps.report.figures.marks import (
    Axis,
    Band,
    Bars,
    Cells,
    Figure,
    Label,
    Line,
    Mark,
    Panel,
    Points,
    Scale,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

# A figure's width on a screen, in pixels, for which its panels get their height.
WIDTH = 760
MARGINS = {"l": 10, "r": 10, "t": 36, "b": 10}
GRID = "#e5e5e5"
TEXT = "#222222"
# Points of the PNG's letters and markers in pixels.
PIXELS = 1.3


def plotly_figures(figure: Figure) -> list[PlotlyFigure]:
    """A plotly figure a panel: a page lays them out as its width allows."""
    height = figure.panel_height * WIDTH + MARGINS["t"]
    return [_draw_panel(panel, height) for panel in figure.panels]


def _draw_panel(panel: Panel, height: float) -> PlotlyFigure:
    import plotly.graph_objects as go

    drawn = go.Figure()
    for mark in panel.marks:
        _draw(drawn, mark)
    # plotly reads names as HTML.
    drawn.update_layout(
        title={"text": escape(panel.title), "font": {"size": 15}, "x": 0.5, "y": 0.98, "yanchor": "top"},
        height=round(height),
        margin=MARGINS if panel.title else MARGINS | {"t": 10},
        template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": TEXT},
        hovermode="closest",
        legend={"x": 0.02, "y": 0.02, "bgcolor": "rgba(255,255,255,0.7)"},
        showlegend=any(isinstance(mark, Points | Line) and bool(mark.name) for mark in panel.marks),
    )
    drawn.update_xaxes(**_axis(panel.x))
    drawn.update_yaxes(**_axis(panel.y))
    if any(isinstance(mark, Cells) for mark in panel.marks):
        drawn.update_xaxes(showgrid=False, zeroline=False)
        drawn.update_yaxes(showgrid=False, zeroline=False, autorange="reversed")
    return drawn


def _axis(axis: Axis) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "title": {"text": escape(axis.label), "standoff": 8},
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "visible": axis.visible,
    }
    if axis.limits is not None:
        settings["range"] = axis.limits
    if axis.names is not None:
        names = [f"{escape(name)} " for name in axis.names.values()]
        settings |= {"tickvals": list(axis.names), "ticktext": names, "tickmode": "array"}
    return settings


def _draw(drawn: PlotlyFigure, mark: Mark) -> None:
    if isinstance(mark, Points):
        _draw_points(drawn, mark)
    elif isinstance(mark, Line):
        drawn.add_scatter(
            x=mark.x,
            y=mark.y,
            mode="lines",
            line={
                "color": mark.look.color,
                "dash": mark.look.dash,
                "width": PIXELS * mark.width,
                "shape": "hv" if mark.steps else "linear",
            },
            name=escape(mark.name),
            showlegend=bool(mark.name),
            hoverinfo="x+y",
        )
    elif isinstance(mark, Band):
        edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
        drawn.add_scatter(x=mark.x, y=mark.low, **edge)
        drawn.add_scatter(x=mark.x, y=mark.high, fill="tonexty", fillcolor=_faint(mark.look.color), **edge)
    elif isinstance(mark, Bars):
        drawn.add_bar(
            x=mark.widths,
            y=mark.y,
            orientation="h",
            width=0.6,
            marker={"color": mark.look.color},
            hovertemplate="%{x:.3f}<extra></extra>",
            showlegend=False,
        )
    elif isinstance(mark, Cells):
        _draw_cells(drawn, mark)
    elif isinstance(mark, Label):
        drawn.add_annotation(
            x=mark.x,
            y=mark.y,
            text=escape(mark.text),
            showarrow=False,
            xanchor=mark.align,
            yanchor="middle",
        )


def _draw_points(drawn: PlotlyFigure, mark: Points) -> None:
    sizes = mark.size if isinstance(mark.size, int | float) else list(mark.size)
    marker: dict[str, Any] = {
        "symbol": mark.look.marker if mark.filled else f"{mark.look.marker}-open",
        "size": PIXELS * sizes if not isinstance(sizes, list) else [PIXELS * size for size in sizes],
        "color": mark.look.color,
        "line": {"width": 0 if mark.filled else 1.5},
        "opacity": 1,
    }
    if mark.values is not None and mark.scale is not None:
        marker |= {"color": list(mark.values), "cmin": mark.scale.low, "cmax": mark.scale.high}
        marker |= {"colorscale": _colorscale(mark.scale), "showscale": mark.filled and bool(mark.scale.name)}
        marker["colorbar"] = _colorbar(mark.scale)
        if mark.filled:
            marker["line"] = {"width": 0.7, "color": "#333333"}
    texts = None if mark.texts is None else [escape(text) for text in mark.texts]
    drawn.add_scatter(
        x=mark.x,
        y=mark.y,
        mode="markers",
        marker=marker,
        name=escape(mark.name),
        showlegend=bool(mark.name),
        text=texts,
        hovertemplate=("%{text}<br>" if texts else "") + "%{x:.4g}, %{y:.4g}<extra></extra>",
    )


def _draw_cells(drawn: PlotlyFigure, mark: Cells) -> None:
    drawn.add_heatmap(
        z=mark.values,
        zmin=mark.scale.low,
        zmax=mark.scale.high,
        colorscale=_colorscale(mark.scale),
        showscale=bool(mark.scale.name),
        colorbar=_colorbar(mark.scale),
        text=[[escape(text) for text in texts] for texts in mark.texts],
        texttemplate="%{text}",
        hovertemplate="%{z:.4f}<extra></extra>",
        xgap=1,
        ygap=1,
    )
    if mark.chosen is not None:
        row, column = mark.chosen
        drawn.add_shape(
            type="rect",
            x0=column - 0.47,
            x1=column + 0.47,
            y0=row - 0.47,
            y1=row + 0.47,
            line={"color": "#d55e00", "width": 4},
        )


def _colorscale(scale: Scale) -> list[tuple[float, str]]:
    return [(index / (len(scale.colors) - 1), color) for index, color in enumerate(scale.colors)]


def _colorbar(scale: Scale) -> dict[str, Any]:
    return {"title": {"text": escape(scale.name), "side": "right"}, "thickness": 14}


def _faint(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"
