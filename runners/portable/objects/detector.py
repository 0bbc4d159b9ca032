"""A kept detector at work: the objects in images and photographs, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..encoder import Encoder
from ..files import ModelError, read_description, read_weights
from .anchors import Anchors
from .decoding import Limits, detections, region_detections, suppress_in_numpy
from .detections import NOTHING, Detections
from .network import classified, head, pyramid
from .regions import proposals
from .tiles import cut, joined, windows

# Images that are looked at together.
BLOCK_IMAGES = 16
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FIELDS = ("boxes", "scores", "labels")


class Detector:
    """Members of one network, whose logits and deltas are averaged: of anchors, and of two stages then of regions.

    Attributes:
        description: what `model.json` says.
        weights: of the members, `<layer>.weight` and `<layer>.bias` of each of `network.layer_names`.
        classes: names of the C classes.
        encoder: standardises pixels.
        image_shape: channels, height and width of the images that it looks at.
    """

    def __init__(self, folder: Path) -> None:
        """Read a detector.

        Raises:
            ModelError: a file is missing or damaged, or of another version.
        """
        self.description = read_description(folder)
        self.weights = read_weights(folder, self.description)
        self.classes: list[str] = self.description["classes"]
        self.encoder = Encoder(self.description["columns"], ())
        shape = self.encoder.image_shape
        assert shape is not None
        self.image_shape = shape
        told = self.description["detector"]
        self._anchors = Anchors(**{name: tuple(values) for name, values in told["anchors"].items()})
        self._boxes = self._anchors.boxes(*shape[1:])
        self._limits = limits = Limits(**told["limits"])
        self._suppress = partial(suppress_in_numpy, most=limits.most_given)
        # Of one stage there are none.
        self._regions = told.get("regions")

    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8, in their pixels.

        Raises:
            ModelError: images of another shape.
        """
        if images.shape[1:] != self.image_shape:
            raise ModelError(
                f"the images have the shape {images.shape}",
                f"(N, {', '.join(map(str, self.image_shape))}): channels, height and width",
                "bring them to it, or give whole photographs to `find`",
            )
        found: list[Detections] = []
        for start in range(0, len(images), BLOCK_IMAGES):
            block = images[start : start + BLOCK_IMAGES]
            found += self._found(self.encoder.pixels(block.reshape(len(block), -1)).reshape(block.shape))
        return found

    def find(self, photograph: np.ndarray) -> Detections:
        """The objects found in a photograph of any size, in its pixels, the surest first.

        It is cut into the tiles that training had, and what several tiles have found is taken once, see `joined`.

        Args:
            photograph: (channels, height, width) uint8.

        Raises:
            ModelError: other channels than the detector's.
        """
        channels, size, _ = self.image_shape
        if photograph.ndim != 3 or len(photograph) != channels:
            raise ModelError(
                f"the photograph has the shape {photograph.shape}",
                f"({channels}, height, width), {channels} channel{'s' if channels > 1 else ''}",
                "make it grey" if channels == 1 else "bring it to red, green and blue",
            )
        told, (height, width) = self.description["detector"], photograph.shape[1:]
        squares = windows(height, width, told["tile"], told["overlap"])
        found = []
        for start in range(0, len(squares), BLOCK_IMAGES):
            some = squares[start : start + BLOCK_IMAGES]
            found += self.detect(np.stack([cut(photograph, square, size) for square in some]))
        return joined(found, squares, (size, height, width))

    def predict(self, images: np.ndarray) -> pd.DataFrame:
        """`detect` as a table, see `table`; images are called by their places, from 0."""
        return self.table(range(len(images)), self.detect(images))

    def table(self, names: Sequence[object], found: Sequence[Detections]) -> pd.DataFrame:
        """Finds as a table: `image`, `class`, `score`, `xmin`, `ymin`, `xmax`, `ymax`.

        Args:
            names: of the images.
            found: in each.
        """
        counts = [len(each) for each in found]
        together = [np.concatenate([getattr(each, name) for each in (NOTHING, *found)]) for name in FIELDS]
        boxes, scores, labels = together
        return pd.DataFrame(
            {
                "image": np.repeat(np.array(names), counts),
                "class": [self.classes[label] for label in labels],
                "score": scores.astype(float),
                **{corner: boxes[:, place].astype(float) for place, corner in enumerate(CORNERS)},
            }
        )

    def _found(self, images: np.ndarray) -> list[Detections]:
        """In standardised images (N, channels, height, width) float32."""
        levels = pyramid(self.weights, images)
        classes = len(self.classes) if self._regions is None else 1
        logits = head(self.weights, "classes", levels, classes).mean(axis=0)
        deltas = head(self.weights, "boxes", levels, 4).mean(axis=0)
        if self._regions is None:
            of_images = (logits, deltas, self._boxes, self.image_shape)
            return detections(*of_images, limits=self._limits, suppression=self._suppress)
        return [
            self._of_regions([level[:, place] for level in levels], logits[place, :, 0], deltas[place])
            for place in range(len(images))
        ]

    def _of_regions(self, levels: Sequence[np.ndarray], logits: np.ndarray, deltas: np.ndarray) -> Detections:
        """What the second stage finds in one image, of which the first says logits (A,) and deltas (A, 4)."""
        assert self._regions is not None
        boxes = proposals(logits, deltas, self._boxes, self.image_shape, self._regions["proposals"])
        if not len(boxes):
            return NOTHING
        said, moved = classified(
            self.weights,
            levels,
            boxes,
            strides=self._anchors.strides,
            cells=self._regions["cells"],
            region_size=self._regions["region_size"],
        )
        of_image = (said.mean(axis=0)[None], moved.mean(axis=0)[None], boxes[None], self.image_shape)
        return region_detections(*of_image, limits=self._limits, suppression=self._suppress)[0]
