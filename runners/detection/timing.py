"""How long a trained detector takes to find the objects of an image."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

# So many images, one at a time and at once, so often each; the fastest counts, which the machine disturbs least.
ALONE, TOGETHER, REPEATS = 32, 256, 5
MILLISECONDS, FRAMES = "milliseconds_per_image", "frames_per_second"


def speed(detect: Callable[[np.ndarray], object], images: np.ndarray) -> dict[str, float]:
    """Milliseconds an image, one after the other, and images in a second, many at once, in the thread that calls.

    Args:
        detect: all that is to be measured: from images (n, channels, height, width) uint8 to objects.
        images: (N, channels, height, width) uint8, the first of which are taken.
    """
    together = images[:TOGETHER]
    alone = [_seconds(detect, images[place : place + 1]) for place in range(min(ALONE, len(images)))]
    return {
        MILLISECONDS: 1000 * float(np.mean(alone)),
        FRAMES: len(together) / _seconds(detect, together),
    }


def _seconds(detect: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    """Of the fastest of several calls."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        detect(images)
        times.append(time.perf_counter() - start)
    return min(times)
