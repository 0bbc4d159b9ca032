"""The libraries of the native core: their sources, their names, and the levels of CPUs that they are compiled for.

Setuptools runs this file where nothing is installed yet: it imports Python's own modules alone.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

COMPILER = "g++"
# Products and sums may become one rounding; nothing else that would let a result depend on the surroundings.
FLAGS = (
    "-std=c++17",
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
)
# The best first: what each wants of the CPU, which g++ and Linux name alike. Where none of it is known all is plain.
LEVELS = {
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"),
    "avx2": ("avx2", "fma"),
    "plain": (),
}
FOLDER = Path(__file__).resolve().parent
# A library each, since whoever trains rows would wait twice as long for both.
ROWS, DETECTORS = "core.cpp", "detectors.cpp"
SOURCES = (ROWS, DETECTORS)
CPU_INFORMATION = Path("/proc/cpuinfo")


class NoCore(Exception):
    """This machine cannot have the native core; the message says why."""


def level_here() -> str:
    """The best level that this machine's CPU and its system can run."""
    features = _cpu_features()
    return next(level for level, wanted in LEVELS.items() if features.issuperset(wanted))


def levels_of_architecture() -> list[str]:
    """The levels of all machines with this one's architecture."""
    return list(LEVELS) if platform.machine() == "x86_64" else ["plain"]


def library_name(source: str, level: str) -> str:
    """The name of a library's file; another source, flag or architecture is another name.

    Args:
        source: ROWS or DETECTORS.
        level: of LEVELS.
    """
    told = hashlib.sha256(" ".join((platform.machine(), *flags(level))).encode())
    for file in sorted([*FOLDER.glob("*.h"), FOLDER / source]):
        told.update(file.read_bytes())
    return f"{Path(source).stem}-{level}-{told.hexdigest()[:16]}.so"


def flags(level: str) -> list[str]:
    """The compiler's flags for a level."""
    return [*FLAGS, *(f"-m{feature}" for feature in LEVELS[level])]


def compile_library(
    source: str, level: str, file: Path, run: Callable[[list[str]], subprocess.CompletedProcess[str]]
) -> None:
    """Compile a library.

    Args:
        source: ROWS or DETECTORS.
        level: of LEVELS.
        file: where it will be; whoever finds it there finds it whole.
        run: runs a command and takes its errors.

    Raises:
        NoCore: there is no compiler, or it cannot be started, fails, or does not come to an end.
    """
    if shutil.which(COMPILER) is None:
        raise NoCore(f"{COMPILER} is not on the path")
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        part = Path(folder, file.name)
        try:
            done = run([COMPILER, *flags(level), str(FOLDER / source), "-o", str(part)])
        except OSError as error:
            raise NoCore(f"{COMPILER} cannot be started ({error.strerror})") from error
        except subprocess.TimeoutExpired as error:
            raise NoCore(f"{COMPILER} has not compiled the core within {error.timeout} s") from None
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
            raise NoCore(f"{COMPILER} fails: {said[0]}")
        part.replace(file)


def _cpu_features() -> set[str]:
    """What the system says that its first CPU can do, nothing where it does not say so as Linux on x86 does."""
    if not CPU_INFORMATION.exists():
        return set()
    lines = CPU_INFORMATION.read_text(encoding="utf-8", errors="replace").splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
