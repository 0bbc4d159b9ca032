"""A folder with a folder of images a class, or with such folders for training, validation and test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.listed import SKIP, Listed, fault
from lossfleet.runners.images.parts import check_parts, part_of
from lossfleet.runners.portable.images import ENDINGS
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.report import shortened

# What systems leave in folders.
LEFT_BY_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx")


def list_folder(root: Path, faults: Faults, *, broken: str) -> Listed:
    """The images of a folder: the folders in it are classes, or parts with a folder a class each.

    Args:
        root: the folder.
        faults: takes those that are found.
        broken: `skip` leaves out what cannot be used, and says so.

    Returns:
        The files by part, class and name; notes say what was left out.

    Raises:
        UserError: there are no folders in it.
    """
    folders, loose = _inside(root)
    if not folders:
        raise UserError(
            what=f"{root.name} has no folders in it",
            expected="a folder of images for each class, or train and test with such folders",
            hint="make a folder a class, or name a CSV of file names and classes with data.path=labels.csv",
        )
    parts = {folder: part_of(folder.name) for folder in folders}
    has_parts = None not in parts.values()
    listed = Listed(root, parts=[] if has_parts else None)
    others: Counter[str] = Counter()
    if has_parts:
        with faults.collected():
            check_parts(root, parts, each="a folder a class")
        listed.said.append(f"parts in the folders {', '.join(folder.name for folder in folders)}")
    for outer in folders if has_parts else [root]:
        inner, more = _inside(outer)
        loose = sorted({*loose, *more})
        for folder in inner:
            _list_class(folder, parts.get(outer), listed, others, faults, broken=broken)
    _settle_loose([each for each in loose if is_image(each)], root, listed, faults, broken=broken)
    others.update(_kind(each) for each in loose if not is_image(each))
    if others:
        kinds = shortened([f"{kind} ({count})" for kind, count in sorted(others.items())])
        listed.notes.append(f"{others.total()} files left out that are no images by their names: {kinds}")
    return listed


def is_image(path: PurePath) -> bool:
    """Whether a file is one by its name."""
    return path.suffix.lower() in ENDINGS and not is_hidden(path.name)


def is_hidden(name: str) -> bool:
    """Whether a system has left a file or folder of this name, or hides it."""
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def _inside(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, hidden folders left out."""
    inside = sorted(folder.iterdir())
    folders = [each for each in inside if each.is_dir()]
    return [each for each in folders if not is_hidden(each.name)], [each for each in inside if each.is_file()]


def all_images(folder: Path) -> Iterator[Path]:
    """The images in a folder and in those within it, by folder and name."""
    return (path for path in all_files(folder) if is_image(path))


def all_files(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those within it."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not is_hidden(each))
        yield from (Path(here) / name for name in sorted(files))


def _list_class(
    folder: Path, part: int | None, listed: Listed, others: Counter[str], faults: Faults, *, broken: str
) -> None:
    before = len(listed.names)
    for path in all_files(folder):
        if not is_image(path):
            others[_kind(path)] += 1
            continue
        listed.names.append(path.relative_to(listed.root).as_posix())
        listed.classes.append(folder.name)
        if listed.parts is not None and part is not None:
            listed.parts.append(part)
    if len(listed.names) > before:
        return
    name = folder.relative_to(listed.root).as_posix()
    if broken == SKIP:
        listed.notes.append(f"the folder {name} has no image, and is left out")
        return
    with faults.collected():
        raise fault(f"the folder {name} has no image", "images of its class", "add some, or remove it")


def _settle_loose(images: list[Path], root: Path, listed: Listed, faults: Faults, *, broken: str) -> None:
    """Images that are in no folder of a class."""
    if not images:
        return
    what = f"{len(images)} image{' is' if len(images) == 1 else 's are'} in no folder of a class: "
    what += shortened([each.relative_to(root).as_posix() for each in images])
    if broken == SKIP:
        listed.notes.append(f"{what}; they are left out")
        return
    with faults.collected():
        raise fault(what, "each image in the folder of its class", "move them")


def _kind(path: PurePath) -> str:
    return path.name if is_hidden(path.name) else path.suffix.lower() or path.name
