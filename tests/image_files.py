"""Files of images that the tests of this folder write."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from lossfleet.conf.datasets import Data
from lossfleet.conf.schema import choose


def picture(number: int, *, height: int = 7, width: int = 5, channels: int = 3) -> np.ndarray:
    """(height, width) or (height, width, 3) uint8 of this number alone."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


def write_picture(path: Path, pixels: np.ndarray, **settings: object) -> np.ndarray:
    """Write pixels as what the name of the file says; returns them as Pillow reads them back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **settings)
    with Image.open(path) as image:
        return np.asarray(image)


def write_folder(root: Path, counts: dict[str, int], **shape: int) -> dict[str, np.ndarray]:
    """A folder of PNG a class, with so many images; returns pixels by the name of the file."""
    written = {}
    for name, count in counts.items():
        for number in range(count):
            file = f"{name}/{number:02d}.png"
            written[file] = write_picture(root / file, picture(len(written), **shape))
    return written


def write_idx(path: Path, array: np.ndarray) -> Path:
    """An array of bytes as IDX, gzipped if the name says so."""
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def faces_row(emotion: object, pixels: np.ndarray, usage: str) -> str:
    """A row of fer2013.csv."""
    return f"{emotion},{' '.join(map(str, pixels.ravel()))},{usage}\n"


def brought(name: str, path: Path, **settings: object) -> Data:
    """A choice of images."""
    return choose("data", name, path=str(path), **settings)


def write_clothes(folder: Path) -> None:
    """Files as Fashion-MNIST has them, with noise in the place of clothes."""
    random = np.random.default_rng(0)
    for part, count in (("train", 3000), ("t10k", 100)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
