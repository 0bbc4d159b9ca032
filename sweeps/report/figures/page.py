"""One self-contained HTML page: text, tables and figures, with plotly.js inside and nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossfleet.sweeps.report.figures.marks import Gallery
    from lossfleet.sweeps.report.tables import Cell

TEMPLATE = "page.html"
# Bytes of PNG files that a page takes, so that it can be mailed: plotly.js has 5 MB already.
MOST_STILLS = 2_000_000


@dataclass(frozen=True)
class Table:
    """A table under a title, with a note below it, and perhaps a rule above one of its rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    rule: int | None = None


def write_page(
    path: Path,
    *,
    title: str,
    gallery: Gallery,
    sentence: str = "",
    note: str | None = None,
    tables: Sequence[Table] = (),
    method: Sequence[str] = (),
    references: Sequence[str] = (),
    environments: Mapping[str, Mapping[str, str]] | None = None,
    stills: bool = True,
) -> None:
    """Writes a page whole or not at all; all texts are shown as they are, whatever characters they have.

    Args:
        path: of the file, replaced where it exists.
        title: of the page.
        gallery: the figures.
        sentence: what the comparison says.
        note: what is said below it, more quietly.
        tables: in their order, before the figures.
        method: how the comparison was made, a paragraph a step.
        references: of the method.
        environments: a heading and what stands under it.
        stills: whether the PNG files are to be in the page, for printing and for browsers without scripts; they
            are left out where they would make it too large.
    """
    from jinja2 import Environment, FileSystemLoader
    from plotly.offline import get_plotlyjs

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["base64"] = lambda content: base64.b64encode(content).decode()
    text = templates.get_template(TEMPLATE).render(
        title=title,
        gallery=gallery,
        sentence=sentence,
        note=note,
        tables=tables,
        method=method,
        references=references,
        environments=environments or {},
        stills=stills and sum(len(drawn.png) for drawn in gallery.drawn) <= MOST_STILLS,
        plotlyjs=get_plotlyjs(),
    )
    _write_whole(path, text)


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
