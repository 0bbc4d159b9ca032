"""Images that files have as arrays: which axis is which, and in which size they are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.pictures import Allocate
from lossfleet.runners.images.pixels import BLOCK_ROWS, Images, Shape
from lossfleet.runners.portable.images import shaped

LAYOUTS = "(N, height, width), or with 1 or 3 channels as the second or the last axis"


def channels_first(name: str, array: np.ndarray) -> np.ndarray:
    """Images as (N, channels, height, width), a view of the array.

    Args:
        name: of the array, for messages.
        array: as `LAYOUTS` says, of numbers.

    Raises:
        UserError: another shape, no numbers, or numbers that are not finite.
    """
    if array.dtype.kind not in "buif":
        raise _wrong(f"{name} is of {array.dtype}", "numbers")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim != 4 or array.shape[1] not in (1, 3):
        raise _wrong(f"{name} has the shape {array.shape}", LAYOUTS)
    if not array.size:
        raise _wrong(f"{name} has the shape {array.shape}", "images with pixels")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _wrong(f"{name} has numbers that are not finite", "numbers in every pixel")
    return array


def keep(
    arrays: Mapping[str, np.ndarray], allocate: Allocate, *, size: int | None, channels: int | None
) -> tuple[Images, list[str]]:
    """The images of some arrays as one, and what they are, in words.

    Args:
        arrays: by name, each as `channels_first` gives it.
        allocate: makes the array of pixels.
        size: height and width to resize to; None for their own.
        channels: 1 to make them grey, 3 colour; None for what they are.

    Raises:
        UserError: arrays of different shapes, or images to resize that are not of bytes.
    """
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    (first, own), *others = shapes.items()
    for name, shape in others:
        if shape != own:
            raise _wrong(
                f"{first} has images of {own} and {name} of {shape}", "one (channels, height, width)"
            )
    wanted: Shape = (channels or own[0], size or own[1], size or own[2])
    has_bytes = all(is_bytes(array) for array in arrays.values())
    if wanted != own and not has_bytes:
        raise UserError(
            what=f"{first} has {arrays[first].dtype} in its pixels, and data.size or data.channels changes them",
            expected="whole numbers from 0 to 255, uint8, to resize",
            hint="write the images as uint8, or leave data.size and data.channels out",
        )
    kind = np.uint8 if has_bytes else np.float32
    pixels = allocate((sum(map(len, arrays.values())), int(np.prod(wanted))), kind)
    start = 0
    for array in arrays.values():
        _fill(pixels[start : start + len(array)], array, wanted)
        start += len(array)
    said = [f"{wanted[2]} x {wanted[1]} pixels", "grey" if wanted[0] == 1 else "colour"]
    if wanted[1:] != own[1:]:
        said[0] += f", resized from {own[2]} x {own[1]}"
    if wanted[0] < own[0]:
        said[1] += ", of colour"
    return Images(pixels, np.arange(len(pixels)), wanted), said


def is_bytes(array: np.ndarray) -> bool:
    """Whether pixels are whole numbers from 0 to 255, by type or, of other integers, by value."""
    if array.dtype.kind == "f":
        return False
    return array.dtype in (np.uint8, np.bool_) or (
        int(array.min()) >= 0 and int(array.max()) <= np.iinfo(np.uint8).max
    )


def in_shape(images: np.ndarray, shape: Shape) -> np.ndarray:
    """Images (N, channels, height, width) of bytes in another shape, resized and made grey or coloured by Pillow."""
    if images.shape[1:] == shape:
        return images
    from PIL import Image

    pictures = np.ascontiguousarray(images.transpose(0, 2, 3, 1).astype(np.uint8))
    if pictures.shape[3] == 1:
        pictures = pictures[..., 0]
    return np.stack([shaped(Image.fromarray(each), shape) for each in pictures])


def _fill(pixels: np.ndarray, array: np.ndarray, wanted: Shape) -> None:
    def fill(start: int) -> None:
        block = in_shape(array[start : start + BLOCK_ROWS], wanted)
        pixels[start : start + len(block)] = block.reshape(len(block), -1)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        list(threads.map(fill, range(0, len(array), BLOCK_ROWS)))


def _wrong(what: str, expected: str) -> UserError:
    return UserError(what=what, expected=expected, hint="write the file again, or correct data.path")
