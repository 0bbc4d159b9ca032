"""Files of rows for a model that is there: read batch by batch as it needs them, and its answers written likewise."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lossfleet.conf.datasets import check_table_path
from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.portable.encoder import raw_columns
from lossfleet.runners.prediction.stored import is_plain_number
from lossfleet.runners.tables.profile import as_numbers
from lossfleet.runners.tables.reading import Settings, TableFile, as_text, open_table_file
from lossfleet.runners.tables.report import shortened

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Writer(Protocol):
    """Takes tables one after another."""

    def write(self, table: pd.DataFrame) -> None:
        """Append the rows of a table."""


def open_rows(path: Path, names: Sequence[str], settings: Settings) -> TableFile:
    """A file that has these columns, among others and in any order.

    Args:
        path: of any file that a table to train on may be in.
        names: of the columns.
        settings: how the file is written, where the training data's settings say so.

    Raises:
        UserError: there is no such file, it cannot be read, or a column is missing.
    """
    check_table_path("the file", str(path))
    if not path.exists():
        raise UserError(
            what=f"{path} is no file",
            expected="a file with rows",
            hint="correct its name; it starts from the working directory",
        )
    with _about_this_file():
        file = open_table_file(path, settings)
    known = set(file.names)
    for name in names:
        if name not in known:
            raise UserError(
                what=f"{path.name} has no column {name!r}",
                expected=f"the columns {shortened(names)}",
                hint=suggest(name, file.names),
            )
    return file


def read_rows(
    file: TableFile,
    columns: Sequence[Mapping[str, Any]],
    label: str | None = None,
    weight: Mapping[str, Any] | None = None,
) -> Iterator[pd.DataFrame]:
    """The cells of a file's columns, batch by batch.

    Args:
        file: has them.
        columns: as the model has them, see `portable.encoder.Encoder`.
        label: a further column, read as words.
        weight: the `name` of a further column, read as numbers by its `decimal`; left out where the file has none.

    Returns:
        Numbers as float64, or as they stand where one is none; words as categories; what is missing as missing.

    Raises:
        UserError: a row has too many or too few cells, or a column is of a type that is no feature.
    """
    import pandas as pd

    raw = raw_columns(columns)
    plain = {name for name, column in raw.items() if is_plain_number(column)}
    names = list(raw) if label is None or label in raw else [*raw, label]
    own = None if weight is None or weight["name"] not in file.names else weight["name"]
    names += [] if own is None or own in names else [own]
    # A class may be called None.
    wordy = () if label is None or file.settings.missing is not None else (label,)
    with _about_this_file():
        for batch in file.batches(names, wordy=wordy):
            table = {
                name: _numbers(cells) if name in plain and name != label else _words(cells)
                for name, cells in batch.items()
                if name != own
            }
            if weight is not None and own is not None:
                table[own] = as_numbers(batch[own], weight.get("decimal"))
            yield pd.DataFrame(table)


@contextmanager
def predictions_writer(path: Path | None) -> Iterator[Writer]:
    """Writes tables of text, categories and float64 as CSV or Parquet; the file is there when all is written.

    Args:
        path: of the file; None for CSV to standard output.

    Raises:
        UserError: another ending, or a folder that is not there or takes no files.
    """
    if path is None:
        yield _ArrowWriter(sys.stdout.buffer, is_csv=True)
        sys.stdout.flush()
        return
    if not path.name.endswith((".csv", ".parquet")) or not path.parent.is_dir():
        raise UserError(
            what=f"--output is {path}",
            expected="a file that ends in .csv or .parquet, in a folder that is there",
            hint="write for example --output predictions.csv",
        )
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as stream:
            writer = _ArrowWriter(stream, is_csv=not path.name.endswith(".parquet"))
            yield writer
            writer.close()
        new.replace(path)
    except OSError as error:
        raise UserError(
            what=f"{path} cannot be written ({error.strerror or error})",
            expected="a file that this user may write, and space for it",
            hint="name another one with --output",
        ) from error
    finally:
        new.unlink(missing_ok=True)


class _ArrowWriter:
    """pyarrow's writer, made when the first table tells the columns."""

    def __init__(self, stream: Any, *, is_csv: bool) -> None:
        self._stream = stream
        self._is_csv = is_csv
        self._writer: Any = None

    def write(self, table: pd.DataFrame) -> None:
        """See Writer."""
        import pyarrow as pa

        columns = {name: _plain(pa.Array.from_pandas(cells)) for name, cells in table.items()}
        batch = pa.RecordBatch.from_pydict(columns)
        if self._writer is None:
            self._writer = self._open(batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Write what the file ends with."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, schema: pa.Schema) -> Any:
        if self._is_csv:
            from pyarrow import csv

            return csv.CSVWriter(self._stream, schema, write_options=csv.WriteOptions(quoting_style="needed"))
        from pyarrow.parquet import ParquetWriter

        return ParquetWriter(self._stream, schema)


def _plain(cells: pa.Array) -> pa.Array:
    import pyarrow as pa

    return cells.cast(pa.string()) if pa.types.is_dictionary(cells.type) else cells


def _numbers(cells: pa.Array) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        # The model names the row of what is no number.
        return cells.to_pandas()


def _words(cells: pa.Array) -> Any:
    return as_text(cells).dictionary_encode().to_pandas()


@contextmanager
def _about_this_file() -> Iterator[None]:
    """Errors of tables speak of a setting that names them; here the command line does."""
    try:
        yield
    except UserError as error:
        hint = error.hint.replace("data.path", "the name of the file")
        raise UserError(what=error.what, expected=error.expected, hint=hint) from error
