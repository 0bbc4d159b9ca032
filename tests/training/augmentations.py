"""Augmentations of a user's."""

from __future__ import annotations

import numpy as np


def negative(images: np.ndarray) -> np.ndarray:
    return -images


def rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def infinite(images: np.ndarray) -> np.ndarray:
    return images / 0


def noisy(images: np.ndarray, *, random: np.random.Generator, strength: float = 0.3) -> np.ndarray:
    return images + strength * random.normal(size=images.shape)
