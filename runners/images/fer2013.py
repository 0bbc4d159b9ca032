"""The facial expressions of FER2013: a CSV of emotion, pixels and Usage.

Reference: Goodfellow et al. 2013, Challenges in representation learning, arXiv 1307.0414.
"""

from __future__ import annotations

from math import isqrt
from pathlib import Path

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.parts import TEST, TRAINING, VALIDATION
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.files import no_rows
from lossfleet.runners.tables.reading import as_text, open_table_file
from lossfleet.runners.tables.report import shortened

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = {"Training": TRAINING, "PublicTest": VALIDATION, "PrivateTest": TEST}
COLUMNS = ("emotion", "pixels", "Usage")
BRIGHTEST = 255


def read_faces(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The images (N, height, width) uint8, square, the labels (N,) int64 and the parts (N,) int8 of the file.

    Parts are None where the file has no Usage.

    Raises:
        UserError: it cannot be read, or all rows with something else than their columns have.
    """
    table = open_table_file(path)
    names = {name.lower(): name for name in table.names}
    absent = [name for name in COLUMNS[:2] if name not in names]
    if absent:
        raise UserError(
            what=f"{path.name} has no column {' and no '.join(absent)}, but {shortened(table.names)}",
            expected="emotion, pixels and Usage",
            hint="correct data.path: the file of this data set is fer2013.csv or icml_face_data.csv",
        )
    read = [names[name.lower()] for name in COLUMNS if name.lower() in names]
    faults = Faults(path.name)
    images: list[np.ndarray] = []
    labels: list[int] = []
    parts: list[int] = []
    for batch in table.batches(read):
        cells = [as_text(each).to_pylist() for each in batch.values()]
        for row in zip(*cells, strict=True):
            number = len(labels) + 1
            emotion, pixels, *usage = (cell or "" for cell in row)
            labels.append(0)
            with faults.collected():
                labels[-1] = _label(emotion, number)
            with faults.collected():
                images.append(_pixels(pixels, number, images[0].size if images else None))
            with faults.collected():
                parts += [_part(each, number) for each in usage]
    faults.tell()
    if not images:
        raise no_rows(path)
    side = isqrt(images[0].size)
    array = np.stack(images).reshape(-1, side, side)
    return array, np.array(labels, np.int64), np.array(parts, np.int8) if len(read) == len(COLUMNS) else None


def _label(emotion: str, row: int) -> int:
    try:
        label = int(emotion)
        if 0 <= label < len(CLASSES):
            return label
    except ValueError:
        pass
    expected = ", ".join(f"{number} {name}" for number, name in enumerate(CLASSES))
    raise _wrong(row, f"the emotion {emotion!r}", f"one of {expected}")


def _pixels(text: str, row: int, size: int | None) -> np.ndarray:
    words = text.split()
    try:
        values = np.frombuffer(bytes(map(int, words)), np.uint8)
    except ValueError:
        raise _wrong(row, "pixels that are something else", f"whole numbers from 0 to {BRIGHTEST}") from None
    if not len(values) or isqrt(len(values)) ** 2 != len(values) or len(values) != (size or len(values)):
        raise _wrong(row, f"{len(values)} pixels", f"{size or 48 * 48}, as in a square image")
    return values


def _part(usage: str, row: int) -> int:
    if usage not in USAGES:
        raise _wrong(row, f"the Usage {usage!r}", f"one of {', '.join(USAGES)}")
    return USAGES[usage]


def _wrong(row: int, what: str, expected: str) -> UserError:
    return UserError(what=f"row {row} has {what}", expected=expected, hint="correct the row, or take it out")
