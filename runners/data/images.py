"""Images of the user's own as a data set: a function a format, named in `conf/data/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.rules import show
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.subsets import limited
from lossfleet.runners.images import arrays, fer2013, idx, npz
from lossfleet.runners.images.decoding import decode
from lossfleet.runners.images.pictures import Allocate, Pictures
from lossfleet.runners.images.sources import (
    Source,
    fashion_mnist_source,
    file_source,
    idx_source,
    listed_files,
    listed_source,
)
from lossfleet.runners.images.store import stored
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.report import Reading, shortened

Positive = Annotated[int, Ge(1)]
FASHION_CLASSES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


def read_images(
    path: str | None,
    file: str | None = None,
    target: str | None = None,
    folder: str | None = None,
    part: str | None = None,
    group: str | None = None,
    size: Positive | None = None,
    channels: Annotated[int, Ge(1), Le(3)] | None = None,
    broken: Literal["refuse", "skip"] = "refuse",
    limit: Positive | None = None,
) -> Dataset:
    """The images of `data=images`: a folder with a folder a class, or a table of file names and classes.

    Classes are numbered from the largest to the smallest, so that with two of them alpha weighs the rare one.

    Args:
        path: of the folder, or of the table.
        file, target: the columns of the table with file names and classes; None for the first and the second one.
        folder: where the file names of a table start from; None for its own folder.
        part: the column of the table that says train, val or test.
        group: the column of the table whose equal values stay in one part.
        size: height and width to resize to; None for images of one size.
        channels: 1 for grey, 3 for colour; None for colour unless all are grey.
        broken: `skip` leaves out what cannot be used, and says so.
        limit: about so many images, drawn from each class and part alike; None for all.

    Raises:
        UserError: files that cannot be used, with all faults that were found.
    """
    faults = Faults(Path(str(path)).name, "images without them")
    columns = {"file": file, "target": target, "part": part, "group": group}
    listed = listed_files(path, faults, folder=folder, broken=broken, **columns)

    def read(allocate: Allocate) -> Pictures:
        return decode(listed, faults, allocate, size=size, channels=channels, broken=broken)

    if faults or not listed.names:
        # What was kept had no faults, so that nothing is kept of these.
        read(np.zeros)
    settings = columns | {"size": size, "channels": channels, "broken": broken}
    return _dataset(listed_source(path, listed), settings, read, limit)


def read_npz(
    path: str | None,
    size: Positive | None = None,
    channels: Annotated[int, Ge(1), Le(3)] | None = None,
    limit: Positive | None = None,
    names: tuple[str, ...] | None = None,
) -> Dataset:
    """The arrays of `data=npz`: the parts of MedMNIST, or X and y; rows of numbers are features e0, e1 and so on.

    Classes are numbered from the largest to the smallest, so that with two of them alpha weighs the rare one.

    Args: as `read_images` has them; names are those of the classes, in the order of their numbers in the file.

    Raises:
        UserError: a file that cannot be used, or other names than there are classes.
    """
    source = file_source(path, "an archive that numpy.savez writes")

    def read(allocate: Allocate) -> Pictures:
        archive = npz.read_archive(source.path)
        first = {name: arrays.channels_first(name, array) for name, array in archive.arrays.items()}
        images, said = arrays.keep(first, allocate, size=size, channels=channels)
        return Pictures(images, archive.labels, archive.names, (*archive.said, *said), parts=archive.parts)

    if npz.has_rows(source.path):
        return _embeddings(source, size, channels, limit, names)
    return _dataset(source, {"size": size, "channels": channels}, read, limit, names=names)


def read_idx(
    path: str | None,
    size: Positive | None = None,
    limit: Positive | None = None,
    names: tuple[str, ...] | None = None,
) -> Dataset:
    """The files of `data=idx`, those of MNIST and its kin; the test part is that of t10k.

    Classes are numbered from the largest to the smallest, equal ones by number.

    Args: as `read_npz` has them; path is of the folder, or of the file of training images.

    Raises:
        UserError: files that cannot be used, or other names than there are classes.
    """
    source = idx_source(path)
    return _dataset(
        source,
        {"size": size},
        lambda allocate: _idx_pictures(source, allocate, size, None),
        limit,
        names=names,
    )


def read_fashion_mnist(
    path: str | None = None, size: Positive | None = None, limit: Positive | None = None
) -> Dataset:
    """The clothes of `data=fashion_mnist`, 28 x 28 pixels, in ten classes as they were published.

    Args: as `read_idx` has them; a path of None is that of Debian's package.

    Raises:
        UserError: they are not there, or files that cannot be used.

    Reference: Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747.
    """
    source = fashion_mnist_source(path)

    def read(allocate: Allocate) -> Pictures:
        return _idx_pictures(source, allocate, size, FASHION_CLASSES)

    return _dataset(source, {"size": size}, read, limit, in_order=True)


def read_fer2013(path: str | None, size: Positive | None = None, limit: Positive | None = None) -> Dataset:
    """The faces of `data=fer2013`, 48 x 48 pixels, in seven classes as they were published.

    Args: as `read_images` has them.

    Raises:
        UserError: a file that cannot be used, with all faults that were found.

    Reference: Goodfellow et al. 2013, arXiv 1307.0414.
    """
    source = file_source(path, "the file fer2013.csv")

    def read(allocate: Allocate) -> Pictures:
        faces, labels, parts = fer2013.read_faces(source.path)
        images, said = arrays.keep({"pixels": faces[:, None]}, allocate, size=size, channels=None)
        return Pictures(images, labels, fer2013.CLASSES, tuple(said), parts=parts)

    return _dataset(source, {"size": size}, read, limit, in_order=True)


SOURCES: Mapping[str, Callable[..., Source]] = {
    "read_images": lambda path, **named: listed_source(path, listed_files(path, Faults(""), **named)),
    "read_npz": lambda path: file_source(path, "an archive that numpy.savez writes"),
    "read_idx": idx_source,
    "read_fashion_mnist": fashion_mnist_source,
    "read_fer2013": lambda path: file_source(path, "the file fer2013.csv"),
}
LISTING = ("file", "target", "folder", "part", "group", "broken")


def digest_of(data: Part) -> str:
    """The first digits of the SHA-256 of all files that a choice of images reads.

    Raises:
        UserError: they are not there, or cannot be read.
    """
    assert data.target is not None
    named = {name: data[name] for name in LISTING if name in data}
    return SOURCES[data.target.rpartition(".")[2]](data["path"], **named).digest


def _idx_pictures(
    source: Source, allocate: Allocate, size: int | None, names: tuple[str, ...] | None
) -> Pictures:
    found = idx.pairs(source.path)
    read = {each.images.name: idx.read_idx(each.images, 3)[:, None] for each in found}
    images, said = arrays.keep(read, allocate, size=size, channels=None)
    labels = idx.labels_of(found, [len(array) for array in read.values()])
    parts = np.repeat([each.part for each in found], [len(array) for array in read.values()])
    names = names or tuple(map(str, range(int(labels.max()) + 1)))
    if labels.max() >= len(names):
        raise UserError(
            what=f"{found[0].labels.name} has the label {labels.max()}",
            expected=f"0 to {len(names) - 1}, for {', '.join(names)}",
            hint="write data=idx, which takes any labels",
        )
    files = ", ".join(each.images.name for each in found)
    return Pictures(
        images, labels, names, (files, *said), parts=parts.astype(np.int8) if len(found) > 1 else None
    )


def _embeddings(
    source: Source, size: int | None, channels: int | None, limit: int | None, names: Sequence[str] | None
) -> Dataset:
    import pandas as pd

    if size is not None or channels is not None:
        raise UserError(
            what=f"data.{'size' if size else 'channels'} for {source.path.name}, whose arrays are rows of numbers",
            expected="images",
            hint=f"leave data.{'size' if size else 'channels'} out",
        )
    archive = npz.read_archive(source.path)
    values = npz.joined_rows(archive)
    columns = [f"e{place}" for place in range(values.shape[1])]
    dataset = Dataset(
        source.path.stem,
        pd.DataFrame(values, columns=columns),
        archive.labels,
        archive.names,
        (),
        source.told,
        parts=archive.parts,
    )
    said = (*archive.said, f"{len(columns)} features {columns[0]} to {columns[-1]}")
    return _numbered(limited(_told(_renamed(dataset, names), said, "rows"), limit), in_order=False)


def _dataset(
    source: Source,
    settings: Mapping[str, Any],
    read: Callable[[Allocate], Pictures],
    limit: int | None,
    *,
    in_order: bool = False,
    names: Sequence[str] | None = None,
) -> Dataset:
    """The data set of pictures, which are read unless they are kept.

    Args:
        source: their files.
        settings: that decide what is made of these.
        read: makes them.
        limit: of rows.
        in_order: whether classes stay in the order of their names; else they are numbered by size.
        names: as `_renamed` has them.
    """
    pictures = stored(source, settings, read)
    dataset = Dataset(
        source.path.stem,
        pictures.images,
        pictures.labels,
        pictures.names,
        pictures.notes,
        source.told,
        parts=pictures.parts,
        groups=pictures.groups,
        file_names=np.array(pictures.files) if pictures.files else None,
    )
    if pictures.parts is None and in_order:
        dataset = replace(dataset, notes=(*dataset.notes, "no parts are given: they are drawn"))
    dataset = _told(_renamed(dataset, names), pictures.said, "images")
    return _numbered(limited(dataset, limit), in_order=in_order)


def _told(dataset: Dataset, said: tuple[str, ...], noun: str) -> Dataset:
    """The data set with what was read of its files."""
    reading = Reading(len(dataset.labels), said, columns={}, specs={}, order=(), example={}, noun=noun)
    return replace(dataset, reading=reading)


def _renamed(dataset: Dataset, names: Sequence[str] | None) -> Dataset:
    """The data set with these names of the classes that it has, in their order; None leaves them.

    Raises:
        UserError: there are fewer or more, or two are equal.
    """
    if names is None:
        return dataset
    own = list(dataset.class_names)
    present = np.flatnonzero(dataset.class_counts)
    if not len(present) == len(names) == len(set(names)):
        numbers = shortened([own[label] for label in present])
        raise UserError(
            what=f"data.names is {show(list(names))}",
            expected=f"{len(present)} different names, of the classes {numbers}",
            hint="write one for each, in this order, or leave data.names out",
        )
    for label, name in zip(present, names, strict=True):
        own[label] = name
    return replace(dataset, class_names=tuple(own))


def _numbered(dataset: Dataset, *, in_order: bool) -> Dataset:
    """The data set with its classes from the largest to the smallest, or in their order, without those of no image.

    Raises:
        UserError: there is one class alone.
    """
    counts = dataset.class_counts
    order = np.arange(len(counts)) if in_order else np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    if len(order) < 2:
        raise UserError(
            what=f"{dataset.name} has one class, {dataset.class_names[order[0]]}",
            expected="at least two classes",
            hint="correct data.path",
        )
    number = np.zeros(len(counts), np.int64)
    number[order] = np.arange(len(order))
    names = tuple(dataset.class_names[label] for label in order)
    return replace(dataset, labels=number[dataset.labels], class_names=names)
