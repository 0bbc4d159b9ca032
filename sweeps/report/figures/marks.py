"""What figures consist of, for both back ends: panels of a few kinds of marks, and the looks of strategies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Dash = Literal["solid", "dash", "dot", "dashdot", "longdash"]
Align = Literal["left", "center", "right"]


@dataclass(frozen=True)
class Look:
    """How something is drawn. Marker and dash tell strategies apart where colours cannot."""

    color: str
    marker: str
    dash: Dash = "solid"


# Okabe and Ito's colours, which the colour-blind tell apart; the baseline is grey.
LOOKS = {
    "ce": Look("#4d4d4d", "circle", "dash"),
    "weighted_ce": Look("#0072b2", "square", "dashdot"),
    "ohem": Look("#009e73", "diamond", "dot"),
    "resampling": Look("#e69f00", "triangle-down", "longdash"),
    "focal": Look("#d55e00", "triangle-up", "solid"),
}
OTHER_LOOKS = (
    Look("#56b4e9", "x", "dash"),
    Look("#cc79a7", "cross", "dot"),
    Look("#8c6d1f", "star", "dashdot"),
    Look("#000000", "pentagon", "longdash"),
)
QUIET = Look("#999999", "circle")
DARK = Look("#222222", "circle")
CHOSEN = Look("#d55e00", "star")

# Lightness rises or falls all the way, so that the order is seen in grey as well.
VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
BLUES = ("#f7fbff", "#c6dbef", "#6baed6", "#2171b5", "#08306b")


@dataclass(frozen=True)
class Scale:
    """Which colours stand for which values; with a name it is shown beside the panel."""

    low: float
    high: float
    colors: tuple[str, ...] = VIRIDIS
    name: str = ""

    def text_color(self, value: float) -> str:
        """Black or white, whichever can be read on the value's colour."""
        if not self.low <= value <= self.high:
            return "#000000"
        share = (value - self.low) / (self.high - self.low or 1.0)
        color = self.colors[round(share * (len(self.colors) - 1))]
        red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
        return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "#ffffff"


@dataclass(frozen=True, eq=False)
class Points:
    """Markers, as wide as `size` says in points; `texts` are shown under the pointer.

    With `values` their colours follow `scale`.
    """

    x: Sequence[float]
    y: Sequence[float]
    look: Look
    name: str = ""
    size: float | Sequence[float] = 6
    filled: bool = True
    texts: Sequence[str] | None = None
    values: Sequence[float] | None = None
    scale: Scale | None = None


@dataclass(frozen=True, eq=False)
class Line:
    """A line through points; as steps it keeps each height until the next point."""

    x: Sequence[float]
    y: Sequence[float]
    look: Look
    name: str = ""
    width: float = 1.5
    steps: bool = False


@dataclass(frozen=True, eq=False)
class Band:
    """The area between `low` and `high`."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    look: Look


@dataclass(frozen=True, eq=False)
class Bars:
    """Horizontal bars from 0."""

    y: Sequence[float]
    widths: Sequence[float]
    look: Look


@dataclass(frozen=True, eq=False)
class Cells:
    """A heat map, the first row at the top; `texts` stand in the cells, `chosen` (row, column) is framed."""

    values: Sequence[Sequence[float]]
    texts: Sequence[Sequence[str]]
    scale: Scale
    chosen: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Label:
    """A text at a place."""

    x: float
    y: float
    text: str
    align: Align = "center"


Mark = Points | Line | Band | Bars | Cells | Label


@dataclass(frozen=True)
class Axis:
    """An axis: its label, its limits, and the names of its places where they are no numbers."""

    label: str = ""
    limits: tuple[float, float] | None = None
    names: Mapping[int, str] | None = None
    visible: bool = True


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes and what is drawn on it; the first mark lies lowest."""

    marks: Sequence[Mark]
    x: Axis
    y: Axis
    title: str = ""


@dataclass(frozen=True, eq=False)
class Figure:
    """Panels under a title, with a caption that says how to read them.

    `name` names the files. `panel_height` is in parts of the figure's width.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 1
    panel_height: float = 0.6

    @property
    def rows(self) -> int:
        """The number of rows of panels."""
        return -(-len(self.panels) // self.columns)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure in both forms: the bytes of a PNG file, and plotly's JSON of each panel."""

    figure: Figure
    png: bytes
    plots: list[str]


@dataclass(frozen=True, eq=False)
class DrawnSheet:
    """Images to look at, below a title, as PNG alone."""

    name: str
    title: str
    caption: str
    png: bytes


@dataclass(frozen=True, eq=False)
class Gallery:
    """The figures that were drawn, and a line for each that was left out; the title names the data.

    `numbers` stand in the PNG files for words that no font has.
    """

    title: str
    drawn: list[Drawn]
    left_out: list[str]
    numbers: dict[str, str] = field(default_factory=dict)
    sheets: list[DrawnSheet] = field(default_factory=list)


def looks(strategies: Iterable[str]) -> dict[str, Look]:
    """A look for each strategy: the known ones always have theirs, the others take what is left in turn."""
    others = sorted(set(strategies) - LOOKS.keys())
    return LOOKS | {name: OTHER_LOOKS[index % len(OTHER_LOOKS)] for index, name in enumerate(others)}
