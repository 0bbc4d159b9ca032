"""Occlusion maps: where a covered square makes a model less sure, of the images that were most confidently wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.runners.data.builtin import Dataset
from lossfleet.sweeps.report.figures.marks import VIRIDIS
from lossfleet.sweeps.report.figures.sheets import Shades, Sheet, coloured, pixels_of

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.portable.model import Model

OCCLUSION = "occlusion"
MOST_IMAGES = 10
# Of an image; of 96 x 96 ten take half a minute of a core and a gigabyte.
MOST_PIXELS = 64 * 64
# Of an image's shorter side, and of the square's side.
SQUARE, STEP = 1 / 4, 1 / 3
# Of a picture of a map, the rest being the image itself.
SHARE_OF_MAP = 0.7

Square = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What covering an image does to a model.

    Fields: label, the class that the model says, and its probability; falls (height, width) of that probability;
    covered (channels, height, width), the image with the square where the probability is least, and that probability.
    """

    label: int
    probability: float
    falls: np.ndarray
    covered: np.ndarray
    least: float


def occlude(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, grey: Sequence[float]
) -> list[Occlusion]:
    """Move a grey square over each of some images.

    falls(y, x) = mean over the squares that cover (y, x) of p(image) - p(image with the square), where p is the
    probability of the class that is the most probable one of the whole image. The side of a square is a quarter of the
    image's shorter one, and it moves by a third of its side.

    Args:
        predict: probabilities (m, C) of images (m, F).
        images: (n, channels, height, width).
        grey: (channels,), what the square is filled with.

    Reference: Zeiler and Fergus 2014, Visualizing and understanding convolutional networks, section 4.2.
    """
    squares = squares_of(*images.shape[2:])
    # The whole image first.
    shown = images[:, None].astype(np.float32).repeat(1 + len(squares), axis=1)
    for place, (rows, columns) in enumerate(squares, start=1):
        shown[:, place, :, rows, columns] = np.asarray(grey)[:, None, None]
    probabilities = predict(shown.reshape(-1, images[0].size)).reshape(*shown.shape[:2], -1)
    return [_occlusion(*each, squares) for each in zip(shown, probabilities, strict=True)]


def squares_of(height: int, width: int) -> list[Square]:
    """The squares that cover an image, row by row; the last ones of a row and a column touch its edges."""
    side = max(1, round(SQUARE * min(height, width)))
    step = max(1, round(STEP * side))
    tops, lefts = ([*range(0, extent - side, step), extent - side] for extent in (height, width))
    return [(slice(top, top + side), slice(left, left + side)) for top in tops for left in lefts]


def _occlusion(shown: np.ndarray, probabilities: np.ndarray, squares: Sequence[Square]) -> Occlusion:
    """Of one image: as it is and then with each square (1 + squares, channels, height, width), and (1 + squares, C)."""
    label = int(probabilities[0].argmax())
    found = probabilities[:, label]
    falls, counts = np.zeros((2, *shown.shape[2:]))
    for square, probability in zip(squares, found[1:], strict=True):
        falls[square] += found[0] - probability
        counts[square] += 1
    least = 1 + int(found[1:].argmin())
    return Occlusion(label, float(found[0]), falls / counts, shown[least], float(found[least]))


def occlusion_of(dataset: Dataset, table: pd.DataFrame, model: Model, strategy: str) -> Sheet | None:
    """The images that were most confidently wrong, each with its map and covered where that matters most.

    Args:
        dataset: of images.
        table: as `mistakes_table` gives it, its index the rows of the data set.
        model: kept of the strategy, of images as large as these.
        strategy: that made the mistakes.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        return model.probabilities(model.logits(model.encoder.pixels(images)))

    worst = table.sort_values("probability", ascending=False, kind="stable")[:MOST_IMAGES]
    if not len(worst):
        return None
    shades, pixels = Shades.of(dataset), pixels_of(dataset, worst.index.to_numpy())
    maps = occlude(predict, pixels, model.encoder.columns[0]["mean"])
    largest = max(0.0, *(each.falls.max() for each in maps))
    rows = []
    for image, found, name, other in zip(pixels, maps, worst["class"], worst["taken_for"], strict=True):
        said = f"kept model: {model.classes[found.label]} {found.probability:.2f}\ncovered: {found.least:.2f}"
        whole, covered = coloured(shades.drawn(np.stack([image, found.covered])))
        images = np.stack([whole, over(whole, found.falls, largest), covered])
        rows.append((f"{name} taken for {other}\n{said}", images))
    caption = (
        f"The test images that {strategy} most confidently takes for another class. Below their words is what the kept "
        "model says, which was trained on all rows, these too. The map: how far the probability of what it says falls "
        "where a square of the mean pixel covers the image, from violet, not at all, to yellow, by "
        f"{largest:.2f}. Then the image covered where that matters most."
    )
    return Sheet(OCCLUSION, "Occlusion maps", caption, rows)


def over(image: np.ndarray, falls: np.ndarray, largest: float) -> np.ndarray:
    """A map (height, width) in colours over an image (3, height, width) uint8, the colours from 0 to `largest`."""
    shares = (falls / (largest or 1)).clip(0, 1) * (len(VIRIDIS) - 1)
    colours = np.array([[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in VIRIDIS])
    map_ = np.stack([np.interp(shares, range(len(VIRIDIS)), channel) for channel in colours.T])
    grey = image.mean(axis=0)
    return np.rint(SHARE_OF_MAP * map_ + (1 - SHARE_OF_MAP) * grey).astype(np.uint8)
