"""The file of a table: its digest, its header, and its cells in batches of bounded size."""

from __future__ import annotations

import codecs
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST_LENGTH = 16
# pyarrow reads some dozens of these ahead.
BLOCK_BYTES = 2**20
PARQUET_BATCH_ROWS = 2**16
NEWLINE = b"\n"
# What pandas takes for missing too, and the question mark of UCI's files.
MISSING = ["", "?", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "NaN", "nan", "NAN", "-NaN", "-nan"]
MISSING += ["NULL", "Null", "null", "None", "none"]


def file_digest(path: Path, setting: str = "data.path") -> str:
    """The first digits of the SHA-256 of a file's bytes.

    Args:
        path: of the file.
        setting: that names it.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise UserError(
            what=f"{setting} is {path}, and there is no such file",
            expected="a CSV or Parquet file",
            hint=f"correct {setting}; it starts from the working directory",
        )
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()[:DIGEST_LENGTH]


def text_digest(text: str) -> str:
    """The first digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@dataclass(frozen=True)
class TableFile:
    """A CSV or Parquet file whose header was read.

    Fields: names of its columns, in their order.
    """

    path: Path
    names: tuple[str, ...]

    def batches(self, columns: Sequence[str], time: str | None = None) -> Iterator[dict[str, pa.Array]]:
        """The cells of some columns, batch by batch: float64, or trimmed text, null where missing.

        Args:
            columns: their names.
            time: the one of them that may hold dates; they come as text.

        Raises:
            UserError: a row has too many or too few cells, or a column is of a type that is no feature.
        """
        import pyarrow as pa

        source = _parquet_batches if is_parquet(self.path) else _csv_batches
        try:
            for batch in source(self.path, self.names, columns):
                yield {
                    name: _cells(name, cells, is_time=name == time)
                    for name, cells in zip(columns, batch.columns, strict=True)
                }
        except (pa.ArrowException, OSError, EOFError) as error:
            raise unreadable(self.path, error) from error


def open_table_file(path: Path) -> TableFile:
    """Check what can be checked without looking at the cells, and read the header.

    Raises:
        UserError: an empty or broken file, text that is no UTF-8, columns without a name or of the same name.
    """
    import pyarrow as pa

    if path.stat().st_size == 0:
        raise UserError(
            what=f"{path.name} is empty",
            expected="a header and rows",
            hint="write the table again, or correct data.path",
        )
    try:
        if is_parquet(path):
            from pyarrow.parquet import read_schema

            names = tuple(read_schema(path).names)
        else:
            _check_text(path)
            with _csv_reader(path) as reader:
                names = tuple(name.strip() for name in reader.schema.names)
    except (pa.ArrowException, OSError, EOFError) as error:
        if "Empty CSV file" in str(error):
            raise no_rows(path) from error
        raise unreadable(path, error) from error
    _check_names(path, names)
    return TableFile(path, names)


def is_parquet(path: Path) -> bool:
    """Whether the file's name says that it is Parquet."""
    return path.name.endswith(".parquet")


def no_rows(path: Path) -> UserError:
    """The error for a table that has a header at most."""
    return UserError(
        what=f"{path.name} has no rows below its header",
        expected="a header and rows",
        hint="write the table again, or correct data.path",
    )


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file that is not what its name says."""
    kind = "Parquet" if is_parquet(path) else "CSV"
    return UserError(
        what=f"{path.name} cannot be read as {kind} ({' '.join(str(error).split())})",
        expected=f"a whole {kind} file",
        hint="write the table again, or correct data.path",
    )


def _check_text(path: Path) -> None:
    """Look at every byte of a CSV file for what pyarrow takes without a word or cannot place."""
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    start = lines = quotes = 0
    rest = b""
    with opener(path, "rb") as file:
        while True:
            block = file.read(BLOCK_BYTES)
            text = rest + block
            try:
                _, used = codecs.utf_8_decode(text, "strict", not block)
                wrong = text.find(b"\0")
            except UnicodeDecodeError as error:
                wrong = error.start
            if wrong >= 0:
                encoding = "UTF-16" if text[wrong] in (0x00, 0xFE, 0xFF) else "LATIN1"
                raise UserError(
                    what=f"{path.name} has byte 0x{text[wrong]:02x} at position {start + wrong}, "
                    f"in line {lines + text.count(NEWLINE, 0, wrong) + 1}",
                    expected="text in UTF-8",
                    hint=f"convert it, for example with iconv -f {encoding} -t UTF-8",
                )
            if not block:
                break
            start, rest = start + used, text[used:]
            lines += text.count(NEWLINE, 0, used)
            quotes += text.count(b'"', 0, used)
    if quotes % 2:
        raise UserError(
            what=f"{path.name} has {quotes} quotation marks: one is opened and never closed",
            expected="an even number; one within a quoted cell is written twice",
            hint="close the quotation, or write the table again",
        )


@contextmanager
def _csv_reader(path: Path, columns: Sequence[str] = ()) -> Iterator[Any]:
    """pyarrow's reader of batches of these columns, all as text; without columns it knows the header."""
    import pyarrow as pa
    from pyarrow import csv

    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        with csv.open_csv(
            path,
            # One thread: with several pyarrow does not know a row's number.
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.string() for name in columns},
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        ) as reader:
            yield reader
    except pa.ArrowInvalid:
        if not ragged:
            raise
        row = ragged[0]
        raise UserError(
            what=f"row {row.number - 1} of {path.name} has {row.actual_columns} cells: {row.text[:80]!r}",
            expected=f"{row.expected_columns} cells, as in the header",
            hint="correct the row; a cell with a comma in it needs quotation marks",
        ) from None


def _csv_batches(path: Path, names: Sequence[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _csv_reader(path) as reader:
        # As they are written, with the spaces that `names` have lost.
        written = dict(zip(names, reader.schema.names, strict=True))
    with _csv_reader(path, [written[name] for name in columns]) as reader:
        yield from reader


def _parquet_batches(path: Path, names: Sequence[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=list(columns)):
            yield batch.select(list(columns))


def _cells(name: str, cells: pa.Array, *, is_time: bool) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    kind = cells.type
    if types.is_dictionary(kind):
        cells, kind = cells.dictionary_decode(), kind.value_type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return pc.cast(cells, pa.float64(), safe=False)
    if types.is_boolean(kind) or (is_time and types.is_temporal(kind)):
        return pc.cast(cells, pa.string())
    if types.is_null(kind):
        return pa.nulls(len(cells), pa.string())
    if types.is_temporal(kind):
        raise is_date(name, str(kind))
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise UserError(
            what=f"column {name!r} is of type {kind}",
            expected="numbers, text or truth values",
            hint=f"write data.drop=[{name}], or turn it into columns of numbers",
        )
    trimmed = pc.utf8_trim_whitespace(pc.cast(cells, pa.string()))
    missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def is_date(name: str, example: str) -> UserError:
    """The error for a column of dates or times."""
    return UserError(
        what=f"column {name!r} has dates ({example})",
        expected="numbers or categories",
        hint=f"write data.drop=[{name}], or turn it into numbers, such as the days since a date",
    )


def _check_names(path: Path, names: Sequence[str]) -> None:
    for position, name in enumerate(names, start=1):
        if not name:
            raise UserError(
                what=f"column {position} of {path.name} has no name",
                expected="a name for each column in the first row",
                hint="name it or take it out; pandas writes no index with to_csv(index=False)",
            )
        if name in names[: position - 1]:
            raise UserError(
                what=f"{path.name} has two columns named {name!r}, "
                f"the columns {names.index(name) + 1} and {position}",
                expected="names that differ",
                hint="rename one of them",
            )
