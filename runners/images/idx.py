"""The files of MNIST and of what is written likewise: IDX of bytes, gzipped or not.

Reference: LeCun, Cortes and Burges, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.parts import TEST, TRAINING
from lossfleet.runners.tables.report import shortened

# Bytes, then how many axes.
BYTES = 0x08
IMAGES = re.compile(r"^(?P<name>.*?)(?P<part>train|t10k|test)-images[-.]idx3-ubyte(\.gz)?$", re.IGNORECASE)
PART_OF = {"train": TRAINING, "t10k": TEST, "test": TEST}


@dataclass(frozen=True)
class Pair:
    """A file of images and the file of their labels; part, `TRAINING` or `TEST`."""

    images: Path
    labels: Path
    part: int


def pairs(path: Path) -> list[Pair]:
    """The files of the training part, and of the test part if there is one.

    Args:
        path: of a folder with files of one data set, or of the file of its training images.

    Raises:
        UserError: there are none, of several data sets, or without labels.
    """
    folder = path if path.is_dir() else path.parent
    found: dict[tuple[str, int], Path] = {}
    for each in sorted(folder.iterdir()):
        match = IMAGES.match(each.name)
        if match and (path.is_dir() or match["name"] == _own(path)["name"]):
            found.setdefault((match["name"], PART_OF[match["part"].lower()]), each)
    names = sorted({name for name, _ in found})
    if len(names) > 1:
        files = shortened([each.name for each in found.values()])
        raise UserError(
            what=f"{path.name} has the files of {len(names)} data sets: {files}",
            expected="those of one",
            hint=f"name one with data.path={path.name}/{next(iter(found.values())).name}",
        )
    if not names or (names[0], TRAINING) not in found:
        raise UserError(
            what=f"{folder.name} has no train-images-idx3-ubyte"
            + ("" if path.is_dir() else f" for {path.name}"),
            expected="train-images-idx3-ubyte and train-labels-idx1-ubyte, and perhaps t10k-..., gzipped or not",
            hint="correct data.path",
        )
    return [Pair(found[key], _labels_of(found[key]), key[1]) for key in sorted(found)]


def _own(path: Path) -> re.Match[str]:
    match = IMAGES.match(path.name)
    if match is None:
        raise UserError(
            what=f"data.path is {path.name}",
            expected="a folder, or the file of training images: train-images-idx3-ubyte, gzipped or not",
            hint="correct data.path",
        )
    return match


def _labels_of(images: Path) -> Path:
    name = images.name.removesuffix(".gz").replace("-images", "-labels").replace("idx3", "idx1")
    for each in (name, f"{name}.gz"):
        if (images.parent / each).is_file():
            return images.parent / each
    raise UserError(
        what=f"{images.parent.name} has {images.name} and no {name}",
        expected="the file of the labels beside that of the images",
        hint="bring it too",
    )


def labels_of(pairs: Sequence[Pair], counts: Sequence[int]) -> np.ndarray:
    """The labels (N,) int64 of all pairs.

    Args:
        pairs: of files.
        counts: how many images each has.

    Raises:
        UserError: a file has more or fewer labels than there are images.
    """
    labels = [read_idx(pair.labels, 1) for pair in pairs]
    for pair, own, count in zip(pairs, labels, counts, strict=True):
        if len(own) != count:
            raise UserError(
                what=f"{pair.images.name} has {count} images and {pair.labels.name} {len(own)} labels",
                expected="a label for each image",
                hint="bring the files that belong together",
            )
    return np.concatenate(labels).astype(np.int64)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The array of a file of bytes.

    Args:
        path: of the file, gzipped if its name ends so.
        axes: how many it must have.

    Raises:
        UserError: it is no such file, or not whole.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise _wrong(path, f"cannot be read ({error})") from error
    if len(content) < 4 + 4 * axes or content[:4] != bytes([0, 0, BYTES, axes]):
        raise _wrong(path, f"begins with {content[:4].hex(' ') or 'nothing'}, not with 00 00 08 0{axes}")
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if len(values) != np.prod(shape, dtype=np.int64):
        raise _wrong(path, f"says that it has {' x '.join(map(str, shape))} bytes and has {len(values)}")
    return values.reshape(shape)


def _wrong(path: Path, what: str) -> UserError:
    return UserError(
        what=f"{path.name} {what}",
        expected="a whole IDX file of bytes",
        hint="download it again, or correct data.path",
    )
