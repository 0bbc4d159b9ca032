"""Photographs for a detector that is there: files of a folder, or arrays of one file, each in its own size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.arrays import in_shape, is_bytes
from lossfleet.runners.images.decoding import attempt, in_threads
from lossfleet.runners.images.folders import is_image
from lossfleet.runners.portable.images import BrokenImage, read_header, read_pixels
from lossfleet.runners.prediction.new_images import arrays_of, has_images, image_files, require_file
from lossfleet.runners.tables.faults import Faults

# How an image is called, a file's name or the number of a row, and its pixels (channels, height, width) uint8.
Named = tuple[str, np.ndarray]


def read_photographs(path: Path, channels: int) -> Iterator[Named]:
    """The photographs of a path, one by one.

    Args:
        path: a folder, whose images are taken from all folders in it, an image, an archive of NumPy or a file of IDX.
        channels: that they are brought to, 1 or 3.

    Raises:
        UserError: there is no such file or no image, or images that cannot be read: all that show it before they are
            read whole together.
    """
    require_file(path)
    if not has_images(path):
        raise UserError(
            what=f"{path} is no image, and the model finds objects in images",
            expected="a folder of photographs, a photograph, or an archive of NumPy",
            hint="name one of them",
        )
    return _files(path, channels) if path.is_dir() or is_image(path) else _arrays(path, channels)


def _files(path: Path, channels: int) -> Iterator[Named]:
    root, files = image_files(path)
    names = [file.relative_to(root).as_posix() for file in files]
    faults, sizes = Faults(path.name, "photographs without them"), []
    for name, header in zip(names, in_threads(attempt(read_header), files), strict=True):
        if isinstance(header, BrokenImage):
            faults.found.append(_broken(name, header))
        else:
            sizes.append((header.height, header.width))
    faults.tell()
    for name, file, (height, width) in zip(names, files, sizes, strict=True):
        try:
            yield name, read_pixels(file, (channels, height, width))
        except BrokenImage as error:
            raise _broken(name, error) from error


def _broken(name: str, error: BrokenImage) -> UserError:
    return UserError(
        what=f"{name} {error}", expected="a whole image of one picture", hint="mend it, or take it out"
    )


def _arrays(path: Path, channels: int) -> Iterator[Named]:
    images = arrays_of(path)
    if not is_bytes(images):
        raise UserError(
            what=f"{path.name} has images of {images.dtype}",
            expected="whole numbers from 0 to 255, as photographs have them",
            hint="write the images as uint8",
        )
    _, _, height, width = images.shape
    for row in range(len(images)):
        (pixels,) = in_shape(images[row : row + 1], (channels, height, width))
        yield str(row + 1), pixels.astype(np.uint8)
