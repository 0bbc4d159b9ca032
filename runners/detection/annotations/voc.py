"""Annotations in Pascal VOC's XML, a file an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lossfleet.runners.detection.annotations.photographs import Box, Photograph, Photographs

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(paths: Sequence[Path], photographs: Photographs) -> None:
    """Add what files of Pascal VOC's XML say: annotation/filename and annotation/object (name, bndbox).

    Pascal VOC counts pixels from 1, and the last one belongs to the box. Where some corner is 0, a tool has written the
    files that counts from 0: then the corners of all of them are taken as they stand. Objects marked difficult count as
    the others. Files with entities, which may grow without end or name other files, are refused.
    """
    found: list[tuple[Photograph, Box, str, str]] = []
    for path in paths:
        root = _parsed(path, photographs)
        photograph = root is not None and photographs.named(_text(root, "filename") or path.stem, path.name)
        if root is None or not photograph:
            continue
        height, width = (_number(root, f"size/{side}") for side in ("height", "width"))
        if 0 < height < math.inf and 0 < width < math.inf:
            photograph.size = int(height), int(width)
        for number, each in enumerate(root.iterfind("object"), start=1):
            x1, y1, x2, y2 = (_number(each, f"bndbox/{corner}") for corner in CORNERS)
            found.append((photograph, (x1, y1, x2, y2), _text(each, "name"), f"{path.name} object {number}"))
    first = 0 if any(0 in box for _, box, _, _ in found) else 1
    for photograph, (x1, y1, x2, y2), name, place in found:
        photograph.add((x1 - first, y1 - first, x2, y2), name, place)
    files = f"{len(paths)} files" if len(paths) > 1 else paths[0].name
    photographs.said.append(f"Pascal VOC's XML in {files}, its pixels counted from {first}")


def _parsed(path: Path, photographs: Photographs) -> Element | None:
    """The root of a file; None if it cannot be used."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, parse

    try:
        root: Element = parse(path).getroot()
    except (ParseError, OSError, ValueError, LookupError) as error:
        reason = "has entities" if isinstance(error, DefusedXmlException) else f"cannot be read ({error})"
    else:
        if root.tag == "annotation":
            return root
        reason = f"begins with <{root.tag}>"
    photographs.unusable.add(
        "files", f"{path.name} {reason}", "Pascal VOC's XML, an <annotation>", "mend it, take it out"
    )
    return None


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(element: Element, path: str) -> float:
    """NaN where there is none."""
    try:
        return float(_text(element, path))
    except ValueError:
        return math.nan
