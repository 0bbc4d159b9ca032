"""A folder of a user whose own files have the names of ours, and of what we import."""

from __future__ import annotations

import sys
from pathlib import Path

# The command as it is installed: `python -m` would put the folder on Python's path.
LOSSFLEET = str(Path(sys.executable).with_name("lossfleet"))
OURS = ("conf/__init__.py", "losses.py", "runners/__init__.py", "runners/records.py", "sweeps/__init__.py")
OTHERS = (
    "tests/__init__.py",
    "optuna.py",
    "mlflow.py",
    "numpy.py",
    "random.py",
    "socket.py",
    "yaml.py",
    "ray.py",
)


def folder_with(folder: Path, files: tuple[str, ...] = OURS + OTHERS) -> Path:
    """The folder, with files that say so when they are imported."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"raise RuntimeError('{name} of the user was imported')\n")
    return folder
