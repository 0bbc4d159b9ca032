"""The native core as shared libraries: compiled where one is first wanted, for this machine's CPU, and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lossfleet.runners.children import run_within
from lossfleet.runners.environment import cache_folder
from lossfleet.runners.locks import locked

COMPILER = "g++"
# It takes five on a machine that others keep busy.
SECONDS_TO_COMPILE = 60
# Products and sums may become one rounding; nothing else that would let a result depend on the surroundings.
FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
)
FOLDER = Path(__file__).parent
# A library each, since whoever trains rows would wait twice as long for both.
ROWS, DETECTORS = "core.cpp", "detectors.cpp"

_own_folder: tempfile.TemporaryDirectory[str] | None = None


class NoCore(Exception):
    """This machine cannot have the native core; the message says why."""


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
    path = library(source)
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        raise NoCore(str(error)) from error
    found.last_reason.restype = ctypes.c_char_p
    return found


@cache
def library(source: str) -> Path:
    """The file of a library: in the user's cache folder, else in one that ends with this process.

    Raises:
        NoCore: there is no compiler, or it fails.
    """
    global _own_folder
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return built(folder, source)
    except (OSError, RuntimeError):
        # No home, or none that can be written.
        _own_folder = _own_folder or tempfile.TemporaryDirectory(prefix="lossfleet-native-")
        return built(Path(_own_folder.name), source)


def built(folder: Path, source: str) -> Path:
    """The library in a folder, compiled unless it is there; of two processes the second waits for the first.

    Raises:
        NoCore: it is not there, and there is no compiler, or it fails.
    """
    library = folder / f"native-{digest(source)}.so"
    if library.exists():
        return library
    if shutil.which(COMPILER) is None:
        raise NoCore(f"{COMPILER} is not on the path")
    with locked(folder / "native.lock"):
        if not library.exists():
            part = library.with_suffix(f".{os.getpid()}")
            command = [COMPILER, *FLAGS, str(FOLDER / source), "-o", str(part)]
            try:
                compile_core(command)
            except NoCore:
                part.unlink(missing_ok=True)
                raise
            # Whoever finds the library finds it whole.
            part.replace(library)
    return library


def compile_core(command: Sequence[str]) -> None:
    """Run the compiler.

    Raises:
        NoCore: it cannot be started, fails, or does not come to an end.
    """
    try:
        done = run_within(SECONDS_TO_COMPILE, command)
    except OSError as error:
        raise NoCore(f"{COMPILER} cannot be started ({error.strerror})") from error
    except subprocess.TimeoutExpired:
        raise NoCore(f"{COMPILER} has not compiled the core within {SECONDS_TO_COMPILE} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise NoCore(f"{COMPILER} fails: {said[0]}")


def digest(source: str) -> str:
    """What tells libraries apart: the sources, the flags, and the CPU that `-march=native` compiles for."""
    found = hashlib.sha256(" ".join((*FLAGS, cpu())).encode())
    for file in sorted([*FOLDER.glob("*.h"), FOLDER / source]):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def cpu() -> str:
    """The name of the CPU and what it can do."""
    described = [platform.machine(), platform.processor()]
    information = Path("/proc/cpuinfo")
    if information.exists():
        # Of the first of its cores, without what changes, such as its frequency.
        first = information.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        stable = ("model name", "flags", "Features", "CPU implementer", "CPU part", "isa")
        described += [line for line in first.splitlines() if line.startswith(stable)]
    return "\n".join(described)
