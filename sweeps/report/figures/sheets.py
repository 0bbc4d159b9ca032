"""Sheets of images to look at: of each class, what augmentation makes of them, and what was taken for what."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.parts import Part
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.images.pixels import Images, StandardisedImages
from lossfleet.runners.streams import Stream, generator
from lossfleet.sweeps.report.figures.letters import lettered

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.data.splits import Split

# Images of a row, rows of a sheet, and the pixels that stay empty between two images.
MOST_IMAGES, MOST_ROWS, GAP = 10, 12, 1
# Inches of an image, and of the words before a row.
IMAGE_SIDE, WORDS = 0.55, 1.9
EXAMPLES, AUGMENTATION, MISTAKES = "examples", "augmentation", "mistakes"


@dataclass(frozen=True, eq=False)
class Sheet:
    """Rows of images, each (n, channels, height, width) uint8 behind its words; side is the inches of an image."""

    name: str
    title: str
    caption: str
    rows: Sequence[tuple[str, np.ndarray]]
    side: float = IMAGE_SIDE

    def png(self, numbers: dict[str, str]) -> bytes:
        """The sheet as a PNG file; `numbers` as `lettered` has them."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        canvas = canvas_of([images for _, images in self.rows])
        height = canvas.shape[0] / len(self.rows)
        words, fonts = lettered([label for label, _ in self.rows], numbers)
        inches = self.side * canvas.shape[1] / height, self.side * len(self.rows)
        figure = Figure(figsize=(WORDS + inches[0], inches[1]), dpi=120)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((WORDS / (WORDS + inches[0]), 0, inches[0] / (WORDS + inches[0]), 1))
        axes.imshow(canvas, interpolation="nearest", aspect="auto")
        axes.set_xticks([])
        places = (np.arange(len(words)) + 0.5) * height - 0.5
        axes.set_yticks(places, words, fontfamily=fonts, fontsize=8)
        axes.tick_params(length=0)
        axes.set_frame_on(False)
        file = io.BytesIO()
        figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.05)
        return file.getvalue()


def canvas_of(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of images (n, channels, height, width) uint8 as one picture (height, width, 3), white where none is."""
    _, _, height, width = rows[0].shape
    across = max(map(len, rows))
    canvas = np.full((len(rows) * (height + GAP), across * (width + GAP), 3), 255, np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (height + GAP), column * (width + GAP)
            # Grey images fill the three colours.
            canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return canvas


def examples_of(dataset: Dataset) -> Sheet:
    """Some images of each class, the same ones every time, the rarest classes first."""
    random = generator(Stream.SPLIT, 0)
    rows = []
    for label in np.argsort(dataset.class_counts, kind="stable")[:MOST_ROWS]:
        own = random.permutation(np.flatnonzero(dataset.labels == label))[:MOST_IMAGES]
        rows.append(
            (f"{dataset.class_names[label]}\n{dataset.class_counts[label]:,}", pixels_of(dataset, own))
        )
    caption = f"{dataset.name}: up to {MOST_IMAGES} images of each class, the rarest classes first."
    return Sheet(EXAMPLES, "Examples", caption, rows)


def augmented_examples(augmentation: Part, split: Split, class_names: Sequence[str]) -> Sheet:
    """A training image of each class, and what an augmentation makes of it."""
    from lossfleet.runners.training.epoch_rows import augmented

    features, shape = split.train_features, split.image_shape
    assert isinstance(features, StandardisedImages)
    assert shape is not None
    random = generator(Stream.AUGMENTATION, 0)
    rows = []
    for label in np.argsort(split.class_counts, kind="stable")[:MOST_ROWS]:
        row = np.flatnonzero(split.train_labels == label)[:1]
        made = augmented(augmentation, features, row.repeat(MOST_IMAGES - 1), shape, random)
        numbers = np.concatenate([features[row], made])
        # A channel that does not vary has the factor 0.
        factor = np.where(features.factor > 0, features.factor, 1)
        pixels = np.clip(np.rint(numbers / factor + features.mean), 0, 255).astype(np.uint8)
        rows.append((class_names[label], pixels.reshape(-1, *shape)))
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
    rows = []
    pairs = table.groupby(["class", "taken_for"], sort=False)
    for (name, other), own in sorted(pairs, key=lambda pair: len(pair[1]), reverse=True)[:MOST_ROWS]:
        first = own.sort_values("probability", ascending=False, kind="stable").index[:MOST_IMAGES]
        rows.append((f"{name}\nfor {other}: {len(own)}", pixels_of(dataset, first.to_numpy())))
    if not rows:
        return None
    caption = (
        f"Test images that {strategy} takes for another class, the most frequent pair of classes first and in each row "
        "the most confident mistakes."
    )
    return Sheet(MISTAKES, "Mistakes", caption, rows)


def pixels_of(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Images of a data set, (n, channels, height, width) uint8; other numbers than bytes are stretched to them."""
    assert isinstance(dataset.features, Images)
    pixels = np.asarray(dataset.features.take(rows))
    if pixels.dtype != np.uint8:
        least, largest = pixels.min(), pixels.max()
        pixels = np.rint(255 * (pixels - least) / max(largest - least, 1e-12)).astype(np.uint8)
    return pixels.reshape(-1, *dataset.features.image_shape)
