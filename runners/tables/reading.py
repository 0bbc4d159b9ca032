"""Any file of a table as batches of cells: numbers as they are, and trimmed text, null where a cell is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.tables.delimited import delimited_batches
from lossfleet.runners.tables.dialect import Dialect, sniff
from lossfleet.runners.tables.files import BROKEN, kind_of, parquet_parts, unreadable
from lossfleet.runners.tables.sheets import Sheet, read_arff, read_excel

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_BATCH_ROWS = 2**16
MOST_BYTES_AT_ONCE = 2**26
# What pandas takes for missing too, and the question mark of UCI's files.
MISSING = (
    *("", "?", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "NaN", "nan", "NAN", "-NaN", "-nan"),
    *("NULL", "Null", "null", "None", "none"),
)


@dataclass(frozen=True)
class Settings:
    """What a user says of a file, see `conf/data/csv.yaml`; None where it is to be found."""

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: str | None = None
    missing: tuple[str, ...] | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Those among the settings of a data set."""
        found = {each.name: values.get(each.name) for each in fields(cls)}
        return cls(**found | {"missing": None if found["missing"] is None else tuple(found["missing"])})

    @property
    def missing_words(self) -> tuple[str, ...]:
        """The words that stand for a missing cell in every column."""
        return MISSING if self.missing is None else ("", *self.missing)


@dataclass(frozen=True)
class TableFile:
    """A file whose header was read.

    Fields: path; settings; names of its columns, trimmed, one each; said, what it is, in words; remarks, what was
    strange; index, columns that pandas wrote as a table's index; categorical, columns that the file says are so;
    dialect of text; sheet of what is read as a whole.
    """

    path: Path
    settings: Settings
    names: tuple[str, ...]
    said: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    index: frozenset[str] = frozenset()
    categorical: frozenset[str] = frozenset()
    dialect: Dialect | None = None
    sheet: Sheet | None = field(default=None, repr=False)

    def batches(
        self, columns: Sequence[str], *, wordy: Collection[str] = ()
    ) -> Iterator[dict[str, pa.Array]]:
        """The cells of some columns, batch by batch: numbers, or trimmed text, null where missing.

        Args:
            columns: their names.
            wordy: those of them where only an empty cell is missing.

        Raises:
            UserError: a row has too many or too few cells, or a column is of a type that is no feature.
        """
        import pyarrow as pa

        places = {name: place for place, name in enumerate(self.names)}
        try:
            for batch in self._raw([places[name] for name in columns]):
                yield self._cleaned(dict(zip(columns, batch, strict=True)), wordy)
        except (pa.ArrowException, *BROKEN) as error:
            raise unreadable(self.path, error) from error

    def _cleaned(self, batch: dict[str, pa.Array], wordy: Collection[str]) -> dict[str, pa.Array]:
        """A batch with trimmed text, all columns of it at once: a call takes as long as a hundred cells."""
        import pyarrow as pa

        missing = self.settings.missing_words
        texts = [
            name for name, cells in batch.items() if pa.types.is_string(cells.type) and name not in wordy
        ]
        if len(texts) > 1 and sum(batch[name].nbytes for name in texts) < MOST_BYTES_AT_ONCE:
            cells = cleaned("", pa.concat_arrays([batch[name] for name in texts]), missing)
            rows = len(batch[texts[0]])
            clean = {name: cells.slice(place * rows, rows) for place, name in enumerate(texts)}
        else:
            clean = {}
        return {
            name: clean[name] if name in clean else cleaned(name, cells, ("",) if name in wordy else missing)
            for name, cells in batch.items()
        }

    def _raw(self, places: Sequence[int]) -> Iterator[Sequence[pa.Array]]:
        if self.dialect is not None:
            return delimited_batches(self.path, self.dialect, places)
        if self.sheet is not None:
            return self.sheet.batches(places)
        return _parquet_batches(self.path, places)


def open_table_file(path: Path, settings: Settings = Settings()) -> TableFile:
    """Check what can be checked without looking at the cells, and read the header.

    Raises:
        UserError: an empty or broken file, or text of another encoding.
    """
    import pyarrow as pa

    if path.is_file() and path.stat().st_size == 0:
        raise UserError(
            what=f"{path.name} is empty",
            expected="a header and rows",
            hint="write the table again, or correct data.path",
        )
    kind = kind_of(path)
    try:
        if kind == "parquet":
            return _open_parquet(path, settings)
        if kind == "text":
            dialect = sniff(
                path, separator=settings.separator, encoding=settings.encoding, header=settings.header
            )
            names, renamed = _distinct(dialect.names)
            return TableFile(
                path, settings, names, dialect.said, (*dialect.remarks, *renamed), dialect=dialect
            )
        sheet = (read_excel if kind == "excel" else read_arff)(path, settings.header is None)
    except (pa.ArrowException, *BROKEN) as error:
        raise unreadable(path, error) from error
    names, renamed = _distinct(sheet.names)
    categorical = frozenset(names[place] for place in sheet.categorical)
    return TableFile(path, settings, names, sheet.said, renamed, categorical=categorical, sheet=sheet)


def cleaned(name: str, cells: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Numbers as they are, everything else as trimmed text; null where missing, NaN included.

    Raises:
        UserError: cells of a type that is no feature.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    kind = cells.type
    if types.is_dictionary(kind):
        # pandas' categories are words, though they may be written in digits.
        cells = as_text(cells.dictionary_decode())
        kind = cells.type
    if types.is_decimal(kind) or types.is_float16(kind) or types.is_duration(kind):
        cells = pc.cast(
            pc.cast(cells, pa.int64()) if types.is_duration(kind) else cells, pa.float64(), safe=False
        )
        kind = cells.type
    if types.is_integer(kind) or types.is_floating(kind):
        numbers = [number for word in missing if (number := _number(word)) is not None]
        if numbers:
            is_missing = pc.is_in(
                pc.cast(cells, pa.float64(), safe=False), value_set=pa.array(numbers, pa.float64())
            )
            cells = pc.if_else(is_missing, pa.scalar(None, kind), cells)
        return cells
    if types.is_null(kind):
        return pa.nulls(len(cells), pa.string())
    if types.is_boolean(kind) or types.is_date(kind) or types.is_timestamp(kind):
        return pc.cast(cells, pa.string())
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise UserError(
            what=f"column {name!r} is of type {kind}",
            expected="numbers, text, dates or truth values",
            hint=f"write data.drop=[{name}], or turn it into columns of numbers",
        )
    trimmed = pc.utf8_trim_whitespace(pc.cast(cells, pa.string()))
    is_missing = pc.is_in(trimmed, value_set=pa.array(missing, pa.string()))
    return pc.if_else(is_missing, pa.scalar(None, pa.string()), trimmed)


def as_text(cells: pa.Array) -> pa.Array:
    """Cells as text; whole numbers without a fraction."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(cells.type):
        present = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
        is_whole = pc.all(pc.equal(present, pc.trunc(present))).as_py()
        cells = pc.cast(present, pa.int64()) if is_whole else present
    return pc.cast(cells, pa.string())


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _open_parquet(path: Path, settings: Settings) -> TableFile:
    import json

    from pyarrow import types
    from pyarrow.parquet import read_schema

    parts = parquet_parts(path)
    schema = read_schema(parts[0])
    for part in parts[1:]:
        if (other := read_schema(part)).names != schema.names:
            different = sorted({*other.names} ^ {*schema.names}) or other.names
            raise UserError(
                what=f"{part.name} has other columns than {parts[0].name}: {', '.join(different[:5])}",
                expected=f"the same columns in all parts of {path.name}",
                hint="write the parts again, or name one of them with data.path",
            )
    names, renamed = _distinct([name.strip() for name in schema.names])
    written = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    own = dict(zip(schema.names, names, strict=True))
    said = (f"Parquet in {len(parts)} parts",) if len(parts) > 1 else ("Parquet",)
    return TableFile(
        path,
        settings,
        names,
        said,
        renamed,
        index=frozenset(
            own[name] for name in written.get("index_columns", ()) if isinstance(name, str) and name in own
        ),
        categorical=frozenset(
            [own[each.name] for each in schema if types.is_dictionary(each.type)]
            + [
                own[each["field_name"]]
                for each in written.get("columns", ())
                if each["pandas_type"] == "categorical" and each["field_name"] in own
            ]
        ),
    )


def _parquet_batches(path: Path, places: Sequence[int]) -> Iterator[Sequence[pa.Array]]:
    from pyarrow.parquet import ParquetFile

    for part in parquet_parts(path):
        with ParquetFile(part) as file:
            names = [file.schema_arrow.names[place] for place in places]
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=names):
                yield [batch.column(name) for name in names]


def _distinct(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that differ, as pandas makes them, and what was done about it; no name stays empty."""
    taken = set(names)
    seen: dict[str, int] = {}
    found, remarks = [], []
    for place, name in enumerate(names, start=1):
        new = name or f"column_{place}"
        count = seen.get(new, 0)
        seen[new] = count + 1
        while count and new in taken:
            new = f"{name}.{count}"
            count += 1
        taken.add(new)
        found.append(new)
        if name and new != name:
            remarks.append(
                f"two columns are named {name!r}: the second one, column {place}, is read as {new!r}"
            )
    return tuple(found), tuple(remarks)
