"""A table of the user's own as a data set.

The file is read twice, batch by batch: first to find what each column holds and every fault, then to fill
arrays of the right size. So a table needs about the memory of its numbers, however it is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.data.builtin import TEST, TRAINING, Dataset
from lossfleet.runners.data.table_asides import Aside, check_complete
from lossfleet.runners.data.table_columns import MOST_CATEGORIES, Categories, ColumnProfile, as_numbers
from lossfleet.runners.data.table_file import TableFile, file_digest, no_rows, open_table_file

if TYPE_CHECKING:
    import pandas as pd

# A target with more classes than a row in twenty is a measurement; small tables may have as many as this.
ROWS_A_CLASS = 20
CLASSES_OF_A_SMALL_TABLE = 20


def read_table(
    path: str | None,
    target: str | None,
    drop: tuple[str, ...] = (),
    categorical: tuple[str, ...] = (),
    group: str | None = None,
    time: str | None = None,
    part: str | None = None,
    test_path: str | None = None,
) -> Dataset:
    """The table of `data=csv`, checked cell by cell.

    Columns of numbers are float64, NaN where missing; the others are categorical. Classes are numbered from the
    largest to the smallest, so that with two of them alpha weighs the rare one.

    Args:
        path: of a CSV or Parquet file.
        target: the column with the classes.
        drop: columns to leave out.
        categorical: columns of numbers that are codes.
        group: the column whose equal values stay in one part.
        time: the column by which earlier rows train and later ones test.
        part: the column that says training, validation or test.
        test_path: of a file with the test part; `path` then has the others.

    Returns:
        The data set; `notes` says what was left out.

    Raises:
        UserError: a file or a column that cannot be used.
    """
    target = str(target)
    asides = {name: setting for setting, name in (("group", group), ("time", time), ("part", part)) if name}
    files = [open_table_file(Path(os.path.abspath(os.path.expanduser(str(path)))))]
    chosen = {"target": (target,), "drop": drop, "categorical": categorical}
    _check_chosen(files[0], chosen | {setting: (name,) for name, setting in asides.items()})
    columns = [name for name in files[0].names if name not in drop]
    if test_path is not None:
        files.append(open_table_file(Path(os.path.abspath(os.path.expanduser(test_path)))))
        _check_same(files, columns)
    profiles = {name: ColumnProfile(name) for name in columns}
    ends = []
    for file in files:
        for batch in file.batches(columns, time):
            for name, cells in batch.items():
                profiles[name].look(cells)
        ends.append(profiles[target].rows)
        if ends[-1] == sum(ends[-2:-1]):
            raise no_rows(file.path)
    for name in (target, *asides):
        check_complete(asides.get(name, "target"), profiles[name])
    _check_target(profiles[target])
    features = [profile for name, profile in profiles.items() if name not in (target, *asides)]
    empty = [profile.name for profile in features if profile.is_empty]
    for profile in features:
        if profile.name not in categorical:
            profile.check()
    numeric = [each.name for each in features if each.is_numeric and each.name not in categorical]
    words = [each.name for each in features if each.name not in (*numeric, *empty)]
    if not numeric and not words:
        raise UserError(
            what=f"{files[0].path.name} has no column with values beside {target}",
            expected="at least one feature",
            hint="add columns, or take some out of data.drop",
        )
    beside = {setting: Aside.of(profiles[name]) for name, setting in asides.items()}
    table, labels, class_names = _fill(files, profiles[target], numeric, words, list(beside.values()), time)
    parts = beside["part"].parts() if part else None
    if test_path is not None:
        parts = np.where(np.arange(ends[-1]) < ends[0], TRAINING, TEST).astype(np.int8)
    return Dataset(
        files[0].path.stem,
        table,
        labels,
        class_names,
        tuple(f"column {name} left out: it has no value" for name in empty),
        " and ".join(f"{file.path}, SHA-256 {file_digest(file.path)}..." for file in files),
        groups=beside["group"].codes() if group else None,
        times=beside["time"].times() if time else None,
        parts=parts,
        files=tuple(
            (str(file.path), rows)
            for file, rows in zip(files, np.diff(ends, prepend=0).tolist(), strict=True)
        ),
    )


def _fill(
    files: Sequence[TableFile],
    target: ColumnProfile,
    numeric: Sequence[str],
    words: Sequence[str],
    asides: Sequence[Aside],
    time: str | None,
) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...]]:
    """The second reading: features, labels, class names, and what stands aside."""
    import pandas as pd

    rows = target.rows
    numbers = np.empty((rows, len(numeric)))
    categories = {name: Categories(name, rows, MOST_CATEGORIES) for name in words}
    measured = np.empty(rows if target.is_numeric else 0)
    most_classes = max(CLASSES_OF_A_SMALL_TABLE, rows // ROWS_A_CLASS)
    named = Categories(target.name, rows, most_classes)
    start = 0
    columns = [target.name, *numeric, *words, *(each.name for each in asides)]
    for batch in chain.from_iterable(file.batches(columns, time) for file in files):
        end = start + len(batch[target.name])
        for position, name in enumerate(numeric):
            numbers[start:end, position] = as_numbers(batch[name])
        for name in words:
            if not categories[name].fill(start, batch[name]):
                categories[name].check()
        for each in asides:
            each.fill(start, batch[each.name])
        if target.is_numeric:
            measured[start:end] = as_numbers(batch[target.name])
        elif not named.fill(start, batch[target.name]):
            raise _continuous(target.name, rows, most_classes)
        start = end
    for category in categories.values():
        category.check()
    labels, class_names = _classes(target.name, measured, named, most_classes)
    table = pd.DataFrame(numbers, columns=list(numeric), copy=False)
    if words:
        table = pd.concat([table, pd.DataFrame({name: categories[name].sorted() for name in words})], axis=1)
    return table, labels, class_names


def _classes(
    target: str, measured: np.ndarray, named: Categories, most: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels and class names, from the largest class to the smallest, equal ones by value or alphabet."""
    if measured.size:
        broken = np.flatnonzero(measured != np.trunc(measured))
        if broken.size:
            raise UserError(
                what=f"the target {target!r} has {measured[broken[0]]:g} in row {broken[0] + 1}",
                expected="classes: text, truth values or whole numbers",
                hint="choose another data.target, or make classes of it, such as low and high",
            )
        values, codes = np.unique(measured, return_inverse=True)
        names = [str(int(value)) for value in values]
    else:
        column = named.sorted()
        codes, names = column.codes, list(column.categories)
    counts = np.bincount(codes, minlength=len(names))
    if len(names) == 1:
        raise UserError(
            what=f"the target {target!r} has one class, {names[0]}",
            expected="at least two classes",
            hint="choose another data.target",
        )
    if len(names) > most:
        raise _continuous(target, len(codes), most)
    order = np.argsort(-counts, kind="stable")
    return np.argsort(order)[codes].astype(np.int64), tuple(names[label] for label in order)


def _continuous(target: str, rows: int, most: int) -> UserError:
    return UserError(
        what=f"the target {target!r} has more than {most} different values in {rows} rows",
        expected="classes with rows enough to learn from, not a measurement or an identifier",
        hint="choose another data.target, or make fewer classes of it",
    )


def _check_target(target: ColumnProfile) -> None:
    if target.is_numeric and target.first_excess is not None:
        row, value = target.first_excess
        raise UserError(
            what=f"the target {target.name!r} has {value:g} in row {row}",
            expected="classes: text, truth values or whole numbers",
            hint="correct the row, or take it out",
        )


def _check_chosen(file: TableFile, chosen: Mapping[str, Iterable[str]]) -> None:
    for setting, names in chosen.items():
        for name in names:
            if name not in file.names:
                raise UserError(
                    what=f"data.{setting} names {name!r}, and {file.path.name} has no such column",
                    expected=f"one of {', '.join(file.names)}",
                    hint=_hint(file.names, name),
                )


def _check_same(files: Sequence[TableFile], columns: Sequence[str]) -> None:
    for name in columns:
        if name not in files[1].names:
            raise UserError(
                what=f"{files[1].path.name} has no column {name!r}, which {files[0].path.name} has",
                expected="the same columns in both files",
                hint=f"add it, or write data.drop=[{name}]",
            )


def _hint(names: Sequence[str], name: str) -> str:
    separators = [separator for separator in (";", "\t", "|") if separator in names[0]]
    if len(names) == 1 and separators:
        return f"write the table with commas: its cells are separated by {separators[0]!r}"
    return suggest(name, names)
