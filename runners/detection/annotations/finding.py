"""Which annotations a folder or a file is, and of which photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lossfleet.conf.errors import UserError
from lossfleet.runners.detection.annotations.coco import read_coco
from lossfleet.runners.detection.annotations.photographs import Photograph, Photographs, Unusable
from lossfleet.runners.detection.annotations.table import read_table
from lossfleet.runners.detection.annotations.voc import read_voc
from lossfleet.runners.images.folders import all_files, is_hidden
from lossfleet.runners.images.parts import check_parts, part_of
from lossfleet.runners.tables.report import shortened

XML, JSON, TABLE = ".xml", ".json", ".csv"
EXPECTED = "a folder of images with COCO's JSON, Pascal VOC's XML or a table in CSV, or such a file"


@dataclass(frozen=True, eq=False)
class Found:
    """Fields: photographs that are annotated; said, in what files; others, images that no annotation names."""

    photographs: list[Photograph]
    said: list[str]
    others: list[str]


def find_annotations(where: Path, folder: Path | None, unusable: Unusable) -> Found:
    """The annotated photographs of a folder, of the parts in it, or of a file of annotations.

    Args:
        where: the folder or file.
        folder: where the names of images start from, of a file; None for its folder.
        unusable: takes what cannot be used.

    Raises:
        UserError: there are no annotations, or of several kinds.
    """
    if where.is_file():
        return _read([where], Photographs(folder or where.parent, unusable))
    if folder is not None:
        raise UserError(
            what=f"data.folder is for a file of annotations, and data.path is the folder {where.name}",
            expected="a file of annotations",
            hint="leave data.folder out, or name the file with data.path=...",
        )
    parts = {
        each: part
        for each in sorted(where.iterdir())
        if each.is_dir() and (part := part_of(each.name)) is not None
    }
    if not parts:
        return _read(_annotations_in(where), Photographs(where, unusable))
    check_parts(where, parts, each="images and annotations")
    found = [
        _read(_annotations_in(each), Photographs(each, unusable, prefix=f"{each.name}/", part=part))
        for each, part in parts.items()
    ]
    return Found(
        [photograph for each in found for photograph in each.photographs],
        [f"{folder.name}: {line}" for folder, each in zip(parts, found, strict=True) for line in each.said],
        [name for each in found for name in each.others],
    )


def _read(files: list[Path], photographs: Photographs) -> Found:
    """What files of one kind say."""
    kind = files[0].suffix.lower()
    if kind == XML:
        read_voc(files, photographs)
    elif kind == JSON:
        read_coco(files[0], photographs)
    else:
        read_table(files[0], photographs)
    return Found(photographs.all(), photographs.said, photographs.others())


def _annotations_in(folder: Path) -> list[Path]:
    """The files of annotations in a folder and in those within it: XML, or one other.

    Raises:
        UserError: there are none, or several.
    """
    inside = (path for path in all_files(folder) if not is_hidden(path.name))
    found = [path for path in inside if path.suffix.lower() in (XML, JSON, TABLE)]
    if not found:
        raise UserError(
            what=f"{folder.name} has no annotations in it", expected=EXPECTED, hint="correct data.path"
        )
    if len(found) > 1 and any(path.suffix.lower() != XML for path in found):
        names = [path.relative_to(folder).as_posix() for path in found]
        one = next(name for name in names if not name.lower().endswith(XML))
        raise UserError(
            what=f"{folder.name} has {len(found)} files that may be annotations: {shortened(names)}",
            expected="those of one kind: XML, or one JSON or CSV",
            hint=f"write data.path={folder.name}/{one}, or take out the others",
        )
    return found
