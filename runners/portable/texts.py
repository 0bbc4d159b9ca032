"""Sentences as numbers: how often words are in them, weighed by how rare they are, in a few directions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# As scikit-learn's vectorizer has it: two letters or more.
WORD = re.compile(r"(?u)\b\w\w+\b")


def text_features(texts: Sequence[str], spec: Mapping[str, Any]) -> np.ndarray:
    """Texts in the directions of a truncated SVD of their TF-IDF, standardised, (N, K) float32.

    Args:
        texts: (N,), empty where missing.
        spec: words, V of them; idf (V,); components (V, K); mean and factor (K,), 1 / standard deviation or 0.
    """
    place_of = {word: place for place, word in enumerate(spec["words"])}
    idf = np.array(spec["idf"], np.float64)
    components = np.array(spec["components"], np.float64).reshape(len(idf), len(spec["mean"]))
    projected = np.zeros((len(texts), len(spec["mean"])))
    for row, text in enumerate(texts):
        counts = Counter(place_of[word] for word in WORD.findall(text.lower()) if word in place_of)
        if counts:
            places = np.fromiter(counts.keys(), np.int64)
            weights = np.fromiter(counts.values(), np.float64) * idf[places]
            projected[row] = weights @ components[places] / np.linalg.norm(weights)
    return ((projected - spec["mean"]) * spec["factor"]).astype(np.float32)
