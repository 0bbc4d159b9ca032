"""The training examples of a replicate as the core takes them: rows of float32, or images as the bytes they are in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossfleet.runners.images.pixels import has_shared_bytes
from lossfleet.runners.training.replicate import Replicate

# In the place of what only bytes need.
NO_STANDARDISATION = np.zeros((2, 1), np.float32)


@dataclass(frozen=True, eq=False)
class Examples:
    """What a plan points into.

    Fields: features (M, F), float32 or uint8; labels (M,) int32; weights (M,) float32; standardisation (2, F) float32,
    the mean and the factor of bytes; rows (N,) int32, where the examples of the replicate are, None for all in order.
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    standardisation: np.ndarray
    rows: np.ndarray | None

    @classmethod
    def of(cls, replicate: Replicate) -> Examples:
        """Those of a replicate; bytes of images stay where they are, in memory that all members share."""
        features, weights = replicate.features, replicate.weights
        labels = np.ascontiguousarray(replicate.labels, np.int32)
        weights = np.ones(len(labels), np.float32) if weights is None else weights
        if not has_shared_bytes(features):
            return cls(np.ascontiguousarray(features, np.float32), labels, weights, NO_STANDARDISATION, None)
        pixels, rows = features.images.pixels, features.images.rows.astype(np.int32)
        of_all = np.zeros(len(pixels), np.int32), np.zeros(len(pixels), np.float32)
        for all_rows, own in zip(of_all, (labels, weights), strict=True):
            all_rows[rows] = own
        return cls(pixels, *of_all, features.standardisation, rows)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where rows of the replicate are, int32."""
        return np.ascontiguousarray(rows if self.rows is None else self.rows[rows], np.int32)
