"""Sheets of images to look at: of each class, what augmentation makes of them, and what was taken for what."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lossfleet.conf.parts import Part
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.images.pixels import Images, StandardisedImages
from lossfleet.runners.images.words import words_in
from lossfleet.runners.streams import Stream, generator
from lossfleet.sweeps.report.figures.letters import lettered
from lossfleet.sweeps.report.figures.marks import DrawnSheet

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.data.splits import Split

# Images of a row, rows of a sheet.
MOST_IMAGES, MOST_ROWS = 10, 12
# In pixels of the screen: about so long is the longer side of an image, and so much stays empty between two of them,
# beside the words, and at most for the words.
IMAGE_SIDE, GAP, MARGIN, MOST_WORDS = 64, 6, 8, 600
DPI, FONT_SIZE = 120, 8
EXAMPLES, AUGMENTATION, MISTAKES = "examples", "augmentation", "mistakes"


@dataclass(frozen=True, eq=False)
class Sheet:
    """Rows of images, each (n, channels, height, width) uint8 behind its words; side: about so many
    pixels long is the longer side of an image."""

    name: str
    title: str
    caption: str
    rows: Sequence[tuple[str, np.ndarray]]
    side: int = IMAGE_SIDE

    def png(self, numbers: dict[str, str]) -> bytes:
        """The sheet as a PNG file, a pixel of an image a square of whole pixels; `numbers` as `lettered` has them."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.image import imsave

        canvas = canvas_of([images for _, images in self.rows], self.side)
        height, width = canvas.shape[:2]
        words, fonts = lettered([label for label, _ in self.rows], numbers)
        figure = Figure(figsize=((MOST_WORDS + width) / DPI, height / DPI), dpi=DPI)
        drawing = FigureCanvasAgg(figure)
        right, row = (MOST_WORDS - MARGIN) / (MOST_WORDS + width), (height - GAP) / len(words)
        for place, text in enumerate(words):
            figure.text(
                right,
                1 - ((place + 0.5) * row + GAP / 2) / height,
                text,
                ha="right",
                va="center",
                fontfamily=fonts,
                fontsize=FONT_SIZE,
            )
        drawing.draw()
        sheet = np.array(drawing.buffer_rgba())[:height, : MOST_WORDS + width, :3]
        sheet[:, MOST_WORDS:] = canvas
        first = int((sheet < 255).any(axis=(0, 2)).argmax())
        file = io.BytesIO()
        shown = np.ascontiguousarray(sheet[:, max(first - MARGIN, 0) :])
        imsave(file, shown, format="png", metadata=words_of(self.title, self.caption))
        return file.getvalue()


class Shades(NamedTuple):
    """The numbers that are drawn black and white."""

    black: float
    white: float

    @classmethod
    def of(cls, dataset: Dataset) -> Shades:
        """Those of a data set of images: white is its largest number, black 0, or of others than bytes the least."""
        assert isinstance(dataset.features, Images)
        least, largest = dataset.features.extremes()
        return cls(0 if dataset.features.has_bytes else least, largest)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels as uint8 to be looked at."""
        shares = (pixels.astype(np.float64) - self.black) / max(self.white - self.black, 1e-12)
        return np.rint(255 * shares.clip(0, 1)).astype(np.uint8)


def words_of(title: str, caption: str) -> dict[str, str]:
    """What a PNG file says of its sheet, by PNG's own keywords."""
    return {"Title": title, "Description": caption}


def read_sheet(name: str, png: bytes) -> DrawnSheet | None:
    """The sheet that a PNG file has; None of one that says nothing, as those of other figures."""
    said = words_in(png)
    return DrawnSheet(name, said["Title"], said["Description"], png) if "Title" in said else None


def canvas_of(rows: Sequence[np.ndarray], side: int = IMAGE_SIDE) -> np.ndarray:
    """Rows of images (n, channels, height, width) uint8 as one picture (height, width, 3), white where none is."""
    enlarged = [_in_size(images, side) for images in rows]
    _, height, width, _ = enlarged[0].shape
    across = max(map(len, rows))
    canvas = np.full((GAP + len(rows) * (height + GAP), across * (width + GAP), 3), 255, np.uint8)
    for row, images in enumerate(enlarged):
        for column, image in enumerate(images):
            top, left = GAP + row * (height + GAP), column * (width + GAP)
            canvas[top : top + height, left : left + width] = image
    return canvas


def coloured(images: np.ndarray) -> np.ndarray:
    """Images (n, channels, height, width) uint8 as (n, 3, height, width): without three channels their mean, grey."""
    if images.shape[1] != 3:
        images = np.rint(images.mean(axis=1, keepdims=True)).astype(np.uint8)
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:]))


def _in_size(images: np.ndarray, side: int) -> np.ndarray:
    """Images (n, channels, height, width) as (n, height, width, 3), the longer side about so many pixels long.

    A pixel becomes a square of whole pixels, or a square of pixels their mean.
    """
    height, width = images.shape[2:]
    shown = coloured(images).transpose(0, 2, 3, 1)
    larger = round(side / max(height, width))
    smaller = min(round(max(height, width) / side), height, width)
    if smaller < 2:
        return shown.repeat(max(1, larger), axis=1).repeat(max(1, larger), axis=2)
    down, right = height // smaller, width // smaller
    squares = shown[:, : down * smaller, : right * smaller].reshape(-1, down, smaller, right, smaller, 3)
    return np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)


def examples_of(dataset: Dataset) -> Sheet:
    """Some images of each class, the same ones every time, the rarest classes first."""
    random, shades = generator(Stream.SPLIT, 0), Shades.of(dataset)
    rows = []
    for label in np.argsort(dataset.class_counts, kind="stable")[:MOST_ROWS]:
        own = random.permutation(np.flatnonzero(dataset.labels == label))[:MOST_IMAGES]
        words = f"{dataset.class_names[label]}\n{dataset.class_counts[label]:,}"
        rows.append((words, shades.drawn(pixels_of(dataset, own))))
    caption = f"{dataset.name}: up to {MOST_IMAGES} images of each class, the rarest classes first."
    return Sheet(EXAMPLES, "Examples", caption, rows)


def augmented_examples(augmentation: Part, split: Split, dataset: Dataset) -> Sheet:
    """A training image of each class, and what an augmentation makes of it."""
    from lossfleet.runners.training.epoch_rows import augmented

    features, shape = split.train_features, split.image_shape
    assert isinstance(features, StandardisedImages)
    assert shape is not None
    random, shades = generator(Stream.AUGMENTATION, 0), Shades.of(dataset)
    rows = []
    for label in np.argsort(split.class_counts, kind="stable")[:MOST_ROWS]:
        row = np.flatnonzero(split.train_labels == label)[:1]
        made = augmented(augmentation, features, row.repeat(MOST_IMAGES - 1), shape, random)
        numbers = np.concatenate([features[row], made])
        # A channel that does not vary has the factor 0.
        factor = np.where(features.factor > 0, features.factor, 1)
        pixels = (numbers / factor + features.mean).reshape(-1, *shape)
        rows.append((dataset.class_names[label], shades.drawn(pixels)))
    caption = (
        f"Each first image is as it is, the others are what augmentation={augmentation.name} makes of it."
    )
    return Sheet(AUGMENTATION, "Augmentation", caption, rows)


def mistakes_of(dataset: Dataset, table: pd.DataFrame, strategy: str) -> Sheet | None:
    """The most confident mistakes for each pair of classes, the most frequent pair first; None without any.

    Args:
        dataset: of images.
        table: as `mistakes_table` gives it, its index the rows of the data set.
        strategy: that made them.
    """
    rows, shades = [], Shades.of(dataset)
    pairs = table.groupby(["class", "taken_for"], sort=False)
    for (name, other), own in sorted(pairs, key=lambda pair: len(pair[1]), reverse=True)[:MOST_ROWS]:
        first = own.sort_values("probability", ascending=False, kind="stable").index[:MOST_IMAGES]
        images = shades.drawn(pixels_of(dataset, first.to_numpy()))
        rows.append((f"{name}\nfor {other}: {len(own)}", images))
    if not rows:
        return None
    caption = (
        f"Test images that {strategy} takes for another class, the most frequent pair of classes first and in each row "
        "the most confident mistakes."
    )
    return Sheet(MISTAKES, "Mistakes", caption, rows)


def pixels_of(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Images of a data set as it has them, (n, channels, height, width)."""
    assert isinstance(dataset.features, Images)
    return np.asarray(dataset.features.take(rows)).reshape(-1, *dataset.features.image_shape)
