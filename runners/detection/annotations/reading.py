"""Photographs of the user's own with boxes around objects: `data=boxes`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.subsets import beyond
from lossfleet.runners.detection.annotations.checking import Checked, checked
from lossfleet.runners.detection.annotations.finding import EXPECTED, find_annotations
from lossfleet.runners.detection.annotations.photographs import Unusable, lines_of
from lossfleet.runners.detection.annotations.squares import Cutting, Squares, read_squares
from lossfleet.runners.detection.dataset import SceneDataset, rarest_classes, scene_dataset
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.images.decoding import attempt, changes, in_threads
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.images.sources import absolute, existing
from lossfleet.runners.portable.images import read_header
from lossfleet.runners.tables.faults import Faults

# Boxes with a shorter side can hardly be found.
SHORTEST = 4
SMALLEST_TILE = 16
# Shorter sides of boxes, in pixels: photographs are taken whole where the median has so many, else cut so that it has
# these.
ENOUGH, WANTED = 8, 16
UNNAMED = "images left out that have no annotations"


def read_boxes(
    path: str | None,
    folder: str | None = None,
    classes: tuple[str, ...] | None = None,
    tile: Annotated[int, Ge(16)] | Literal["auto"] | None = "auto",
    overlap: Annotated[float, Ge(0), Lt(1)] = 0.0,
    size: Annotated[int, Ge(16)] = 64,
    channels: Annotated[int, Ge(1), Le(3)] | None = None,
    broken: Literal["refuse", "skip"] = "refuse",
    limit: Annotated[int, Ge(1)] | None = None,
) -> SceneDataset:
    """The scenes of `data=boxes`: photographs, whole or in tiles, with COCO's JSON, Pascal VOC's XML or a table.

    Args:
        path: a folder with images and annotations, or with train, val and test that each are one; or a file of
            annotations.
        folder: where the names of images start from; None for the folder of the annotations.
        classes: the names of all classes, in their order; None for those that there are, the largest first.
        tile: the side of the squares that photographs are cut into, in their pixels; None to take them whole; `auto`
            for `suited_tile`.
        overlap: the least share of a side that neighbouring tiles have in common.
        size: the side that squares are resized to.
        channels: 1 for grey and 3 for colour; None for what the files have: colour unless all are grey.
        broken: `skip` leaves out what cannot be used, and says so.
        limit: about so many photographs, drawn from each class and part alike by their rarest classes; None for all.

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
    _check_boxes(where, photographs)
    photographs, notes = _limited(photographs, classes, limit)
    channels = channels or (1 if all(each.header.is_grey for each in photographs) else 3)
    side = suited_tile(photographs, size) if tile == "auto" else tile
    cutting = Cutting(side, overlap, size, channels)
    pictures = read_squares(where, photographs, cutting, broken)
    squares = [Squares.of(photographs[place], cutting) for place in np.unique(pictures.labels)]
    kept = [each.photograph for each in squares]
    _check_boxes(where, kept)
    return scene_dataset(
        where.stem,
        _scenes(pictures.images, squares, tuple(classes or _by_size(kept))),
        source=f"the photographs of {where.name}",
        said=(*found.said, *_said(squares, cutting, is_suited=tile == "auto")),
        notes=(
            *lines_of({**unusable.left_out, UNNAMED: found.others}),
            *notes,
            *pictures.notes,
            *_changed(squares, size),
            *changes([each.header for each in kept], is_grey=channels == 1),
        ),
        parts=_parts(kept, [len(each) for each in squares]),
        photographs=tuple(each.name for each in kept),
        tile=side,
    )


def suited_tile(photographs: Sequence[Checked], size: int) -> int | None:
    """The side of tiles by the boxes, whatever their part: None, for whole photographs, where the median of their
    shorter sides is `ENOUGH` pixels once resized, else so many pixels that it is `WANTED`.

    Args:
        photographs: with a box at least.
        size: the side that squares are resized to.
    """
    sides = [(each.boxes[:, 2:] - each.boxes[:, :2]).min(axis=1) for each in photographs]
    scales = [size / max(each.header.height, each.header.width) for each in photographs]
    resized = np.concatenate([own * scale for own, scale in zip(sides, scales, strict=True)])
    if np.median(resized) >= ENOUGH:
        return None
    return max(SMALLEST_TILE, round(size * float(np.median(np.concatenate(sides))) / WANTED))


def _check_boxes(where: Path, photographs: Sequence[Checked]) -> None:
    if not any(len(each.boxes) for each in photographs):
        raise UserError(
            what=f"{where.name} has no box that can be used",
            expected="boxes around objects",
            hint="correct data.path",
        )


def _by_size(photographs: Sequence[Checked]) -> tuple[str, ...]:
    """The names of the classes, the largest first, equal ones by name."""
    counts = Counter(name for each in photographs for name in each.classes)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def _limited(
    photographs: list[Checked], classes: Sequence[str] | None, limit: int | None
) -> tuple[list[Checked], list[str]]:
    """About so many of the photographs, by their rarest classes, and what is said of it."""
    if limit is None or limit >= len(photographs):
        return photographs, []
    names = classes or _by_size(photographs)
    labels = [np.array([names.index(name) for name in each.classes], np.int32) for each in photographs]
    rarest = rarest_classes(labels, np.bincount(np.concatenate(labels), minlength=len(names)))
    rows, note = beyond(limit, rarest, _parts(photographs, [1] * len(photographs)), "photographs")
    kept = np.delete(np.arange(len(photographs)), rows)
    return [photographs[place] for place in kept], [note]


def _scenes(images: Images, squares: Sequence[Squares], names: tuple[str, ...]) -> Scenes:
    return Scenes(
        images.pixels[: len(images)].reshape(-1, *images.image_shape),
        tuple(boxes for each in squares for boxes in each.boxes),
        tuple(
            np.array([names.index(each.photograph.classes[place]) for place in objects], np.int32)
            for each in squares
            for objects in each.objects
        ),
        names,
        np.repeat(np.arange(len(squares)), [len(each) for each in squares]),
    )


def _parts(photographs: Sequence[Checked], counts: Sequence[int]) -> np.ndarray | None:
    """The part of each of so many squares of photographs; None where nothing gives them."""
    parts = [each.part for each in photographs]
    return None if None in parts else np.repeat(np.array(parts, np.int8), counts)


def _said(squares: Sequence[Squares], cutting: Cutting, *, is_suited: bool) -> list[str]:
    boxes = np.concatenate([boxes for each in squares for boxes in each.boxes])
    width, height = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    objects = sum(len(each.photograph.boxes) for each in squares)
    count = sum(map(len, squares))
    tile, size = cutting.tile, cutting.size
    return [
        f"{len(squares):,} photograph{'s' if len(squares) > 1 else ''}"
        + (f" in {count:,} tiles of {tile} x {tile} pixels" if tile else "")
        + (" (data.tile=auto)" if tile and is_suited else ""),
        f"resized to {size} x {size}",
        "grey" if cutting.channels == 1 else "colour",
        f"{objects:,} boxes" + (f", {len(boxes):,} in tiles" if tile else ""),
        f"the median {width:.0f} x {height:.0f}",
    ]


def _changed(squares: Sequence[Squares], size: int) -> list[str]:
    """A line for each kind of change."""
    boxes = np.concatenate([boxes for each in squares for boxes in each.boxes])
    short = int(((boxes[:, 2:] - boxes[:, :2]).min(axis=1) < SHORTEST).sum())
    counts = {
        "boxes clipped at the edges of their photographs": sum(each.photograph.clipped for each in squares),
        "boxes clipped at the edges of their tiles": sum(each.clipped for each in squares),
        f"boxes are less than {SHORTEST} pixels wide or high once resized to data.size={size}; smaller tiles "
        "(data.tile) make them larger": short,
    }
    return [f"{count:,} of {len(boxes):,} {what}" for what, count in counts.items() if count]
