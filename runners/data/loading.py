"""The data set that a configuration chooses, whoever brings it: checked, described and filed under its label."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lossfleet.conf.datasets import PATHS, Data
from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.rules import show
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.images import digest_of
from lossfleet.runners.data.parts import PART_NAMES, Shares
from lossfleet.runners.data.rare import settle_rare
from lossfleet.runners.data.repeated import settle_repeated
from lossfleet.runners.data.splits import Split
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.tables.files import file_digest, text_digest

FEWEST_ROWS = 5


def open_dataset(data: Data) -> Dataset:
    """The data set of a configuration.

    Args:
        data: the digest and class names that it may have must be those of the data.

    Returns:
        The data set, named by its label; a function of the user's may return features and labels instead.

    Raises:
        UserError: data that cannot be used, or that has changed.
    """
    dataset, digest = _checked(data)
    return replace(dataset, name=replace(data, digest=digest).label)


def _checked(data: Data) -> tuple[Dataset, str]:
    """The data set and its digest, which with its class names must be those that the configuration may have."""
    dataset, found = _settled(data)
    if data.is_users and data.digest not in (None, found):
        what = located(data).source["path"] if _has_path(data) else f"data={data.name}"
        raise _changed(what, found, data.digest)
    if data.class_names not in (None, dataset.class_names):
        raise UserError(
            what=f"data.class_names is {show(data.class_names)}",
            expected=f"those of {_file_name(data)}, the largest class first: {show(dataset.class_names)}",
            hint="leave data.class_names out",
        )
    return dataset, found


def _settled(data: Data) -> tuple[Dataset, str]:
    """The data set with its repeated rows settled, and the digest of all that was read."""
    if data.has_scenes:
        dataset = located(data).source.call() if data.is_boxes else _made_once(data.source)
        return dataset, dataset.digest
    if data.reads_files:
        data = located(data)
        digest = _files_digest(data) if data.is_table else digest_of(data.source)
        return _read_once(data.source, digest, data.repeated, data.rare, _shares(data)), digest
    returned = data.source.call()
    dataset = returned if isinstance(returned, Dataset) else as_dataset(data, returned)
    return settle_rare(settle_repeated(dataset, data.repeated), data.rare, _shares(data)), dataset.digest


def _shares(data: Data) -> Shares:
    return Shares(data.validation_fraction, data.test_fraction)


# The digest is in the key, so the one table that is kept is never an old one.
@lru_cache(maxsize=1)
def _read_once(table: Part, digest: str, repeated: str, rare: str, shares: Shares) -> Dataset:
    return settle_rare(settle_repeated(table.call(), repeated), rare, shares)


@lru_cache(maxsize=1)
def _made_once(scenes: Part) -> Dataset:
    made: Dataset = scenes.call()
    return made


def described(data: Data) -> Data:
    """The same choice of data of the user's with what only reading it tells: absolute path, digest, class names.

    Raises:
        UserError: as `open_dataset`.
    """
    dataset, digest = _checked(data)
    return replace(located(data), digest=digest, class_names=dataset.class_names)


def as_dataset(data: Data, returned: Any) -> Dataset:
    """Features and labels that a function of the user's returned, as a data set.

    Columns of numbers are numeric and the others categorical; in an array (N, channels, height, width) each row is an
    image. Classes are numbered from the largest to the smallest, equal ones by value, so that with two of them alpha
    weighs the rare one.

    Raises:
        UserError: not features and labels of as many rows, a missing label, or a single class.
    """
    import pandas as pd

    def wrong(what: str, expected: str) -> UserError:
        place = data.source.signature.place
        return UserError(what=f"data={data.name} returned {what}", expected=expected, hint=f"correct {place}")

    if not isinstance(returned, tuple) or len(returned) != 2:
        raise wrong(type(returned).__name__, "features and labels: a data frame or an array (N, F), and (N,)")
    images = returned[0] if isinstance(returned[0], np.ndarray) and returned[0].ndim == 4 else None
    rows = returned[0] if images is None else images.reshape(len(images), -1)
    try:
        features, labels = pd.DataFrame(rows).reset_index(drop=True), pd.Series(np.asarray(returned[1]))
    except ValueError as error:
        raise wrong(f"what makes no table: {error}", "a data frame or an array (N, F), and (N,)") from error
    if len(features) != len(labels) or not len(labels) or not features.shape[1]:
        raise wrong(
            f"features {features.shape} and {len(labels)} labels",
            "a label for each row, and one column at least",
        )
    if labels.isna().any():
        raise wrong(f"{labels.isna().sum()} labels that are missing", "a class in every row")
    counts = labels.value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    if len(counts) < 2:
        raise wrong(f"one class, {counts.index[0]}", "at least two classes")
    codes = labels.map({value: code for code, value in enumerate(counts.index)}).to_numpy(np.int64)
    class_names, source = tuple(map(str, counts.index)), str(data.source.target)
    if images is not None:
        if images.dtype.kind not in "buif" or not np.isfinite(images).all():
            raise wrong(
                f"images of {images.dtype} that are not all numbers", "a finite number in every pixel"
            )
        return Dataset(data.name, Images.of(images), codes, class_names, (), source)
    features.columns = [str(name) for name in features.columns]
    for name in features:
        if pd.api.types.is_bool_dtype(features[name]):
            features[name] = features[name].astype(float)
        elif not pd.api.types.is_numeric_dtype(features[name]):
            features[name] = features[name].astype("category")
        elif np.isinf(features[name].to_numpy(float)).any():
            raise wrong(f"infinite numbers in column {name}", "finite numbers, NaN where one is missing")
    return Dataset(data.name, features, codes, class_names, (), source)


def tell_notes(data: Data, dataset: Dataset, split: Split | None = None) -> None:
    """Say on standard error what was read of data of the user's, or made of ours because the user asked for it.

    Args:
        data: chosen.
        dataset: of it.
        split: one of its splits, for the sizes of the parts.
    """
    name = _file_name(data)
    if dataset.reading is None:
        if data.is_users or (data.repeated, data.rare) != ("auto", "refuse"):
            for note in dataset.notes:
                print(f"{name}: {note}", file=sys.stderr)
        return
    lines = dataset.lines()
    if split is not None:
        sizes = [len(split.train_labels), len(split.validation_labels), len(split.test_labels)]
        parts = zip(sizes, PART_NAMES.values(), strict=True)
        sized = ", ".join(f"{size:,} {part}" for size, part in parts)
        lines.append(f"parts: {sized} {dataset.reading.noun}")
    print(f"{name}: " + "\n  ".join(lines), file=sys.stderr)


def tell_small_classes(dataset: Dataset, split: Split) -> None:
    """Say on standard error which classes have so few validation or test rows that they say little of them."""
    if split.validation_rows is None:
        classes = len(dataset.class_names)
        validated, tested = (
            np.bincount(labels, minlength=classes) for labels in (split.validation_labels, split.test_labels)
        )
    else:
        validated, tested = map(dataset.counts_among, (split.validation_rows, split.test_rows))
    few = [
        f"{name} has {validation} and {test}"
        for name, validation, test in zip(dataset.class_names, validated, tested, strict=True)
        if min(validation, test) < FEWEST_ROWS
    ]
    if few:
        print(
            f"{dataset.name}: fewer than {FEWEST_ROWS} validation or test {_noun(dataset)} say little about a class: "
            f"{', '.join(few)}",
            file=sys.stderr,
        )


def _noun(dataset: Dataset) -> str:
    return "rows" if dataset.reading is None else dataset.reading.noun


def located(data: Data) -> Data:
    """The same choice of data with absolute paths, so that files are found from another working directory too."""
    if not data.reads_files:
        return data
    paths = {name: data.source[name] for name in PATHS if data.source.get(name) is not None}
    absolute = {name: os.path.abspath(os.path.expanduser(path)) for name, path in paths.items()}
    return replace(data, source=data.source.replace(**absolute))


def _files_digest(data: Data) -> str:
    """The digest of the file of a table, or of both files."""
    digests = [
        file_digest(Path(data.source[name]), f"data.{name}")
        for name in PATHS
        if data.source.get(name) is not None
    ]
    return digests[0] if len(digests) == 1 else text_digest(" ".join(digests))


def _file_name(data: Data) -> str:
    return Path(data.source["path"]).name if _has_path(data) else data.name


def _has_path(data: Data) -> bool:
    return data.reads_files and data.source["path"] is not None


def _changed(what: str, found: str | None, digest: str | None) -> UserError:
    return UserError(
        what=f"{what} has changed: its digest is {found} and was {digest}",
        expected="the data that the configuration was made for",
        hint="leave data.digest out for a new sweep, or bring the old data back",
    )
