"""The files that images are read from, and what tells their content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.folders import list_folder
from lossfleet.runners.images.idx import pairs
from lossfleet.runners.images.listed import Listed
from lossfleet.runners.images.listing import list_table
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.files import BLOCK_BYTES, DIGEST_LENGTH

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
Stamp = tuple[str, str, int, int]


@dataclass(frozen=True)
class Source:
    """The files of a data set.

    Fields: path, that names them; files, in the order in which they are read; names, what each of them is called,
    wherever they are; None where that says nothing.
    """

    path: Path
    files: list[Path]
    names: list[str] | None = None

    @property
    def digest(self) -> str:
        """The first digits of the SHA-256 of all files, each behind its name.

        Of files that have not changed since this process last read them it is known.

        Raises:
            UserError: a file cannot be read.
        """
        names = self.names or [""] * len(self.files)
        try:
            stats = [file.stat() for file in self.files]
            stamps = zip(map(str, self.files), names, stats, strict=True)
            return _digest(tuple((file, name, stat.st_size, stat.st_mtime_ns) for file, name, stat in stamps))
        except OSError as error:
            raise UserError(
                what=f"{error.filename} cannot be read ({error.strerror})",
                expected="a file that this user may read",
                hint="give this user the right to read it, or correct data.path",
            ) from error

    @property
    def told(self) -> str:
        """Where the data comes from."""
        return f"{self.path}, SHA-256 {self.digest}..."


def listed_files(
    path: str | None,
    faults: Faults,
    *,
    folder: str | None,
    broken: str,
    **columns: str | None,
) -> Listed:
    """The images of a folder or of a table, as `list_folder` and `list_table` have them.

    Args:
        path: of either.
        faults: takes those that are found.
        folder, broken: as `list_table` has them.
        columns: of the table, by the setting that names each; None for a folder.

    Raises:
        UserError: there is no such folder or table, or a column is named of a folder.
    """
    where = existing(path, "a folder with a folder of images a class, or a table of file names and classes")
    if not where.is_dir():
        here = where.parent if folder is None else absolute(folder)
        return list_table(where, faults, folder=here, **columns, broken=broken)
    named = [name for name, value in {**columns, "folder": folder}.items() if value is not None]
    if named:
        raise UserError(
            what=f"data.{named[0]} is for tables, and data.path is the folder {where.name}",
            expected="a table of file names and classes",
            hint=f"leave data.{named[0]} out, or write data.path=labels.csv",
        )
    return list_folder(where, faults, broken=broken)


def listed_source(path: str | None, listed: Listed) -> Source:
    """The files of a listing; their names say the class, or a table does that is one of them."""
    where = absolute(str(path))
    table = [] if where.is_dir() else [where]
    files = [*table, *(listed.root / name for name in listed.names)]
    return Source(where, files, [*("" for _ in table), *listed.names])


def file_source(path: str | None, expected: str) -> Source:
    """A file alone."""
    where = existing(path, expected)
    if where.is_dir():
        raise UserError(
            what=f"data.path is the folder {where}",
            expected=expected,
            hint=f"write data.path={where.name}/..., the file in it",
        )
    return Source(where, [where])


def idx_source(path: str | None) -> Source:
    """The files of images and labels in a folder, or those that belong to one of training images."""
    where = existing(path, "a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte")
    return Source(where, [file for pair in pairs(where) for file in (pair.images, pair.labels)])


def fashion_mnist_source(path: str | None) -> Source:
    """The files of a path, or those of Debian's package."""
    if path is None and not FASHION_MNIST.exists():
        raise UserError(
            what=f"data=fashion_mnist is not in {FASHION_MNIST}",
            expected="Debian's package dataset-fashion-mnist, or the four files elsewhere",
            hint="write sudo apt-get install dataset-fashion-mnist, or data.path=FOLDER with the files of "
            "github.com/zalandoresearch/fashion-mnist",
        )
    return idx_source(str(FASHION_MNIST) if path is None else path)


def absolute(path: str) -> Path:
    """A path from the working directory, or from the user's folder."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def existing(path: str | None, expected: str) -> Path:
    """The file or folder that data.path names.

    Raises:
        UserError: there is none.
    """
    where = absolute(str(path))
    if not where.exists():
        raise UserError(
            what=f"data.path is {where}, and there is no such file or folder",
            expected=expected,
            hint="correct data.path; it starts from the working directory",
        )
    return where


@lru_cache(maxsize=4)
def _digest(stamps: tuple[Stamp, ...]) -> str:
    content = hashlib.sha256()
    for path, name, size, _ in stamps:
        content.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                content.update(block)
    return content.hexdigest()[:DIGEST_LENGTH]
