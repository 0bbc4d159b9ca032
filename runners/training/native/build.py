"""The native core in this process: as it was installed, else compiled where it is first wanted, and kept."""

from __future__ import annotations

import ctypes
import tempfile
from functools import cache, partial
from pathlib import Path

from lossfleet.runners.children import run_within
from lossfleet.runners.environment import cache_folder
from lossfleet.runners.locks import locked
from lossfleet.runners.training.native.libraries import (
    FOLDER,
    ROWS,
    NoCore,
    compile_library,
    level_here,
    library_name,
)

# An idle core takes nine.
SECONDS_TO_COMPILE = 60

_own_folder: tempfile.TemporaryDirectory[str] | None = None


def obstacle(source: str = ROWS) -> str | None:
    """Why this machine cannot train natively, or None if it can; the library is compiled if it is not there yet."""
    try:
        core(source)
    except NoCore as error:
        return str(error)
    return None


def is_chosen(native: str, source: str = ROWS) -> bool:
    """Whether the core is to train, as `engine.native` says; auto leaves it to whether this machine can have it."""
    return native == "on" or (native == "auto" and obstacle(source) is None)


@cache
def core(source: str) -> ctypes.CDLL:
    """A library of the native core in this process.

    Args:
        source: ROWS or DETECTORS.

    Raises:
        NoCore: there is no compiler, or it fails, or the system refuses what it made.
    """
    try:
        return opened(library(source))
    except OSError as error:
        raise NoCore(str(error)) from error


def opened(library: Path) -> ctypes.CDLL:
    """A library of the core, from its file.

    Raises:
        OSError: the system refuses it.
    """
    found = ctypes.CDLL(str(library))
    found.last_reason.restype = ctypes.c_char_p
    return found


@cache
def library(source: str) -> Path:
    """The file of a library: as installed, else in the user's cache folder, else in one that ends with this process.

    Raises:
        NoCore: it is not installed, and there is no compiler, or it fails.
    """
    global _own_folder
    installed = FOLDER / library_name(source, level_here())
    # It may be a wheel's, and want a later libstdc++ than there is here.
    if _loads(installed):
        return installed
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return built(folder, source)
    except (OSError, RuntimeError):
        # No home, or none that can be written.
        _own_folder = _own_folder or tempfile.TemporaryDirectory(prefix="lossfleet-native-")
        return built(Path(_own_folder.name), source)


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


def built(folder: Path, source: str) -> Path:
    """The library in a folder, compiled unless it is there; of two processes the second waits for the first.

    Raises:
        NoCore: it is not there, and there is no compiler, or it fails.
    """
    level = level_here()
    library = folder / library_name(source, level)
    if library.exists():
        return library
    with locked(folder / "native.lock"):
        if not library.exists():
            compile_library(source, level, library, partial(run_within, SECONDS_TO_COMPILE))
    return library
