"""What a detector finds in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one image.

    Fields: boxes (D, 4) float32 as `Scenes` has them; scores (D,) float32, the larger the surer; labels (D,) int32.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)
