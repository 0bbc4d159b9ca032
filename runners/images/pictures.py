"""What readers of images give, whatever files they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lossfleet.runners.images.pixels import Images

# Makes an array of a shape and type to be filled with pixels, in a file that is mapped into memory.
Allocate = Callable[[tuple[int, ...], type], np.ndarray]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images and their classes as files have them.

    Fields: images; labels (N,) int64, places in names; names of the classes, in the order of the files; said, what the
    files are, in words; notes, what was left out or made otherwise; parts (N,) int8 of `TRAINING`, `VALIDATION` and
    `TEST`, None where the files have none; groups (N,) int64, equal where images must stay in one part; files, the name
    of each image's, empty where all are in one.
    """

    images: Images
    labels: np.ndarray
    names: tuple[str, ...]
    said: tuple[str, ...]
    notes: tuple[str, ...] = ()
    parts: np.ndarray | None = None
    groups: np.ndarray | None = None
    files: tuple[str, ...] = ()


def coded(values: np.ndarray | list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (N,) int64 and the names of the classes of values, which are numbered by number or else by alphabet."""
    different, labels = np.unique(np.asarray(values), return_inverse=True)
    names = [_name(value) for value in different.tolist()]
    if all(name.lstrip("-").isdecimal() for name in names):
        order = np.argsort([int(name) for name in names], kind="stable")
        place = np.argsort(order)
        labels, names = place[labels.ravel()], [names[n] for n in order]
    return labels.ravel().astype(np.int64), tuple(names)


def _name(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return str(int(value)) if isinstance(value, float) else str(value)
