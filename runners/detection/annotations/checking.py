"""Annotations held against the images that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lossfleet.conf.errors import one_of
from lossfleet.runners.detection.annotations.photographs import Box, Photograph, Unusable
from lossfleet.runners.portable.images import BrokenImage, Header
from lossfleet.runners.portable.objects.boxes import clip


@dataclass(frozen=True, eq=False)
class Checked:
    """A photograph whose annotations fit its image.

    Fields: path; name; part, or None; header of the image; boxes (M, 4) float64, inside of it; classes, each one's
    name; clipped, how many of them reached beyond it.
    """

    path: Path
    name: str
    part: int | None
    header: Header
    boxes: np.ndarray
    classes: list[str]
    clipped: int


def checked(
    photograph: Photograph, header: Header | BrokenImage, classes: Sequence[str] | None, unusable: Unusable
) -> Checked | None:
    """A photograph with those of its boxes that can be used; None where its image cannot be.

    Args:
        photograph: as annotations have it.
        header: of its image.
        classes: the names of all classes; None where any are right.
        unusable: takes the rest.
    """
    if isinstance(header, BrokenImage):
        leave_out(photograph.name, header, unusable)
        return None
    height, width = header.height, header.width
    said_height, said_width = photograph.size or (height, width)
    if (said_height, said_width) != (height, width):
        unusable.add(
            "photographs",
            f"{photograph.name} has {width} x {height} pixels, and by its annotations {said_width} x {said_height}",
            "annotations of this image",
            "take the image that was annotated",
        )
        return None
    kept = []
    for place, (box, name) in enumerate(zip(photograph.boxes, photograph.classes, strict=True)):
        wrong = _fault_of(box, name, height, width, classes)
        if wrong is None:
            kept.append(place)
        else:
            what, expected = wrong
            unusable.add(
                "boxes", f"{photograph.places[place]}, in {photograph.name}, {what}", expected, "correct it"
            )
    boxes = np.array([photograph.boxes[place] for place in kept], np.float64).reshape(-1, 4)
    inside_of_it = clip(boxes, height, width)
    clipped = int((inside_of_it != boxes).any(axis=1).sum())
    names = [photograph.classes[place] for place in kept]
    return Checked(photograph.path, photograph.name, photograph.part, header, inside_of_it, names, clipped)


def _fault_of(
    box: Box, name: str, height: int, width: int, classes: Sequence[str] | None
) -> tuple[str, str] | None:
    """What is wrong with a box, and what is expected; None where nothing is."""
    x1, y1, x2, y2 = box
    if not np.isfinite(box).all():
        return "lacks a number of its box", "four numbers"
    told = ", ".join(f"{each:g}" for each in box)
    if x2 <= x1 or y2 <= y1:
        return f"is empty: {told}", "a box that ends behind its beginning"
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return f"is outside of the image, which is {width} x {height} pixels: {told}", "a box in its image"
    if not name:
        return "has no class", "the name of a class"
    if classes and name not in classes:
        return f"has the unknown class {name}", one_of(classes, name)
    return None


def leave_out(name: str, error: BrokenImage, unusable: Unusable) -> None:
    """Note an image that cannot be read."""
    unusable.add("photographs", f"{name} {error}", "a whole image of one picture", "mend it, take it out")
