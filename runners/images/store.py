"""Pixels as they were read, kept in a file that all processes map into memory: each image is decoded once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lossfleet.conf.errors import UserError, remedy
from lossfleet.runners.environment import cache_folder
from lossfleet.runners.images.pictures import Allocate, Pictures
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.images.sources import Source
from lossfleet.runners.locks import locked

# Pixels that another version of this has kept are read again.
VERSION = 1
PIXELS, READ = "pixels.npy", "read.json"
# What nobody has asked for so long is removed when something new is kept.
SECONDS_UNUSED = 30 * 24 * 3600

_own_folder: tempfile.TemporaryDirectory[str] | None = None


def stored(source: Source, settings: Mapping[str, Any], read: Callable[[Allocate], Pictures]) -> Pictures:
    """The pictures of some files; read if they are not kept, of two processes the second waits for the first.

    Args:
        source: the files.
        settings: that decide what is made of their content.
        read: is given a function that makes the array for the pixels, rows of which its pictures have.

    Raises:
        UserError: as `read`, or there is no space.
    """
    content = [VERSION, version("pillow"), read.__qualname__, source.digest, dict(settings)]
    store = _store()
    folder = store / hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    try:
        with locked(store / "images.lock"):
            if not folder.exists():
                _remove_unused(store)
                _keep(folder, read)
            os.utime(folder)
            return _kept(folder)
    except OSError as error:
        raise UserError(
            what=f"pixels cannot be kept in {store} ({error.strerror or error})",
            expected="a folder that this user may write, and space for them",
            hint=f"{remedy(error)}, or name another folder with the environment variable XDG_CACHE_HOME",
        ) from error


def _store() -> Path:
    """The user's cache folder, else one that ends with this process."""
    global _own_folder
    try:
        folder = cache_folder() / "images"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        # No home, or none that can be written.
        pass
    _own_folder = _own_folder or tempfile.TemporaryDirectory(prefix="lossfleet-images-")
    return Path(_own_folder.name)


def _keep(folder: Path, read: Callable[[Allocate], Pictures]) -> None:
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        pictures = read(lambda shape, kind: _allocated(new / PIXELS, shape, kind))
        pixels = pictures.images.pixels
        assert isinstance(pixels, np.memmap)
        pixels.flush()
        (new / READ).write_text(json.dumps(_plain(pictures)), encoding="utf-8")
        # Whoever finds the folder finds it whole.
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _allocated(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
    with path.open("r+b") as file:
        # Where space ends while mapped memory is written, the process dies.
        os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
    return array


def _plain(pictures: Pictures) -> dict[str, Any]:
    arrays = {name: getattr(pictures, name) for name in ("labels", "parts", "groups")}
    return {
        "image_shape": pictures.images.image_shape,
        "rows": pictures.images.rows.tolist(),
        **{name: None if array is None else array.tolist() for name, array in arrays.items()},
        **{name: getattr(pictures, name) for name in ("names", "said", "notes", "files")},
    }


def _kept(folder: Path) -> Pictures:
    read = json.loads((folder / READ).read_text(encoding="utf-8"))
    channels, height, width = read["image_shape"]
    pixels = np.load(folder / PIXELS, mmap_mode="r")
    return Pictures(
        images=Images(pixels, np.array(read["rows"], np.int64), (channels, height, width)),
        labels=np.array(read["labels"], np.int64),
        names=tuple(read["names"]),
        said=tuple(read["said"]),
        notes=tuple(read["notes"]),
        parts=None if read["parts"] is None else np.array(read["parts"], np.int8),
        groups=None if read["groups"] is None else np.array(read["groups"], np.int64),
        files=tuple(read["files"]),
    )


def _remove_unused(store: Path) -> None:
    for folder in store.iterdir():
        if folder.is_dir() and folder.stat().st_mtime < time.time() - SECONDS_UNUSED:
            shutil.rmtree(folder, ignore_errors=True)
