"""The file of a table: what kind it is by its name, its digest, and its bytes, unpacked."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any, cast

from lossfleet.conf.datasets import PACKED, TEXT_ENDINGS
from lossfleet.conf.errors import UserError

DIGEST_LENGTH = 16
BLOCK_BYTES = 2**20
PARQUET_ENDINGS = (".parquet", ".pq")
# What reading raises where a file is not what its name says.
BROKEN = (OSError, EOFError, ValueError, zipfile.BadZipFile, lzma.LZMAError)
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def kind_of(path: Path) -> str:
    """`parquet`, `excel`, `arff` or `text`, by the ending of a file, or of what is packed in it."""
    if path.is_dir():
        return "parquet"
    name = unpacked_name(path).lower()
    if name.endswith(PARQUET_ENDINGS):
        return "parquet"
    if name.endswith((".xlsx", ".xls")):
        return "excel"
    return "arff" if name.endswith(".arff") else "text"


def unpacked_name(path: PurePath) -> str:
    """The name without the ending that says how a file is packed."""
    return path.stem if path.suffix.lower() in PACKED else path.name


def parquet_parts(path: Path) -> list[Path]:
    """The file, or the files of a folder of parts, in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.rglob("*") if each.name.lower().endswith(PARQUET_ENDINGS))


def file_digest(path: Path, setting: str = "data.path") -> str:
    """The first digits of the SHA-256 of the bytes of a file, or of all parts of a folder.

    Args:
        path: of the file.
        setting: that names it.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    _check_there(path, setting)
    digest = hashlib.sha256()
    try:
        for part in parquet_parts(path):
            with part.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()[:DIGEST_LENGTH]


def text_digest(text: str) -> str:
    """The first digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked as they are read.

    Raises:
        UserError: an archive that has not one table.
    """
    ending = path.suffix.lower()
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(_only_table(path, archive)) as file:
            yield file
        return
    with OPENERS.get(ending, open)(path, "rb") as file:
        yield cast(IO[bytes], file)


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file that is not what its name says."""
    kind = {"parquet": "Parquet", "excel": "Excel", "arff": "ARFF", "text": "CSV"}[kind_of(path)]
    return UserError(
        what=f"{path.name} cannot be read as {kind} ({' '.join(str(error).split())})",
        expected=f"a whole {kind} file",
        hint="write the table again, or correct data.path",
    )


def no_rows(path: Path) -> UserError:
    """The error for a table that has a header at most."""
    return UserError(
        what=f"{path.name} has no rows below its header",
        expected="a header and rows",
        hint="write the table again, or correct data.path",
    )


def _check_there(path: Path, setting: str) -> None:
    if path.is_dir() and not parquet_parts(path):
        raise UserError(
            what=f"{setting} is {path}, which is a folder without Parquet files",
            expected="a file, or a folder of Parquet parts",
            hint=f"write {setting}={path.name}/..., the file in it that is the table",
        )
    if not path.exists():
        raise UserError(
            what=f"{setting} is {path}, and there is no such file",
            expected="a CSV, Parquet, Excel or ARFF file",
            hint=f"correct {setting}; it starts from the working directory",
        )


def _only_table(path: Path, archive: zipfile.ZipFile) -> str:
    members = [
        each for each in archive.namelist() if not each.endswith("/") and not each.startswith("__MACOSX")
    ]
    tables = (
        [each for each in members if each.lower().endswith(TEXT_ENDINGS)] if len(members) > 1 else members
    )
    if len(tables) != 1:
        raise UserError(
            what=f"{path.name} has {len(tables)} tables: {', '.join(tables[:5])}",
            expected="an archive of one file",
            hint="unpack it, and name the file with data.path",
        )
    return tables[0]
