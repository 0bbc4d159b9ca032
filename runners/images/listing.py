"""A table of file names and classes: a column says each, others may say the part and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.images.listed import SKIP, Listed, fault
from lossfleet.runners.images.parts import SPELLINGS, part_of
from lossfleet.runners.portable.images import ENDINGS
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.files import no_rows
from lossfleet.runners.tables.reading import TableFile, as_text, open_table_file
from lossfleet.runners.tables.report import shortened

FILE_COLUMN, CLASS_COLUMN = 0, 1
# Rows named in a message.
FEW = 5


def list_table(
    path: Path,
    faults: Faults,
    *,
    folder: Path,
    broken: str,
    file: str | None = None,
    target: str | None = None,
    part: str | None = None,
    group: str | None = None,
) -> Listed:
    """The images that a table names.

    Args:
        path: of the table, of any kind that `data=csv` reads.
        faults: takes those that are found.
        folder: where file names start from.
        file, target: the columns of file names and of classes; None for the first and the second one.
        part: the column that says train, val or test; None where none does.
        group: the column whose equal values stay in one part; None where none is.
        broken: `skip` leaves out rows without a class or a file, and says so.

    Returns:
        The files in the order of the rows.

    Raises:
        UserError: the table cannot be read, or has no such column.
    """
    table = open_table_file(path)
    columns = {
        "file": _column(table, "file", file, FILE_COLUMN),
        "target": _column(table, "target", target, CLASS_COLUMN),
        **{
            setting: _column(table, setting, name, 0)
            for setting, name in (("part", part), ("group", group))
            if name
        },
    }
    cells = cells_of(table, list(columns.values()))
    rows = len(cells[columns["file"]])
    kept, reasons = _usable(cells, columns, folder, faults, broken=broken)
    names = [kept.get(row, "") for row in range(rows)]
    used = [row for row in range(rows) if row in kept]
    listed = Listed(
        folder,
        [names[row] for row in used],
        [str(cells[columns["target"]][row]) for row in used],
        groups=[str(cells[columns["group"]][row]) for row in used] if group else None,
        said=[f"file names in column {columns['file']}, classes in column {columns['target']}"],
    )
    if part:
        words = [str(cells[columns["part"]][row]) for row in used]
        with faults.collected():
            listed.parts = _parts(words, used, columns["part"])
    if reasons:
        listed.notes.append(f"{len(reasons)} of {rows} rows left out: {shortened(reasons)}")
    return listed


def _column(table: TableFile, setting: str, name: str | None, place: int) -> str:
    if name is None and place < len(table.names):
        return table.names[place]
    if name is None or name not in table.names:
        what = f"data.{setting} names {name!r}" if name else f"data.{setting} is not set"
        raise UserError(
            what=f"{what}, and {table.path.name} has the columns {shortened(table.names)}",
            expected="the column of file names as data.file and that of classes as data.target",
            hint=suggest(name, table.names)
            if name
            else "write the file names and the classes in two columns",
        )
    return name


def cells_of(table: TableFile, names: Sequence[str]) -> dict[str, list[str | None]]:
    """All cells of some columns as text, None where a cell is empty.

    Raises:
        UserError: there is no row.
    """
    cells: dict[str, list[str | None]] = {name: [] for name in names}
    for batch in table.batches(names, wordy=names):
        for name, found in batch.items():
            cells[name] += as_text(found).to_pylist()
    if not cells[names[0]]:
        raise no_rows(table.path)
    return cells


def _usable(
    cells: dict[str, list[str | None]], columns: dict[str, str], folder: Path, faults: Faults, *, broken: str
) -> tuple[dict[int, str], list[str]]:
    """The file name of each row that can be used, and why others cannot; these are faults unless they are skipped."""
    files = cells[columns["file"]]
    kept: dict[int, str] = {}
    reasons: list[str] = []
    empty: dict[str, list[int]] = {setting: [] for setting in columns}
    for row, name in enumerate(files):
        absent = [setting for setting, column in columns.items() if not cells[column][row]]
        found = None if name is None else _found(folder, name)
        if absent:
            empty[absent[0]].append(row + 1)
            reasons.append(f"row {row + 1} has no {columns[absent[0]]}")
        elif found is None:
            reasons.append(f"row {row + 1} names {name}, which is not there")
            if broken != SKIP:
                with faults.collected():
                    raise fault(
                        f"row {row + 1} names {name}, and there is no such file in {folder}",
                        "the name of a file, from data.folder or else the folder of the table",
                        "correct the row, or write data.folder=...",
                    )
        else:
            kept[row] = found
    for setting, rows in empty.items():
        if rows and broken != SKIP:
            with faults.collected():
                raise fault(
                    f"the {setting} {columns[setting]!r} is missing in {len(rows)} of {len(files)} rows: "
                    + ", ".join(map(str, rows[:FEW]))
                    + (", ..." if len(rows) > FEW else ""),
                    f"a {'class' if setting == 'target' else 'value'} in every row",
                    "fill the cells in, take the rows out",
                )
    return kept, reasons if broken == SKIP else []


def _found(folder: Path, name: str) -> str | None:
    """The name of a file that is there: as it stands, or with the ending that the table leaves out."""
    return next(
        (each for each in (name, *(name + ending for ending in ENDINGS)) if (folder / each).is_file()), None
    )


def _parts(words: Sequence[str], rows: Sequence[int], column: str) -> list[int]:
    parts = [part_of(word) for word in words]
    for row, word, part in zip(rows, words, parts, strict=True):
        if part is None:
            raise UserError(
                what=f"column {column!r} has {word!r} in row {row + 1}",
                expected=f"one of {', '.join(SPELLINGS)}",
                hint="correct the row, or choose another data.part",
            )
    return [part for part in parts if part is not None]
