"""Images for a model that is there: files of a folder, or arrays of one file, read batch by batch as it needs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.arrays import channels_first, in_shape, is_bytes
from lossfleet.runners.images.folders import all_images, is_image
from lossfleet.runners.images.idx import IMAGES, read_idx
from lossfleet.runners.images.npz import images_alone
from lossfleet.runners.portable.images import BrokenImage, read_pixels
from lossfleet.runners.tables.faults import Faults

if TYPE_CHECKING:
    import pandas as pd

Shape = tuple[int, int, int]
Batch = tuple["pd.DataFrame", np.ndarray]
BATCH_IMAGES = 256


def has_images(path: Path) -> bool:
    """Whether a path names images, by its name or as a folder, and no table."""
    return (
        path.is_dir()
        or is_image(path)
        or path.suffix.lower() == ".npz"
        or IMAGES.match(path.name) is not None
    )


def read_images(path: Path, shape: Shape) -> Iterator[Batch]:
    """The images of a path, batch by batch.

    Args:
        path: a folder, whose images are taken from all folders in it, an image, an archive of NumPy or a file of IDX.
        shape: (channels, height, width) that images are brought to.

    Returns:
        Which images they are, by `file`, with `class`, the folder in which each lies, or by `row`; and pixels (n, F).

    Raises:
        UserError: there is no such file or no image, or images that cannot be read, all of a batch together.
    """
    require_file(path)
    if path.is_dir() or is_image(path):
        return _files(path, shape)
    return _arrays(path, shape)


def require_file(path: Path) -> None:
    """Raises UserError where a path names nothing."""
    if not path.exists():
        raise UserError(
            what=f"{path} is no file",
            expected="a folder of images, or a file",
            hint="correct its name; it starts from the working directory",
        )


def image_files(path: Path) -> tuple[Path, list[Path]]:
    """The images of a folder, or an image alone, and the folder that their names start from.

    Raises:
        UserError: there is none.
    """
    if not path.is_dir():
        return path.parent, [path]
    files = list(all_images(path))
    if not files:
        raise UserError(
            what=f"{path} has no image",
            expected="JPEG, PNG, BMP, TIFF or WebP",
            hint="name the folder that has them",
        )
    return path, files


def arrays_of(path: Path) -> np.ndarray:
    """The images (N, channels, height, width) of an archive of NumPy or a file of IDX."""
    name, array = ("images", read_idx(path, 3)) if IMAGES.match(path.name) else images_alone(path)
    return channels_first(name, array)


def _files(path: Path, shape: Shape) -> Iterator[Batch]:
    import pandas as pd

    root, files = image_files(path)

    def read(file: Path) -> np.ndarray | UserError:
        try:
            return read_pixels(file, shape).ravel()
        except BrokenImage as error:
            return UserError(
                what=f"{file.relative_to(root).as_posix()} {error}",
                expected="a whole image of one picture",
                hint="mend it, or take it out",
            )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for start in range(0, len(files), BATCH_IMAGES):
            some = files[start : start + BATCH_IMAGES]
            faults = Faults(path.name, "images without them")
            pixels = list(threads.map(read, some))
            faults.found += [each for each in pixels if isinstance(each, UserError)]
            faults.tell()
            names = [file.relative_to(root) for file in some]
            which = pd.DataFrame({"file": [name.as_posix() for name in names]})
            # An image that lies in none has no class.
            classes = [name.parts[0] if len(name.parts) > 1 else None for name in names]
            which["class"] = pd.Categorical(classes)
            yield which, np.stack([each for each in pixels if isinstance(each, np.ndarray)])


def _arrays(path: Path, shape: Shape) -> Iterator[Batch]:
    import pandas as pd

    images = arrays_of(path)
    if images.shape[1:] != shape and not is_bytes(images):
        raise UserError(
            what=f"{path.name} has images {images.shape[1:]} of {images.dtype}",
            expected=f"{shape} as (channels, height, width), or bytes, to resize",
            hint="write the images as uint8",
        )
    for start in range(0, len(images), BATCH_IMAGES):
        some = images[start : start + BATCH_IMAGES]
        rows = np.arange(start + 1, start + 1 + len(some))
        yield pd.DataFrame({"row": rows}), in_shape(some, shape).reshape(len(some), -1)
