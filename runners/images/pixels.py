"""Images as rows of one array that all processes share; they become numbers to train on when these are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias, TypeGuard

import numpy as np

Shape = tuple[int, int, int]
# Images that are looked at together.
BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Images:
    """Some rows of an array of pixels.

    Fields: pixels (M, F), uint8 or float32, perhaps a file that is mapped into memory; rows (N,) int64 of it, an image
    each; image_shape: (channels, height, width), whose F pixels a row has in this order.
    """

    pixels: np.ndarray
    rows: np.ndarray
    image_shape: Shape

    @classmethod
    def of(cls, array: np.ndarray) -> Images:
        """The images of an array (N, channels, height, width): bytes stay bytes, other numbers become float32."""
        count, channels, height, width = array.shape
        kept = array if array.dtype == np.uint8 else array.astype(np.float32)
        return cls(kept.reshape(count, -1), np.arange(count), (channels, height, width))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        return len(self.rows), prod(self.image_shape)

    @property
    def has_bytes(self) -> bool:
        """Whether pixels are bytes."""
        return self.pixels.dtype == np.uint8

    def take(self, rows: np.ndarray) -> Images:
        """Some of the images."""
        return replace(self, rows=self.rows[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        pixels = self.pixels[self.rows]
        return pixels if dtype is None else pixels.astype(dtype)

    def blocks(self) -> Iterator[np.ndarray]:
        """The pixels (n, F), so many images at a time as a little memory holds."""
        for start in range(0, len(self.rows), BLOCK_ROWS):
            yield self.pixels[self.rows[start : start + BLOCK_ROWS]]

    def extremes(self) -> tuple[float, float]:
        """The least and the largest of all pixels."""
        found = [(float(block.min()), float(block.max())) for block in self.blocks()]
        return min(least for least, _ in found), max(largest for _, largest in found)

    def digest(self) -> bytes:
        """Of all pixels."""
        content = hashlib.sha256(repr((self.image_shape, str(self.pixels.dtype))).encode())
        for block in self.blocks():
            content.update(block.tobytes())
        return content.digest()

    def equal(self) -> np.ndarray:
        """(N,) int64: for each image the first one with the same pixels, which may be itself."""
        first: dict[bytes, int] = {}
        hashes = (hashlib.blake2b(row.tobytes(), digest_size=16) for block in self.blocks() for row in block)
        places = (first.setdefault(each.digest(), place) for place, each in enumerate(hashes))
        return np.fromiter(places, np.int64, len(self))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (C,) and the standard deviation (C,) of the pixels of each channel, float64."""
        count = len(self) * self.shape[1] // self.image_shape[0]
        if self.has_bytes:
            # Both sums are exact.
            mean = sum(each.sum(axis=(0, 2), dtype=np.int64) for each in self._by_channel()) / count
            squares = (np.square(each, dtype=np.uint16) for each in self._by_channel())
            of_squares = sum(each.sum(axis=(0, 2), dtype=np.int64) for each in squares) / count
            return mean, np.sqrt(np.maximum(of_squares - mean**2, 0))
        mean = sum(each.sum(axis=(0, 2), dtype=np.float64) for each in self._by_channel()) / count
        squares = (np.square(each - mean[:, None]) for each in self._by_channel())
        return mean, np.sqrt(sum(each.sum(axis=(0, 2)) for each in squares) / count)

    def _by_channel(self) -> Iterator[np.ndarray]:
        """The pixels (n, C, height width) of blocks."""
        return (block.reshape(len(block), self.image_shape[0], -1) for block in self.blocks())


@dataclass(frozen=True, eq=False)
class StandardisedImages:
    """Features (N, F) float32 of images, (pixel - mean) factor, computed for the rows that are asked for.

    Fields: images; mean and factor (F,) float32, the same for all pixels of a channel.
    """

    images: Images
    mean: np.ndarray
    factor: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        return self.images.shape

    @property
    def nbytes(self) -> int:
        """The memory that is theirs alone, in bytes: which rows they are."""
        return self.images.rows.nbytes

    @property
    def standardisation(self) -> np.ndarray:
        """Mean and factor (2, F) float32, as the native core takes them."""
        return np.stack([self.mean, self.factor])

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Features (n, F) float32 of some images, or (F,) of one."""
        features = self.images.pixels[self.images.rows[rows]].astype(np.float32)
        features -= self.mean
        features *= self.factor
        return features

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        features = np.empty(self.shape, np.float32)
        for start in range(0, len(self), BLOCK_ROWS):
            features[start : start + BLOCK_ROWS] = self[start : start + BLOCK_ROWS]
        return features if dtype is None else features.astype(dtype, copy=False)


# Of a part of a split: of tables and of images.
Features: TypeAlias = np.ndarray | StandardisedImages


def has_shared_bytes(features: Features) -> TypeGuard[StandardisedImages]:
    """Whether features are images of bytes, which the native core takes as they are, so that all splits share them."""
    return isinstance(features, StandardisedImages) and features.images.has_bytes


def standardised(parts: Sequence[Images]) -> list[StandardisedImages]:
    """The images of some parts with mean 0 and standard deviation 1 of each channel in the first of them.

    A mean for each pixel, as for a column of a table, would take the shape away that all images have in common, and a
    deviation for each would make as much of a margin that hardly varies as of what is seen. A channel that does not
    vary in the first part is 0 everywhere.
    """
    mean, factor = (each.repeat(parts[0].shape[1] // len(each)) for each in mean_and_factor(parts[0]))
    return [StandardisedImages(part, mean, factor) for part in parts]


def mean_and_factor(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """The mean and 1 / standard deviation, or 0 where there is none, of each channel, (C,) float32 each."""
    mean, deviation = images.moments()
    # Of a constant rounding leaves something.
    varies = deviation > np.finfo(np.float32).eps * np.abs(mean)
    factor = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    return mean.astype(np.float32), factor.astype(np.float32)
