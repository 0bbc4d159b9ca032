"""Tables that are read as a whole: sheets of Excel, and ARFF."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.tables.files import open_bytes

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 2**14


@dataclass(frozen=True)
class Sheet:
    """Rows of a table in memory.

    Fields: names of the columns; rows, each with a cell a column; categorical, places of columns whose cells are
    categories; said, what it is, in words.
    """

    names: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    categorical: frozenset[int] = frozenset()
    said: tuple[str, ...] = ()

    def batches(self, places: Sequence[int]) -> Iterator[Sequence[pa.Array]]:
        """The cells of the columns at these places as text, null where there is none."""
        import pyarrow as pa

        for start in range(0, len(self.rows), BATCH_ROWS):
            rows = self.rows[start : start + BATCH_ROWS]
            yield [pa.array([_word(row[place]) for row in rows], pa.string()) for place in places]


def read_excel(path: Path, has_header: bool) -> Sheet:
    """The first sheet of a workbook that has rows.

    Raises:
        UserError: the library that reads Excel is not installed, or no sheet has rows.
        ValueError: no workbook.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise UserError(
            what=f"{path.name} is a workbook of Excel, and python-calamine is not installed",
            expected="the extra lossfleet[excel]",
            hint="run pip install 'lossfleet[excel]', or save the sheet as CSV",
        ) from None
    try:
        workbook = CalamineWorkbook.from_path(path)
        sheets = [workbook.get_sheet_by_name(name) for name in workbook.sheet_names]
    except CalamineError as error:
        raise ValueError(str(error)) from error
    filled = [sheet for sheet in sheets if sheet.height]
    if not filled:
        raise ValueError("no sheet has rows")
    rows = [row for row in filled[0].to_python(skip_empty_area=True) if any(cell != "" for cell in row)]
    width = max(len(row) for row in rows)
    said = ["Excel"] + ([f"the first of {len(filled)} sheets, {filled[0].name}"] if len(filled) > 1 else [])
    # Titles stand above the header in a row that is nearly empty.
    first = 0
    while first < len(rows) - 1 and width > 2 and sum(cell != "" for cell in rows[first]) < 2:
        first += 1
    if first:
        said.append(f"{first} lines above the header left out")
    rows = [[*row, *[""] * (width - len(row))] for row in rows[first:]]
    if not has_header:
        return Sheet(tuple(f"column_{place + 1}" for place in range(width)), rows, said=tuple(said))
    names = tuple((_word(cell) or "").strip() for cell in rows[0])
    return Sheet(names, rows[1:], said=tuple(said))


def read_arff(path: Path, has_header: bool) -> Sheet:
    """A file of Weka's; what it calls nominal is categorical.

    Raises:
        ValueError: no ARFF.
    """
    import arff

    with open_bytes(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("windows-1252", "replace")
    try:
        read = arff.loads(text)
    except arff.ArffException as error:
        raise ValueError(str(error)) from error
    kinds = read["attributes"]
    nominal = frozenset(place for place, (_, kind) in enumerate(kinds) if isinstance(kind, list))
    return Sheet(tuple(name.strip() for name, _ in kinds), read["data"], nominal, ("ARFF",))


def _word(cell: Any) -> str | None:
    if cell is None or cell == "":
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, (datetime.datetime, datetime.date)):
        return cell.isoformat()
    return str(cell)
