"""Scenes made of scikit-learn's digits: objects of several sizes, few and far between, among pieces of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from lossfleet.conf.errors import UserError
from lossfleet.runners.detection.dataset import SceneDataset, scene_dataset
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.streams import Stream, generator

# Pixels that digits, which are 8 x 8, are enlarged to.
SIDES = (10, 12, 14, 17, 20, 24, 28)
# Density and clutter are counts in a square of this side.
UNIT = 64
# A digit is in scenes of one source alone: no test scene shows one that training has seen.
SOURCES = 20
# A piece of a 1 looks like all of another one.
PIECED = (0, 2, 3, 4, 5, 6, 7, 8, 9)
# Places tried for a digit, and how much of the smaller of two boxes the other may cover.
TRIES, MOST_SHARED = 30, 0.1
# An enlarged digit is nothing below the first share of full strength and opaque from the second; where it covers less
# than the third of a pixel it leaves it alone, so that all that it changes can be seen.
NOTHING, OPAQUE, LEAST_COVERED = 0.35, 0.8, 0.125
# Grey levels: a canvas with its texture and noise, and the least and the most that a digit differs from it; the
# texture has so many blotches from edge to edge.
BLOTCHES = 5
CANVAS, TEXTURE, NOISE, CONTRAST = (40, 215), 18, 7, (60, 110)

Count = Annotated[float, Ge(0)]
Box = tuple[int, int, int, int]


def make_scenes(
    images: Annotated[int, Ge(1)] = 5000,
    size: Annotated[int, Ge(32)] = 64,
    density: Count = 2.0,
    classes: Annotated[int, Ge(1), Le(10)] = 10,
    imbalance: Annotated[float, Ge(1)] = 1.0,
    clutter: Count = 6.0,
    seed: Annotated[int, Ge(0)] = 0,
) -> SceneDataset:
    """The scenes of `data=scenes`: digits of several sizes on a canvas with texture, noise and pieces of other digits.

    A pixel is ink where the digit covers at least an eighth of it, and others stay as they are: a box has all pixels
    that its digit changes, and some along each of its sides. The first scenes of a seed are the same, however many are
    made.

    Args:
        images: the scenes.
        size: height and width, in pixels.
        density: digits in 64 x 64 pixels, the mean of a Poisson distribution: some scenes have none.
        classes: the digits from 0 on.
        imbalance: how many times as likely the first class is as the last; those between fall geometrically.
        clutter: pieces of digits in 64 x 64 pixels, as `density`; they are no objects.
        seed: of all that is drawn.

    Returns:
        Grey scenes; a source is a set of digits, which no other source shows.

    Raises:
        UserError: there is no digit in any of them.
    """
    glyphs = _glyphs()
    shares = imbalance ** (-np.arange(classes) / max(1, classes - 1))
    likely = shares / shares.sum()
    units = (size / UNIT) ** 2
    pixels = np.empty((images, 1, size, size), np.uint8)
    boxes, labels, left_out = [], [], 0
    for image in range(images):
        random = generator(Stream.SCENES, seed, image)
        canvas = _Canvas(size, random)
        source = image % SOURCES
        count = random.poisson(density * units)
        wanted = random.choice(classes, count, p=likely)
        placed = [
            label
            for label, chance in zip(wanted, random.random((count, 2)), strict=True)
            if canvas.place(glyphs.digit(source, label, chance))
        ]
        for chance in random.random((random.poisson(clutter * units), 5)):
            canvas.scatter(glyphs.piece(source, chance))
        pixels[image, 0] = canvas.pixels()
        boxes.append(np.array(canvas.boxes, np.float32).reshape(-1, 4))
        labels.append(np.array(placed, np.int32))
        left_out += len(wanted) - len(placed)
    scenes = Scenes(
        pixels,
        tuple(boxes),
        tuple(labels),
        tuple(map(str, range(classes))),
        np.arange(images) % SOURCES,
    )
    if not scenes.class_counts.any():
        raise UserError(
            what=f"data.images={images} scenes of data.density={density} have no digit",
            expected="digits to find",
            hint="write data.density=2",
        )
    count = int(scenes.class_counts.sum())
    notes = [f"{left_out} of {count + left_out} digits left out, which found no place"] if left_out else []
    empty = sum(not len(each) for each in labels)
    said = (
        f"{size} x {size} pixels",
        "grey",
        f"{count:,} digits of {classes} classes",
        f"{empty:,} scenes without any",
    )
    return scene_dataset(
        "scenes", scenes, source="scikit-learn's digits, pasted on a canvas", said=said, notes=notes
    )


@dataclass(frozen=True, eq=False)
class _Glyphs:
    """Enlarged digits.

    Fields: covered, by side, (1797, side, side) float32 in 0..1; ink, by side, (1797, 4) the smallest windows x1, y1,
    x2, y2 that have all of it; numbers, of each source and class those of its digits; discs, by side, 1 within a circle
    of half of it.
    """

    covered: dict[int, np.ndarray]
    ink: dict[int, np.ndarray]
    numbers: list[list[np.ndarray]]
    discs: dict[int, np.ndarray]

    def digit(self, source: int, label: int, chance: np.ndarray) -> np.ndarray:
        """One of a class at some size, (height, width), cut to its ink; chance (2,) in 0..1 says which."""
        side, number = _pick(SIDES, chance[0]), _pick(self.numbers[source][label], chance[1])
        x1, y1, x2, y2 = self.ink[side][number]
        return self.covered[side][number, y1:y2, x1:x2]

    def piece(self, source: int, chance: np.ndarray) -> np.ndarray:
        """What is in a circle on some digit but a 1, at some size; chance (5,) in 0..1 says which."""
        side = _pick(SIDES, chance[0])
        number = _pick(self.numbers[source][_pick(PIECED, chance[1])], chance[2])
        x, y = (chance[3:] * (side // 2 + 1)).astype(int)
        return self.covered[side][number, y : y + side // 2, x : x + side // 2] * self.discs[side]


def _pick(values: Sequence[Any] | np.ndarray, chance: float) -> Any:
    """One of some values, as a number in 0..1 says; NumPy's own choice takes ten times as long."""
    return values[int(chance * len(values))]


@cache
def _glyphs() -> _Glyphs:
    from sklearn.datasets import load_digits

    digits, targets = load_digits(return_X_y=True)
    covered = {side: _covered(digits.reshape(-1, 8, 8) / 16, side) for side in SIDES}
    of_class = [np.flatnonzero(targets == label) for label in range(10)]
    numbers = [[own[source::SOURCES] for own in of_class] for source in range(SOURCES)]
    return _Glyphs(
        covered,
        {side: _windows(each > 0) for side, each in covered.items()},
        numbers,
        {side: _disc(side // 2) for side in SIDES},
    )


def _covered(digits: np.ndarray, side: int) -> np.ndarray:
    """How much of each pixel digits (N, 8, 8) cover, enlarged bilinearly to (N, side, side)."""
    weights = _bilinear(8, side)
    strength = weights @ digits @ weights.T
    covered = np.clip((strength - NOTHING) / (OPAQUE - NOTHING), 0, 1).astype(np.float32)
    covered[covered < LEAST_COVERED] = 0
    return covered


@cache
def _bilinear(count: int, size: int) -> np.ndarray:
    """(size, count): how much of each of so many samples is in each of more pixels; beyond the ends it fades."""
    places = (np.arange(size) + 0.5) * count / size - 0.5
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count)))


def _windows(ink: np.ndarray) -> np.ndarray:
    """The smallest windows (N, 4) around the ink (N, side, side) bool."""
    columns, rows = ink.any(axis=1), ink.any(axis=2)
    side = ink.shape[1]
    first = [each.argmax(axis=1) for each in (columns, rows)]
    last = [side - each[:, ::-1].argmax(axis=1) for each in (columns, rows)]
    return np.stack([*first, *last], axis=1)


def _disc(side: int) -> np.ndarray:
    """(side, side) float32: 1 within a circle, 0 around it, and between them at its edge."""
    places = np.arange(side) - (side - 1) / 2
    distance = np.hypot(places[:, None], places)
    return np.clip(side / 2 - distance + 0.5, 0, 1).astype(np.float32)


class _Canvas:
    """A scene in the making: texture and noise, then pieces of digits, then digits, that cover each other little."""

    def __init__(self, size: int, random: np.random.Generator) -> None:
        self._random = random
        self._level = CANVAS[0] + (CANVAS[1] - CANVAS[0]) * random.random()
        weights = _bilinear(BLOTCHES, size)
        texture = weights @ random.uniform(-TEXTURE, TEXTURE, (BLOTCHES, BLOTCHES)) @ weights.T
        noise = NOISE * random.standard_normal((size, size), np.float32)
        self._grey = (self._level + texture + noise).astype(np.float32)
        self._digits: list[np.ndarray] = []
        self.boxes: list[Box] = []

    def place(self, covered: np.ndarray) -> bool:
        """Note a digit and its box, where it covers little of those so far; whether there was such a place."""
        for _ in range(TRIES):
            box = self._anywhere(covered)
            if self._is_free(box):
                self._digits.append(covered)
                self.boxes.append(box)
                return True
        return False

    def scatter(self, covered: np.ndarray) -> None:
        """Paste a piece where it covers little of the digits; nowhere if its first place is none of these."""
        box = self._anywhere(covered)
        if self._is_free(box):
            self._paste(covered, box)

    def pixels(self) -> np.ndarray:
        """(size, size) uint8, with the digits above everything."""
        for covered, box in zip(self._digits, self.boxes, strict=True):
            self._paste(covered, box)
        return np.clip(np.rint(self._grey), 0, 255).astype(np.uint8)

    def _anywhere(self, covered: np.ndarray) -> Box:
        height, width = covered.shape
        size = len(self._grey)
        x, y = self._random.random(2)
        left, top = int(x * (size - width + 1)), int(y * (size - height + 1))
        return left, top, left + width, top + height

    def _is_free(self, box: Box) -> bool:
        return all(_shared(box, other) <= MOST_SHARED for other in self.boxes)

    def _paste(self, covered: np.ndarray, box: Box) -> None:
        x1, y1, x2, y2 = box
        # Light on a dark canvas, dark on a light one.
        contrast = CONTRAST[0] + (CONTRAST[1] - CONTRAST[0]) * self._random.random()
        ink = self._level + (contrast if self._level < 128 else -contrast)
        there = self._grey[y1:y2, x1:x2]
        there += covered * (ink - there)


def _shared(a: Box, b: Box) -> float:
    """How much of the smaller of two boxes the other covers."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((each[2] - each[0]) * (each[3] - each[1]) for each in (a, b))
