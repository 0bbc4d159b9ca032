"""NumPy's archive of images and labels: the parts of MedMNIST, or one array of each."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.parts import TEST, TRAINING, VALIDATION
from lossfleet.runners.images.pictures import coded
from lossfleet.runners.tables.report import shortened

# Names of the arrays of images and of labels, in any case: those of MedMNIST, of Keras, and others.
OF_PARTS = {
    TRAINING: (("train_images", "x_train", "train_x"), ("train_labels", "y_train", "train_y")),
    VALIDATION: (("val_images", "x_val", "val_x"), ("val_labels", "y_val", "val_y")),
    TEST: (("test_images", "x_test", "test_x"), ("test_labels", "y_test", "test_y")),
}
OF_ALL = (("x", "images", "features", "embeddings"), ("y", "labels"))
# What NumPy raises where an archive is not whole.
BROKEN = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
Names = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Archive:
    """Arrays of an archive.

    Fields: arrays of images or rows by their names, in the order of the parts; labels (N,) int64 of all of them, places
    in names; names of the classes; parts (N,) int8, None where the archive has none; said, what it has, in words.
    """

    arrays: dict[str, np.ndarray]
    labels: np.ndarray
    names: tuple[str, ...]
    parts: np.ndarray | None
    said: tuple[str, ...]


def has_rows(path: Path) -> bool:
    """Whether the arrays of a file are rows of numbers, (N, F), and no images; their headers alone are read.

    Raises: as `read_archive`.
    """
    with _readable(path), zipfile.ZipFile(path) as file:
        shapes = {}
        for member in file.namelist():
            with file.open(member) as array:
                header = np.lib.format.read_magic(array)
                read = (
                    np.lib.format.read_array_header_1_0
                    if header == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shapes[member.removesuffix(".npy")] = read(array)[0]
    return all(len(shapes[images]) == 2 for images, _ in _chosen(path, list(shapes)).values())


def read_archive(path: Path) -> Archive:
    """The arrays of a file; nothing in it is run.

    Raises:
        UserError: it cannot be read, has other arrays, or labels that are no classes.
    """
    with _readable(path), np.load(path, allow_pickle=False) as file:
        chosen = _chosen(path, file.files)
        arrays = {images: file[images] for images, _ in chosen.values()}
        labels = [
            _labels(path, images, name, file[name], len(arrays[images])) for images, name in chosen.values()
        ]
    codes, classes = coded(np.concatenate(labels))
    parts = np.repeat(np.array(list(chosen), np.int8), [len(each) for each in labels])
    return Archive(
        arrays, codes, classes, parts if TEST in chosen else None, (f"arrays {', '.join(arrays)}",)
    )


def images_alone(path: Path) -> tuple[str, np.ndarray]:
    """The name and the array of images to classify: X, of the test part, or the only one; labels are not looked at.

    Raises: as `read_archive`.
    """
    with _readable(path), np.load(path, allow_pickle=False) as file:
        known = {name.lower(): name for name in file.files}
        names = [known[name] for name in (*OF_ALL[0], *OF_PARTS[TEST][0]) if name in known] or file.files
        if len(names) != 1:
            raise _wrong(f"{path.name} has the arrays {shortened(file.files)}", "images in one of the name X")
        return names[0], file[names[0]]


def joined_rows(archive: Archive) -> np.ndarray:
    """The rows (N, F) of all arrays, float32.

    Raises:
        UserError: they are not as wide as each other, or not of finite numbers.
    """
    (first, other), *_ = archive.arrays.items()
    for name, array in archive.arrays.items():
        if array.dtype.kind not in "buif" or not np.isfinite(array).all():
            raise _wrong(f"{name} has something else than finite numbers", "a number in every place")
        if array.shape[1] != other.shape[1]:
            raise _wrong(f"{first} has {other.shape[1]} columns and {name} {array.shape[1]}", "as many")
    return np.concatenate(list(archive.arrays.values())).astype(np.float32)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise UserError(
            what=f"{path.name} cannot be read as NPZ ({' '.join(str(error).split())})",
            expected="an archive that numpy.savez writes, of numbers and text without pickled objects",
            hint="write it again, or correct data.path",
        ) from error


def _chosen(path: Path, names: Sequence[str]) -> dict[int, Names]:
    """The arrays of images and of labels by part, the training part alone where the archive has none."""
    known = {name.lower(): name for name in names}

    def found(candidates: tuple[tuple[str, ...], tuple[str, ...]]) -> Names | None:
        images, labels = (next((known[each] for each in same if each in known), None) for same in candidates)
        return None if images is None or labels is None else (images, labels)

    by_part = {part: pair for part, candidates in OF_PARTS.items() if (pair := found(candidates))}
    if TRAINING in by_part and TEST in by_part:
        return by_part
    whole = found(OF_ALL)
    if whole is None:
        raise UserError(
            what=f"{path.name} has the arrays {shortened(names)}",
            expected="train_images, train_labels, test_images, test_labels, and perhaps val_images, val_labels; "
            "or X and y",
            hint="write it again with numpy.savez(path, X=..., y=...)",
        )
    return {TRAINING: whole}


def _labels(path: Path, images: str, name: str, labels: np.ndarray, rows: int) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise UserError(
            what=f"{name} of {path.name} has the shape {labels.shape}, several numbers for each image",
            expected="one class for each image, (N,) or (N, 1)",
            hint="of labels that are 1 in the place of the class keep labels.argmax(axis=1)",
        )
    if labels.shape != (rows,):
        raise _wrong(
            f"{path.name} has {rows} rows in {images} and {name} of the shape {labels.shape}", f"({rows},)"
        )
    if labels.dtype.kind not in "buifUS" or (
        labels.dtype.kind == "f" and not (labels == np.rint(labels)).all()
    ):
        raise _wrong(f"{name} of {path.name} has {labels.dtype} that are no classes", "whole numbers or text")
    return labels.astype(str) if labels.dtype.kind == "b" else labels


def _wrong(what: str, expected: str) -> UserError:
    return UserError(what=what, expected=expected, hint="write the file again, or correct data.path")
