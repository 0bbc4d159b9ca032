"""Photographs of the user's own with boxes around objects: `data=boxes`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from lossfleet.conf.errors import UserError
from lossfleet.runners.detection.annotations.checking import Checked, checked, leave_out
from lossfleet.runners.detection.annotations.finding import EXPECTED, find_annotations
from lossfleet.runners.detection.annotations.photographs import Unusable
from lossfleet.runners.detection.dataset import SceneDataset, scene_dataset
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.images.decoding import attempt, changes, in_threads
from lossfleet.runners.images.sources import absolute, existing
from lossfleet.runners.portable.images import BrokenImage, read_header, read_pixels
from lossfleet.runners.portable.objects.tiles import cut, inside, windows
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.report import shortened

# Boxes with a shorter side can hardly be found.
SHORTEST = 4
REPEATED = "photographs left out that repeat another exactly, which would leak across parts"
UNNAMED = "images left out that have no annotations"


def read_boxes(
    path: str | None,
    folder: str | None = None,
    classes: tuple[str, ...] | None = None,
    tile: Annotated[int, Ge(16)] | None = None,
    overlap: Annotated[float, Ge(0), Lt(1)] = 0.0,
    size: Annotated[int, Ge(16)] = 64,
    channels: Annotated[int, Ge(1), Le(3)] | None = None,
    broken: Literal["refuse", "skip"] = "refuse",
) -> SceneDataset:
    """The scenes of `data=boxes`: photographs, whole or in tiles, with COCO's JSON, Pascal VOC's XML or a table.

    Args:
        path: a folder with images and annotations, or with train, val and test that each are one; or a file of
            annotations.
        folder: where the names of images start from; None for the folder of the annotations.
        classes: the names of all classes, in their order; None for those that there are, the largest first.
        tile: the side of the squares that photographs are cut into, in their pixels; None to take them whole.
        overlap: the least share of a side that neighbouring tiles have in common.
        size: the side that squares are resized to.
        channels: 1 for grey and 3 for colour; None for what the files have: colour unless all are grey.
        broken: `skip` leaves out what cannot be used, and says so.

    Returns:
        A scene a square. An object belongs to the squares that have its centre; what is beyond their edges is clipped.

    Raises:
        UserError: all faults of all files together.
    """
    where = existing(path, EXPECTED)
    unusable = Unusable(Faults(where.name, expected="annotations without them"), broken)
    found = find_annotations(where, None if folder is None else absolute(folder), unusable)
    headers = in_threads(attempt(read_header), [each.path for each in found.photographs])
    photographs = [
        each
        for each in map(partial(checked, classes=classes, unusable=unusable), found.photographs, headers)
        if each is not None
    ]
    unusable.faults.tell()
    channels = channels or (1 if all(each.header.is_grey for each in photographs) else 3)
    work = partial(_cut, tile=tile, overlap=overlap, size=size, channels=channels)
    done = in_threads(attempt(work), photographs)
    cuts = []
    for photograph, result in zip(photographs, done, strict=True):
        if isinstance(result, BrokenImage):
            leave_out(photograph.name, result, unusable)
        else:
            cuts.append(result)
    unusable.faults.tell()
    cuts, repeated = _without_repeated(cuts)
    names = tuple(classes) if classes else _by_size([each.photograph for each in cuts])
    if not any(len(each) for cut in cuts for each in cut.boxes):
        raise UserError(
            what=f"{where.name} has no box that can be used",
            expected="boxes around objects",
            hint="correct data.path",
        )
    return scene_dataset(
        where.stem,
        _scenes(cuts, names),
        source=f"the photographs of {where.name}",
        said=(*found.said, *_said(cuts, tile, size, channels)),
        notes=(
            *_left_out({**unusable.left_out, REPEATED: repeated, UNNAMED: found.others}),
            *_changed(cuts, size),
            *changes([each.photograph.header for each in cuts], is_grey=channels == 1),
        ),
        parts=_parts(cuts),
        photographs=tuple(each.photograph.name for each in cuts),
    )


@dataclass(frozen=True, eq=False)
class _Cut:
    """Squares of a photograph.

    Fields: photograph; digest of its pixels; images (n, channels, size, size); boxes of each, as `Scenes` has them, and
    objects, which of the photograph's they are; clipped, how many boxes are so at the edges of tiles.
    """

    photograph: Checked
    digest: bytes
    images: np.ndarray
    boxes: list[np.ndarray]
    objects: list[np.ndarray]
    clipped: int


def _by_size(photographs: Sequence[Checked]) -> tuple[str, ...]:
    """The names of the classes, the largest first, equal ones by name."""
    counts = Counter(name for each in photographs for name in each.classes)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def _cut(photograph: Checked, *, tile: int | None, overlap: float, size: int, channels: int) -> _Cut:
    """The squares of a photograph.

    Raises:
        BrokenImage: it cannot be read.
    """
    header = photograph.header
    pixels = read_pixels(photograph.path, (channels, header.height, header.width))
    squares = windows(header.height, header.width, tile, overlap)
    objects, boxes, clipped = zip(
        *(inside(photograph.boxes, window, size) for window in squares), strict=True
    )
    return _Cut(
        photograph,
        hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest(),
        np.stack([cut(pixels, window, size) for window in squares]),
        list(boxes),
        list(objects),
        sum(clipped),
    )


def _without_repeated(cuts: Sequence[_Cut]) -> tuple[list[_Cut], list[str]]:
    """Those of photographs that no earlier one equals, and what is said of the rest."""
    first: dict[bytes, _Cut] = {}
    repeated = []
    for each in cuts:
        if first.setdefault(each.digest, each) is not each:
            repeated.append(f"{each.photograph.name} repeats {first[each.digest].photograph.name}")
    return list(first.values()), repeated


def _scenes(cuts: Sequence[_Cut], names: tuple[str, ...]) -> Scenes:
    return Scenes(
        np.concatenate([each.images for each in cuts]),
        tuple(boxes for each in cuts for boxes in each.boxes),
        tuple(
            np.array([names.index(each.photograph.classes[place]) for place in objects], np.int32)
            for each in cuts
            for objects in each.objects
        ),
        names,
        np.repeat(np.arange(len(cuts)), [len(each.images) for each in cuts]),
    )


def _parts(cuts: Sequence[_Cut]) -> np.ndarray | None:
    parts = [each.photograph.part for each in cuts for _ in each.images]
    return None if None in parts else np.array(parts, np.int8)


def _said(cuts: Sequence[_Cut], tile: int | None, size: int, channels: int) -> list[str]:
    boxes = np.concatenate([boxes for each in cuts for boxes in each.boxes])
    width, height = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    objects = sum(len(each.photograph.boxes) for each in cuts)
    squares = sum(len(each.images) for each in cuts)
    return [
        f"{len(cuts):,} photograph{'s' if len(cuts) > 1 else ''}"
        + (f" in {squares:,} tiles of {tile} x {tile} pixels" if tile else ""),
        f"resized to {size} x {size}",
        "grey" if channels == 1 else "colour",
        f"{objects:,} boxes" + (f", {len(boxes):,} in tiles" if tile else ""),
        f"the median {width:.0f} x {height:.0f}",
    ]


def _left_out(reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each kind of what was left out."""
    return [f"{kind} ({len(own):,}): {shortened(own)}" for kind, own in reasons.items() if own]


def _changed(cuts: Sequence[_Cut], size: int) -> list[str]:
    """A line for each kind of change."""
    boxes = np.concatenate([boxes for each in cuts for boxes in each.boxes])
    short = int(((boxes[:, 2:] - boxes[:, :2]).min(axis=1) < SHORTEST).sum())
    counts = {
        "boxes clipped at the edges of their photographs": sum(each.photograph.clipped for each in cuts),
        "boxes clipped at the edges of their tiles": sum(each.clipped for each in cuts),
        f"boxes are less than {SHORTEST} pixels wide or high once resized to data.size={size}; smaller tiles "
        "(data.tile) make them larger": short,
    }
    return [f"{count:,} of {len(boxes):,} {what}" for what, count in counts.items() if count]
