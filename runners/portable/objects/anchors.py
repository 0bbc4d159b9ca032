"""The boxes that a detector begins with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Anchors:
    """Anchors of the levels of a pyramid.

    Fields: strides, the pixels from one place of a level to the next; sizes, of each level in pixels; scales, that
    multiply them; ratios, height / width. Each place has an anchor for each pair of scale and ratio, of the area
    (size scale)^2.
    """

    strides: tuple[int, ...]
    sizes: tuple[float, ...]
    scales: tuple[float, ...] = (1.0,)
    ratios: tuple[float, ...] = (1.0,)

    @property
    def per_place(self) -> int:
        """The anchors of a place."""
        return len(self.scales) * len(self.ratios)

    def boxes(self, height: int, width: int) -> np.ndarray:
        """The anchors of an image, which may reach beyond its edges.

        Returns:
            (A, 4) float32, ordered by level, row, column, scale, ratio; a level has ceil(height / stride) rows and
            ceil(width / stride) columns, the first place's centre at stride / 2.
        """
        return np.concatenate(
            [
                self._level(stride, size, height, width)
                for stride, size in zip(self.strides, self.sizes, strict=True)
            ]
        ).astype(np.float32)

    def _level(self, stride: int, size: float, height: int, width: int) -> np.ndarray:
        sides = size * np.repeat(self.scales, len(self.ratios))
        roots = np.sqrt(np.tile(self.ratios, len(self.scales)))
        half = np.stack([sides / roots, sides * roots], axis=1) / 2
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = (np.indices((rows, columns)) + 0.5) * stride
        centres = np.stack([x, y], axis=-1)[:, :, None]
        return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)
