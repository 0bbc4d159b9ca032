"""Files of images as one array: looked at, then read, in as many threads as there are cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.listed import SKIP, Listed, fault
from lossfleet.runners.images.pictures import Allocate, Pictures, coded
from lossfleet.runners.images.pixels import Images, Shape
from lossfleet.runners.portable.images import BrokenImage, Header, read_header, read_pixels
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.report import shortened

Result = TypeVar("Result")


def decode(
    listed: Listed,
    faults: Faults,
    allocate: Allocate,
    *,
    size: int | None,
    channels: int | None,
    broken: str,
) -> Pictures:
    """The pictures of listed files.

    Args:
        listed: the files.
        faults: has those of the listing, and is told here with those of the files.
        allocate: makes the array of pixels.
        size: height and width to resize to; None for images of one size.
        channels: 1 for grey and 3 for colour; None for what the files have: colour unless all are grey.
        broken: `skip` leaves out files that cannot be read, and says so.

    Raises:
        UserError: all faults together.
    """
    paths = [listed.root / name for name in listed.names]
    headers = in_threads(attempt(read_header), paths)
    seen = [each for each in headers if isinstance(each, Header)]
    shape = None
    with faults.collected():
        shape = _common_shape(listed, headers, size=size, channels=channels)
    pixels = None
    if shape is not None and seen and not faults:
        pixels = allocate((len(paths), int(np.prod(shape))), np.uint8)

    def read(place: int) -> BrokenImage | None:
        header = headers[place]
        if isinstance(header, BrokenImage):
            return header
        found = attempt(read_pixels)(paths[place], shape or (3, header.height, header.width))
        if isinstance(found, BrokenImage):
            return found
        if pixels is not None:
            pixels[place] = found.ravel()
        return None

    wrong = {
        place: str(error)
        for place, error in enumerate(in_threads(read, range(len(paths))))
        if error is not None
    }
    if broken != SKIP:
        for place, reason in wrong.items():
            with faults.collected():
                raise fault(
                    f"{listed.names[place]} {reason}", "a whole image of one picture", "mend it, take it out"
                )
    faults.tell()
    kept = np.array([place for place in range(len(paths)) if place not in wrong], np.int64)
    if not kept.size or pixels is None or shape is None:
        raise UserError(
            what=f"{listed.root.name} has no image that can be used",
            expected="JPEG, PNG, BMP, TIFF or WebP",
            hint="correct data.path",
        )
    notes = list(listed.notes)
    if wrong:
        named = shortened([f"{listed.names[place]} {reason}" for place, reason in wrong.items()])
        notes.append(f"{len(wrong)} of {len(paths)} images left out that cannot be used: {named}")
    labels, names = coded([listed.classes[place] for place in kept])
    return Pictures(
        Images(pixels, kept, shape),
        labels,
        names,
        (*listed.said, *_said(seen, shape)),
        (*notes, *changes(seen, is_grey=shape[0] == 1)),
        parts=None if listed.parts is None else np.array(listed.parts, np.int8)[kept],
        groups=None if listed.groups is None else coded(listed.groups)[0][kept],
        files=tuple(listed.names[place] for place in kept),
    )


def _common_shape(
    listed: Listed, headers: Sequence[Header | BrokenImage], *, size: int | None, channels: int | None
) -> Shape | None:
    """The shape that all images get; None where there is none to take it from.

    Raises:
        UserError: images of different sizes, and no size to resize to.
    """
    first: dict[tuple[int, int], str] = {}
    for name, header in zip(listed.names, headers, strict=True):
        if isinstance(header, Header):
            first.setdefault((header.height, header.width), name)
    if not first:
        return None
    seen = [each for each in headers if isinstance(each, Header)]
    channels = channels or (1 if all(each.is_grey for each in seen) else 3)
    if size is not None:
        return channels, size, size
    if len(first) > 1:
        (one, another), (name, other) = list(first)[:2], list(first.values())[:2]
        shortest = min(min(each) for each in first)
        raise UserError(
            what=f"{name} is {one[1]} x {one[0]} pixels and {other} {another[1]} x {another[0]}, as {len(first)} sizes "
            "there are",
            expected="images of one size, or data.size to resize them to",
            hint=f"write for example data.size={min(shortest, 32)}",
        )
    return channels, *next(iter(first))


def _said(headers: Sequence[Header], shape: Shape) -> list[str]:
    channels, height, width = shape
    said = [f"{width} x {height} pixels", "grey" if channels == 1 else "colour"]
    sizes = {(each.height, each.width) for each in headers}
    if sizes != {(height, width)}:
        smallest, largest = (f"{w} x {h}" for h, w in (min(sizes), max(sizes)))
        said[0] += f", resized from {smallest}" + (f" to {largest}" if len(sizes) > 1 else "")
    return said


def changes(headers: Sequence[Header], *, is_grey: bool) -> list[str]:
    """What of the images is not in their pixels any more."""
    coloured = sum(not each.is_grey for each in headers)
    counts = {
        "have transparency, which is left out": sum(each.is_transparent for each in headers),
        "have 16 bits a pixel, of which the upper 8 are taken": sum(
            each.has_sixteen_bits for each in headers
        ),
        "have colours, and are made grey": coloured if is_grey else 0,
        "are grey, and are read as the others in colour": 0 if is_grey else len(headers) - coloured,
    }
    return [f"{count} of {len(headers)} images {what}" for what, count in counts.items() if count]


def attempt(read: Callable[..., Result]) -> Callable[..., Result | BrokenImage]:
    """The same, which gives a BrokenImage back where it would raise it."""

    def attempted(*arguments: object) -> Result | BrokenImage:
        try:
            return read(*arguments)
        except BrokenImage as error:
            return error

    return attempted


def in_threads(work: Callable[..., Result], items: Iterable[object]) -> list[Result]:
    """What the work makes of each item, by as many threads as there are cores."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return list(threads.map(work, items))
