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

    def of_at_least(self, score: float) -> Detections:
        """Those with such a score."""
        sure = self.scores >= score
        return Detections(self.boxes[sure], self.scores[sure], self.labels[sure])

    def to_lists(self) -> tuple[list[list[float]], list[float], list[int]]:
        """Boxes to a tenth of a pixel, scores to three digits, and labels, as JSON has them."""
        return (
            np.round(self.boxes.astype(float), 1).tolist(),
            np.round(self.scores.astype(float), 3).tolist(),
            self.labels.tolist(),
        )

    @classmethod
    def from_lists(cls, boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
        """What `to_lists` has given."""
        return cls(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32),
            np.array(labels, np.int32),
        )


NOTHING = Detections.from_lists([], [], [])
