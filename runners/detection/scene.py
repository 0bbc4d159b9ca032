"""Images with boxes around the objects in them, whatever they were read or made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images of one size, each with its objects.

    Fields: images (N, channels, height, width) uint8; boxes, for each image (M, 4) float32: x1, y1, x2, y2 in pixels, x
    to the right and y down, the ends exclusive: the box of the first pixel is 0, 0, 1, 1; labels, for each image (M,)
    int32, places in class_names; sources (N,) int64, equal for tiles of one photograph, which stay in one part.
    """

    images: np.ndarray
    boxes: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    class_names: tuple[str, ...]
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> Scenes:
        """Some of the scenes."""
        return Scenes(
            self.images[indices],
            tuple(self.boxes[index] for index in indices),
            tuple(self.labels[index] for index in indices),
            self.class_names,
            self.sources[indices],
        )

    @property
    def class_counts(self) -> np.ndarray:
        """(C,) int64: the objects of each class."""
        labels = np.concatenate([np.zeros(0, np.int32), *self.labels])
        return np.bincount(labels, minlength=len(self.class_names))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any pixel, box, label, source or name."""
        content = hashlib.sha256(repr((self.images.shape, self.class_names)).encode())
        content.update(np.ascontiguousarray(self.images).data)
        # How many are in each image belongs to it.
        content.update(np.array([len(each) for each in self.labels], np.int64).data)
        for each in (*self.boxes, *self.labels, self.sources):
            content.update(each.tobytes())
        return content.hexdigest()[:8]
