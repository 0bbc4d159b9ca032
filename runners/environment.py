"""Where a sweep ran: versions, git commit and machine, as short strings for tags."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

LIBRARIES = ("mindspore", "numpy", "optuna", "mlflow", "scikit-learn", "imbalanced-learn")


def environment() -> dict[str, str]:
    """Versions of lossfleet, Python and the libraries, the git commit and its dirty flag, the machine."""
    found = {"lossfleet": version("lossfleet"), "python": platform.python_version()}
    found |= {library: version(library) for library in LIBRARIES}
    commit = _git("rev-parse", "HEAD")
    if commit:
        found |= {"git_commit": commit, "git_dirty": str(bool(_git("status", "--porcelain"))).lower()}
    return found | {"machine": f"{processor()}, {os.cpu_count()} cores", "platform": platform.platform()}


def version(package: str) -> str:
    """The installed version of a package, or `not installed`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def cache_folder() -> Path:
    """The user's folder for what is compiled once and kept.

    Raises:
        RuntimeError: the user has no home.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "lossfleet"


def memory(root: Path = Path("/")) -> int:
    """The memory that this process may take, in bytes: the machine's, or what a container leaves of it.

    Args:
        root: where `proc` and `sys` are.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        # The second version of control groups has no controllers here, and one folder for all.
        top = root / ("sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup")
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        place = top / path.lstrip("/")
        # A limit holds for what is below it, too; in a container the folder may be known outside alone.
        for folder in (place, *place.parents):
            if folder.is_relative_to(top):
                with suppress(OSError, ValueError):
                    limits.append(int((folder / file).read_text()))
    return min(limits)


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
