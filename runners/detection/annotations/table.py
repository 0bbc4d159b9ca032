"""Annotations in a table with a row a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lossfleet.conf.errors import UserError
from lossfleet.runners.detection.annotations.photographs import Photographs
from lossfleet.runners.images.listing import cells_of
from lossfleet.runners.tables.reading import open_table_file
from lossfleet.runners.tables.report import shortened

# What columns are called: by DeepForest first, then by RetinaNet's and torchvision's tutorials.
COLUMNS = {
    "image_path": ("image_path", "image", "file_name", "filename", "file", "path", "image_id"),
    "xmin": ("xmin", "x1", "x_min", "left"),
    "ymin": ("ymin", "y1", "y_min", "top"),
    "xmax": ("xmax", "x2", "x_max", "right"),
    "ymax": ("ymax", "y2", "y_max", "bottom"),
    "label": ("label", "class", "class_name", "name", "category"),
}


def read_table(path: Path, photographs: Photographs) -> None:
    """Add what a table says, a row a box: image_path, xmin, ymin, xmax, ymax, label; an image without any has a row
    with nothing but its name.

    Raises:
        UserError: the table cannot be read, or lacks a column.
    """
    table = open_table_file(path)
    columns = [_column(path, table.names, column) for column in COLUMNS]
    cells = cells_of(table, columns)
    for number, row in enumerate(zip(*(cells[column] for column in columns), strict=True), start=1):
        place = f"{path.name} row {number}"
        name, *corners, label = row
        if not name:
            photographs.unusable.add("boxes", f"{place} has no {columns[0]}", "a file's name", "fill it in")
            continue
        photograph = photographs.named(name, place)
        if photograph is not None and any((*corners, label)):
            x1, y1, x2, y2 = map(_number, corners)
            photograph.add((x1, y1, x2, y2), label or "", place)
    photographs.said.append(f"boxes in the columns {', '.join(columns)} of {path.name}")


def _column(path: Path, names: Sequence[str], column: str) -> str:
    found = next((name for name in COLUMNS[column] if name in names), None)
    if found is None:
        raise UserError(
            what=f"{path.name} has no column {column}, but {shortened(names)}",
            expected=f"the columns {', '.join(COLUMNS)}",
            hint="rename its columns",
        )
    return found


def _number(cell: str | None) -> float:
    """NaN where there is none."""
    try:
        return float(cell or "")
    except ValueError:
        return math.nan
