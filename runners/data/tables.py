"""A table of the user's own as a data set.

The file is read twice, batch by batch: first to find what each column holds and every fault, then to fill
arrays of the right size. So a table needs about the memory of its numbers, however it is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from lossfleet.conf.datasets import ASIDES, WEIGHT
from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.leaks import possible_leaks
from lossfleet.runners.data.table_asides import Aside, check_complete
from lossfleet.runners.data.table_target import Target
from lossfleet.runners.data.table_weights import Weights, weighed
from lossfleet.runners.images.parts import TEST, TRAINING
from lossfleet.runners.tables.columns import Column
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.features import Features
from lossfleet.runners.tables.files import file_digest, no_rows
from lossfleet.runners.tables.profile import MARKS, ColumnProfile
from lossfleet.runners.tables.reading import Settings, TableFile, open_table_file
from lossfleet.runners.tables.report import Reading, shortened
from lossfleet.runners.tables.uses import Choices, ColumnUse, decimal_of_file, use_of

# A misspelt name is compared with so many at most.
MOST_SUGGESTED = 2000
Profiles = Mapping[str, ColumnProfile]


def read_table(
    path: str | None,
    target: str | None,
    drop: tuple[str, ...] = (),
    categorical: tuple[str, ...] = (),
    group: str | None = None,
    time: str | None = None,
    part: str | None = None,
    weight: str | None = None,
    test_path: str | None = None,
    keep: tuple[str, ...] = (),
    text: tuple[str, ...] = (),
    separator: str | None = None,
    decimal: Literal[".", ","] | None = None,
    encoding: str | None = None,
    header: Literal["none"] | None = None,
    missing: tuple[str, ...] | None = None,
    unlabelled: Literal["drop", "refuse"] = "drop",
    dates: Literal["parts", "days", "drop"] = "parts",
    categories: int | None = None,
    fold_case: bool = False,
) -> Dataset:
    """The table of `data=csv`, checked cell by cell.

    Columns of numbers and dates are float64, NaN where missing; text is text, and the others are categorical. Classes
    are numbered from the largest to the smallest, so that with two of them alpha weighs the rare one.

    Args:
        path: of a file, or of a folder of Parquet parts.
        target: the column with the classes.
        drop: columns to leave out.
        categorical: columns of numbers that are codes.
        group: the column whose equal values stay in one part.
        time: the column by which earlier rows train and later ones test.
        part: the column that says training, validation or test.
        weight: the column of numbers that says what each row counts for.
        test_path: of a file with the test part; `path` then has the others.
        keep: columns that would be left out because they number rows.
        text: columns of sentences.
        separator, decimal, encoding, header, missing: how the file is written, where it is not to be found out.
        unlabelled: what becomes of rows without a class.
        dates: what becomes of dates: numbers of their parts, days since the first, or nothing.
        categories: how many to tell apart in a column; None for 50 where there are more than 256.
        fold_case: whether words that differ in case and spaces alone are one.

    Returns:
        The data set; `reading` and `notes` say what was read, and what was left out.

    Raises:
        UserError: a file or columns that cannot be used, with all faults that were found.
    """
    settings = Settings(separator, decimal, encoding, header, missing)
    files = [_open(each, settings) for each in (path, test_path) if each is not None]
    faults = Faults(files[0].path.name)
    named = {"target": (str(target),), "drop": drop, "categorical": categorical, "keep": keep, "text": text}
    beside_features = (("group", group), ("time", time), ("part", part), (WEIGHT, weight))
    named |= {name: (column,) for name, column in beside_features if column}
    columns = _columns(files, named, faults)
    profiles, ends = _profiles(files, columns, faults)
    choices = _choices(files[0], profiles, columns, dates)
    uses = _uses(profiles, columns, choices, faults)
    asides = {name: profiles[columns[name][0]] for name in (*ASIDES, WEIGHT) if columns.get(name)}
    for name, profile in asides.items():
        with faults.collected():
            check_complete(name, profile.name, profile.rows, profile.missing, profile.missing_rows)
    weights = None
    if WEIGHT in asides:
        with faults.collected():
            weights = Weights.of(asides.pop(WEIGHT), choices)
    beside = {name: Aside.of(profile) for name, profile in asides.items()}
    targets = [Target.of(profiles[name], is_decided=missing is not None) for name in columns["target"]]
    # Where there are faults already, the target may have some too.
    features = Features([] if faults else uses, ends[-1])
    if faults.is_readable and targets:
        with faults.collected():
            others: list[Column] = [*targets, *beside.values(), *([] if weights is None else [weights])]
            _fill(files, features, others, columns["target"])
            if unlabelled == "refuse":
                empty = (targets[0].unlabelled + 1).tolist()
                check_complete("target", targets[0].name, ends[-1], len(empty), empty)
            labels, class_names = targets[0].classes(fold_case=fold_case)
    if faults.is_readable and weights is not None:
        with faults.collected():
            weights.check()
    faults.tell()
    table, remarks = features.table(dates=dates, categories=categories, fold_case=fold_case, keep=keep)
    if not table.shape[1]:
        raise _no_feature(files[0], targets[0].name, features.kinds["left out"])
    parts = beside["part"].parts() if part else None
    if test_path is not None:
        parts = np.where(np.arange(ends[-1]) < ends[0], TRAINING, TEST).astype(np.int8)
    dataset = Dataset(
        files[0].path.stem,
        table,
        labels,
        class_names,
        (*files[0].remarks, *targets[0].remarks, *remarks),
        " and ".join(f"{file.path}, SHA-256 {file_digest(file.path)}..." for file in files),
        groups=beside["group"].codes() if group else None,
        times=beside["time"].times() if time else None,
        parts=parts,
        weights=None if weights is None else weights.values,
        files=tuple(
            (str(file.path), rows)
            for file, rows in zip(files, np.diff(ends, prepend=0).tolist(), strict=True)
        ),
        reading=Reading(
            rows=ends[-1],
            said=files[0].said,
            columns=features.kinds,
            specs=features.specs,
            order=[use.name for use in uses],
            example=features.example,
            weight=None if weights is None else {"name": weights.name, **weights.column.use.spec},
        ),
    )
    dataset = _labelled(dataset, targets[0].name)
    return _with_leaks(dataset if weights is None else weighed(dataset, weights.name))


def _open(path: str, settings: Settings) -> TableFile:
    return open_table_file(Path(os.path.abspath(os.path.expanduser(path))), settings)


def _columns(
    files: Sequence[TableFile], named: Mapping[str, Sequence[str]], faults: Faults
) -> dict[str, list[str]]:
    """The columns that each setting names, as the file has them; those that it has not are faults."""
    known = set(files[0].names)
    found: dict[str, list[str]] = {}
    for setting, names in named.items():
        found[setting] = []
        for name in names:
            # Names in files are trimmed; without a header columns are known by their numbers.
            column = name.strip()
            if column not in known and column.isdecimal() and files[0].settings.header is not None:
                column = f"column_{int(column)}"
            if column in known:
                found[setting].append(column)
            else:
                with faults.collected():
                    raise _no_column(files[0], setting, name)
    dropped = set(found["drop"])
    found["read"] = [name for name in files[0].names if name not in dropped]
    for file in files[1:]:
        others = set(file.names)
        for name in [name for name in found["read"] if name not in others]:
            with faults.collected():
                raise UserError(
                    what=f"{file.path.name} has no column {name!r}, which {files[0].path.name} has",
                    expected="the same columns in both files",
                    hint=f"add it, or write data.drop=[{name}]",
                )
            found["read"].remove(name)
    return found


def _no_column(file: TableFile, setting: str, name: str) -> UserError:
    how = "" if len(file.names) > 1 else f" (it is read with {file.said[0]}; data.separator says otherwise)"
    return UserError(
        what=f"data.{setting} names {name!r}, and {file.path.name} has no such column",
        expected=f"one of {shortened(file.names)}{how}",
        hint=suggest(name, file.names) if len(file.names) < MOST_SUGGESTED else "correct the name",
    )


def _profiles(
    files: Sequence[TableFile], columns: Mapping[str, Sequence[str]], faults: Faults
) -> tuple[Profiles, list[int]]:
    """The first reading: what is in each column, and how many rows there are with each further file."""
    file, target = files[0], set(columns["target"])
    settings = file.settings
    separator = None if file.dialect is None else file.dialect.separator
    marks = MARKS if settings.missing is None else frozenset[str]()
    profiles = {
        name: ColumnProfile(
            name,
            separator,
            settings.decimal,
            frozenset() if name in target else marks,
            is_class=name in target,
        )
        for name in columns["read"]
    }
    ends: list[int] = []
    for file in files:
        rows = 0
        with faults.collected_while_reading():
            for batch in file.batches(columns["read"], wordy=_wordy(target, settings)):
                for name, cells in batch.items():
                    profiles[name].look(cells)
                rows += len(next(iter(batch.values()), ()))
            if not rows:
                raise no_rows(file.path)
        ends.append(rows + sum(ends[-1:]))
    return profiles, ends


def _choices(
    file: TableFile, profiles: Profiles, columns: Mapping[str, Sequence[str]], dates: str
) -> Choices:
    """What the user and the file say of all columns."""
    aside = _named_by(("target", *ASIDES), columns)
    numbers = [profile for name, profile in profiles.items() if name not in aside]
    decimal = file.settings.decimal
    return Choices(
        categorical={*columns["categorical"], *file.categorical},
        text=set(columns["text"]),
        keep=set(columns["keep"]),
        index=file.index,
        dates=dates,
        decimal=decimal or decimal_of_file(numbers, None if file.dialect is None else file.dialect.separator),
        decimal_is_given=decimal is not None,
    )


def _uses(
    profiles: Profiles, columns: Mapping[str, Sequence[str]], choices: Choices, faults: Faults
) -> list[ColumnUse]:
    """What becomes of each column of features."""
    aside = _named_by(("target", *ASIDES, WEIGHT), columns)
    features = [profile for name, profile in profiles.items() if name not in aside]
    uses = []
    for profile in features:
        with faults.collected():
            uses.append(use_of(profile, choices))
    return uses


def _named_by(settings: Iterable[str], columns: Mapping[str, Sequence[str]]) -> set[str]:
    return {name for setting in settings for name in columns.get(setting, ())}


def _fill(
    files: Sequence[TableFile], features: Features, others: Sequence[Column], target: Sequence[str]
) -> None:
    """The second reading."""
    names = list(dict.fromkeys(column.name for column in (*features.columns, *others)))
    start = 0
    for file in files:
        for batch in file.batches(names, wordy=_wordy(target, file.settings)):
            features.fill(start, batch)
            for column in others:
                column.fill(start, batch[column.name])
            start += len(batch[names[0]])


def _wordy(target: Iterable[str], settings: Settings) -> frozenset[str]:
    """Classes may be called None, unless the user says which words are missing."""
    return frozenset(target if settings.missing is None else ())


def _no_feature(file: TableFile, target: str, left_out: Sequence[str]) -> UserError:
    what = f"{file.path.name} has no column with values beside {target}"
    kept = f", or keep one with data.keep=[{left_out[0]}]" if left_out else ""
    return UserError(
        what=what + (f"; left out are {shortened(left_out)}" if left_out else ""),
        expected="at least one feature",
        hint=f"add columns, or take some out of data.drop{kept}",
    )


def _labelled(dataset: Dataset, target: str) -> Dataset:
    """The data set without the rows that have no class."""
    unlabelled = np.flatnonzero(dataset.labels < 0)
    if not unlabelled.size:
        return dataset
    verb = "has" if len(unlabelled) == 1 else "have"
    note = f"{len(unlabelled)} of {len(dataset.labels)} rows left out that {verb} no {target}"
    dataset = dataset.without(unlabelled)
    return replace(dataset, notes=(*dataset.notes, note))


def _with_leaks(dataset: Dataset) -> Dataset:
    """The data set with a note on columns that predict the class alone."""
    names = possible_leaks(dataset.features, dataset.labels)
    if not names:
        return dataset
    note = (
        f"possible leak: {', '.join(names)} predict{'s' if len(names) == 1 else ', each alone,'} the class nearly "
        f"always; would a new row have it before its class is known? if not, write 'data.drop=[{','.join(names)}]'"
    )
    return replace(dataset, notes=(*dataset.notes, note))
