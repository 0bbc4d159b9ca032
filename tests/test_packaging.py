"""What is installed is what is here: every package and every file, in a wheel as in the repository."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from setuptools.config.pyprojecttoml import load_file

from lossfleet.runners.training.native.libraries import SOURCES, levels_of_architecture, library_name

ROOT = Path(__file__).parents[1]
ROOMS = ("conf", "losses", "runners", "sweeps")
HYDRA_PLUGIN = Path("sweeps/hydra_plugin")
NATIVE = Path("runners/training/native")
# Compiles nothing, since all levels take a minute of a core.
COMPILER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo library > "$2"
"""


def installed(path: Path) -> Path:
    """Where a path of the repository is installed."""
    if path.is_relative_to(HYDRA_PLUGIN):
        return Path("hydra_plugins/lossfleet") / path.relative_to(HYDRA_PLUGIN)
    return "lossfleet" / path


def test_every_folder_of_modules_is_a_package_that_is_installed():
    folders = [file.parent.relative_to(ROOT) for room in ROOMS for file in (ROOT / room).rglob("__init__.py")]
    packages = load_file(ROOT / "pyproject.toml")["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted(".".join(installed(folder).parts) for folder in folders)


def test_a_wheel_has_every_file_and_the_native_core(tmp_path, monkeypatch):
    compiler = tmp_path / "g++"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    # Elsewhere, since setuptools builds in the folder and takes what an earlier build has left there.
    source = tmp_path / "source"
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    files = [
        path.relative_to(source) for room in ROOMS for path in (source / room).rglob("*") if path.is_file()
    ]
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    libraries = [
        NATIVE / library_name(source, level) for source in SOURCES for level in levels_of_architecture()
    ]
    assert packed == {str(installed(file)) for file in [*files, *libraries]}
    # For every Python on this architecture.
    assert wheel.name.endswith(f"-py3-none-linux_{platform.machine()}.whl")
    suffixes = {"".join(Path(name).suffixes) for name in packed}
    assert suffixes >= {".py", ".yaml", ".html", ".csv.gz"}
