"""Text with separators as batches of cells, by pyarrow's reader; by pandas' where spaces align the cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.tables import files
from lossfleet.runners.tables.dialect import Dialect

if TYPE_CHECKING:
    import pyarrow as pa

# A block of wide rows has so many of them, where that is not too much memory: pyarrow reads some dozens ahead.
ROWS_OF_A_BLOCK = 50
MOST_BLOCK_BYTES = 8 * 2**20
# Rows of a wrong length that are named together.
NAMED_ROWS = 5


def delimited_batches(path: Path, dialect: Dialect, places: Sequence[int]) -> Iterator[Sequence[pa.Array]]:
    """The cells of the columns at these places, all as text.

    Raises:
        UserError: rows of a wrong length, or a quotation that never ends.
    """
    with _rows(path, dialect) as stream:
        reader = _aligned_batches if dialect.separator == " " else _arrow_batches
        yield from reader(path, stream, dialect, places)


@contextmanager
def _rows(path: Path, dialect: Dialect) -> Iterator[Any]:
    """The bytes of the file in UTF-8 from the first row on."""
    import pyarrow as pa

    with files.open_bytes(path) as file:
        stream: Any = pa.PythonFile(file, mode="r")
        if dialect.encoding != "utf-8":
            stream = pa.transcoding_input_stream(stream, dialect.encoding, "utf-8")
        left = dialect.skipped
        while left and (skipped := len(stream.read(left))):
            left -= skipped
        yield stream


def _arrow_batches(
    path: Path, stream: Any, dialect: Dialect, places: Sequence[int]
) -> Iterator[Sequence[pa.Array]]:
    import pyarrow as pa
    from pyarrow import csv

    wrong: list[Any] = []

    def skip(row: Any) -> str:
        wrong.append(row)
        return "skip" if len(wrong) < NAMED_ROWS else "error"

    # By number, since names may be equal.
    names = [str(place) for place in range(len(dialect.names))]
    chosen = [names[place] for place in places]
    try:
        with csv.open_csv(
            stream,
            # One thread: with several pyarrow does not know a row's number.
            read_options=csv.ReadOptions(
                use_threads=False, block_size=_block_bytes(dialect), column_names=names
            ),
            parse_options=csv.ParseOptions(
                delimiter=dialect.separator, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.string() for name in chosen},
                include_columns=chosen,
                strings_can_be_null=False,
            ),
        ) as reader:
            for batch in reader:
                yield batch.columns
    except pa.ArrowInvalid as error:
        if "straddling object" in str(error):
            raise _open_quotation(path, "") from None
        if "Empty CSV file" in str(error):
            return
        if not wrong:
            raise
    if wrong:
        raise _wrong_rows(path, wrong, dialect)


def _aligned_batches(
    path: Path, stream: Any, dialect: Dialect, places: Sequence[int]
) -> Iterator[Sequence[pa.Array]]:
    import pandas as pd
    import pyarrow as pa

    width = len(dialect.names)
    try:
        with pd.read_csv(
            stream,
            sep=r"\s+",
            header=None,
            names=range(width),
            index_col=False,
            usecols=sorted(places),
            dtype=str,
            keep_default_na=False,
            chunksize=2**14,
        ) as reader:
            for chunk in reader:
                yield [pa.array(chunk[place], pa.string(), from_pandas=True) for place in places]
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as error:
        raise UserError(
            what=f"{path.name} cannot be read with spaces between cells ({' '.join(str(error).split())})",
            expected=f"{width} cells in each row",
            hint="write data.separator, or correct the row",
        ) from None


def _block_bytes(dialect: Dialect) -> int:
    wanted = min(ROWS_OF_A_BLOCK * dialect.longest_line, MOST_BLOCK_BYTES)
    return max(files.BLOCK_BYTES, wanted, 2 * dialect.longest_line)


def _wrong_rows(path: Path, rows: Sequence[Any], dialect: Dialect) -> UserError:
    first = rows[0]
    if first.text.count('"') % 2:
        return _open_quotation(path, f" in row {first.number}")
    others = "".join(f", row {row.number} {row.actual_columns}" for row in rows[1:])
    what = f"row {first.number} of {path.name} has {first.actual_columns} cells: {first.text[:80]!r}"
    return UserError(
        what=what + (f"{others} cells" if others else ""),
        expected=f"{first.expected_columns} cells, as in the header",
        hint=f"correct the row; a cell with {dialect.separator!r} in it needs quotation marks",
    )


def _open_quotation(path: Path, where: str) -> UserError:
    return UserError(
        what=f"{path.name} has a quotation{where} that is opened and never closed",
        expected="quotation marks in pairs; one within a quoted cell is written twice",
        hint="close the quotation, or write the table again",
    )
