"""The native core in setuptools: compiled where lossfleet is installed, and left out where that cannot be.

Setuptools loads this file by its path in pyproject.toml, before lossfleet can be imported.
"""

from __future__ import annotations

import os
import runpy
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# By its path too: an import would find an earlier installation, or none.
core = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("libraries.py"))))


class BuildCore(build_ext):
    """Compiles the libraries: in an editable installation for this machine, in a wheel for all levels."""

    def run(self) -> None:
        """Compile what is not there yet, all at once; where that fails say what is slower."""
        folder = core.FOLDER if self.inplace else self._packed_folder()
        folder.mkdir(parents=True, exist_ok=True)
        current = {
            core.library_name(source, level): (source, level)
            for source in core.SOURCES
            for level in core.levels_of_architecture()
        }
        for file in folder.glob("*.so"):
            if file.name not in current:
                file.unlink()
        missing = [
            (source, level, folder / name)
            for name, (source, level) in current.items()
            if not (folder / name).exists() and (level == core.level_here() or not self.inplace)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as executor:
            obstacles = list(filter(None, executor.map(lambda each: obstacle(*each), missing)))
        if obstacles:
            self.warn(
                f"lossfleet trains several times as slowly, since its native core is not compiled: {obstacles[0]}; "
                f"once {core.COMPILER} is there the first sweep compiles it"
            )

    def get_outputs(self) -> list[str]:
        """The libraries in the wheel."""
        return list(self.get_output_mapping()) or [str(file) for file in self._packed_folder().glob("*.so")]

    def get_output_mapping(self) -> dict[str, str]:
        """Where an editable installation has each library that would be in the wheel."""
        if not self.inplace:
            return {}
        return {str(self._packed_folder() / file.name): str(file) for file in core.FOLDER.glob("*.so")}

    def _packed_folder(self) -> Path:
        return Path(self.build_lib, *self.extensions[0].name.split(".")[:-1])


class PlatformWheel(bdist_wheel):
    """A wheel for every Python: the libraries are of an architecture, and no modules."""

    def get_tag(self) -> tuple[str, str, str]:
        """The tags of Python, its binary interface, and the platform."""
        return "py3", "none", super().get_tag()[2]


def obstacle(source: str, level: str, file: Path) -> str | None:
    """Compile a library into a file; returns why that cannot be, or None."""
    try:
        core.compile_library(
            source, level, file, lambda command: subprocess.run(command, capture_output=True, text=True)
        )
    except core.NoCore as error:
        return str(error)
    return None
