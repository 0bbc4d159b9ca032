"""Folders of the user's and of installed packages that hold parts: YAML files of config groups, and their code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import part_names
from lossfleet.conf.signature import find_module

# An installed package of this group of entry points has a folder `conf` beside its code.
PLUGINS = "lossfleet.plugins"


@contextmanager
def importable(folders: Sequence[str]) -> Iterator[list[Path]]:
    """Lets what the user has in folders be imported meanwhile, here and in the processes that are started.

    Installed packages come first, so that a file of the user's never takes the place of one of theirs.

    Args:
        folders: as they were given.

    Yields:
        The folders that hold YAML files: those of the user's, then those of installed packages.

    Raises:
        UserError: no such folder, or a file in it that has the name of one of lossfleet's own.
    """
    paths = [_checked(folder) for folder in folders]
    added = [str(path) for path in paths if str(path) not in sys.path]
    sys.path += added
    try:
        yield [*paths, *plugin_folders()]
    finally:
        sys.path[:] = [entry for entry in sys.path if entry not in added]
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and any(Path(file).is_relative_to(folder) for folder in added):
                del sys.modules[name]


def plugin_folders() -> list[Path]:
    """The `conf` folders of the packages that are installed as plugins."""
    found = []
    for plugin in entry_points(group=PLUGINS):
        spec = find_module(plugin.value)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(location) / "conf").is_dir():
                found.append(_checked(str(Path(location) / "conf")))
    return found


def _checked(folder: str) -> Path:
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise UserError(
            what=f"--config-dir is {folder}, and there is no such folder",
            expected="a folder with config groups, such as loss/ and strategy/",
            hint="correct the path; it starts from the working directory",
        )
    for file in sorted(path.glob("*/*.yaml")):
        if file.stem in part_names(file.parent.name):
            raise UserError(
                what=f"{file} has the name of lossfleet's own {file.parent.name} {file.stem}",
                expected="a name of its own, so that each name has one meaning",
                hint=f"name it for example my_{file.name}",
            )
    return path
