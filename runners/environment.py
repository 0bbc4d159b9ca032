"""Where a sweep ran: versions, git commit and machine, as short strings for tags."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata

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


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
