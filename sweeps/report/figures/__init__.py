"""Figures of a comparison, as PNG and as interactive HTML, made from the tidy frame alone.

`data` has the numbers, `scores`, `searches` and `predictions` say in marks what each figure shows, `png` and
`interactive` draw marks, `page` lays out HTML, `gallery` lists the figures and writes them.
"""

from lossfleet.sweeps.report.figures.gallery import (
    FIGURES,
    draw_curve,
    draw_gallery,
    write_figures,
    write_gallery,
)

__all__ = ["FIGURES", "draw_curve", "draw_gallery", "write_figures", "write_gallery"]
