"""Augmentation: what becomes of the images that an epoch trains on.

An augmentation is a function of what it names of

- images: (n, channels, height, width) float32, standardised: 0 is the mean of the training part;
- random: a generator for this epoch.

It returns images of the same shape. Evaluation, second stages and kept models have the images as they are.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from lossfleet.runners.training.native.build import obstacle
from lossfleet.runners.training.native.call import Call

Share = Annotated[float, Interval(ge=0, le=1)]


def standard(
    images: np.ndarray,
    *,
    random: np.random.Generator,
    shift: Share = 0.1,
    flip: Share = 0.0,
    rotate: Annotated[float, Interval(ge=0, le=180)] = 10.0,
    crop: Annotated[float, Interval(ge=0, lt=1)] = 0.1,
    cut_out: Share = 0.0,
    brightness: Annotated[float, Ge(0)] = 0.1,
) -> np.ndarray:
    """Images that are moved, turned, enlarged, brightened and covered, each by draws of its own; a strength of 0 is off.

    Pixels are interpolated from the four around where they come from, and repeated beyond the edge. Each strength has
    its own draws, uniform up to it in both directions, so that one changes nothing about what the others do.

    Args:
        images: (n, channels, height, width) float32, standardised.
        random: draws.
        shift: in [0, 1], the share of height and of width that an image moves by, up to.
        flip: in [0, 1], the probability of a mirror image, left to right; for what has no other meaning then.
        rotate: in [0, 180], degrees, up to.
        crop: in [0, 1), the share of both sides that is cut away, up to, of which the rest is enlarged.
        cut_out: in [0, 1], the side of a square that becomes 0, as a share of the shorter side, rounded to pixels. Its
            middle is any pixel, and what lies beyond the image is nothing.
        brightness: at least 0, the standard deviations that are added to all pixels, up to.

    Returns:
        Images of the same shape.

    Reference:
        DeVries and Taylor 2017, Improved regularization of convolutional neural networks with cutout, arXiv 1708.04552.
    """  # noqa: E501
    if not any((shift, flip, rotate, crop, cut_out, brightness)):
        return images
    count, _, *size = images.shape
    sides = np.array(size)
    mirrored, turned, cropped, brightened = random.random((4, count))
    moved, taken, covered = random.random((3, count, 2))
    cropped = crop * cropped
    maps = affine_maps(
        flipped=mirrored < flip,
        degrees=rotate * (2 * turned - 1),
        shift=shift * sides * (2 * moved - 1),
        crop=cropped,
        # Any part of so much of the image.
        middle=cropped[:, None] * sides * (taken - 0.5),
    )
    side = round(cut_out * sides.min())
    first = (covered * sides).astype(np.int32) - side // 2
    squares = np.concatenate([np.maximum(first, 0), np.minimum(first + side, sides)], axis=1)
    return transformed(images, maps, squares, brightness * (2 * brightened - 1))


def affine_maps(
    *, flipped: np.ndarray, degrees: np.ndarray, shift: np.ndarray, crop: np.ndarray, middle: np.ndarray
) -> np.ndarray:
    """From where each pixel is taken in images that are cropped, mirrored, turned and moved, in this order.

        source(p) = middle + (1 - crop) F R' (p - shift)

    p and source(p) are (row, column) from the middle of the image; R turns counter-clockwise, F is the mirror.

    Args:
        flipped: (n,) bool.
        degrees: (n,).
        shift: (n, 2), rows and columns.
        crop: (n,), the share of the sides that is cut away.
        middle: (n, 2), the middle of what is left, in rows and columns from that of the image.

    Returns:
        (n, 6) float32, the two rows of the matrix (2, 3) of source(p) = matrix (p, 1).
    """
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    mirror = np.where(flipped, -1.0, 1.0)
    back = np.array([[cosine, sine], [-mirror * sine, mirror * cosine]]).transpose(2, 0, 1)
    matrix = (1 - crop)[:, None, None] * back
    offset = middle[:, :, None] - matrix @ shift[:, :, None]
    return np.concatenate([matrix, offset], axis=2).reshape(-1, 6).astype(np.float32)


def transformed(
    images: np.ndarray, maps: np.ndarray, squares: np.ndarray, brightness: np.ndarray
) -> np.ndarray:
    """Images through affine maps, brightened, and with a square of 0; in the native core where this machine has it.

    Args:
        images: (n, channels, height, width) float32.
        maps: (n, 6), as `affine_maps` gives them.
        squares: (n, 4), top, left, bottom and right; the last two are the first row and column behind it.
        brightness: (n,), what is added to all pixels but those of the square.

    Returns:
        (n, channels, height, width) float32.
    """
    if obstacle() is not None:
        return transformed_in_numpy(images, maps, squares, brightness)
    given = [np.ascontiguousarray(each, np.float32) for each in (images, maps, brightness)]
    augmented = np.empty_like(given[0])
    Call("augment_images", *given[:2], np.ascontiguousarray(squares, np.int32), given[2], augmented)()
    return augmented


def transformed_in_numpy(
    images: np.ndarray, maps: np.ndarray, squares: np.ndarray, brightness: np.ndarray
) -> np.ndarray:
    """See `transformed`; it takes ten times as long."""
    count, channels, height, width = images.shape
    lasts = np.array([height - 1, width - 1])
    matrix = maps.reshape(-1, 2, 3).astype(np.float64)
    down, along = np.meshgrid(*(np.arange(last + 1) - last / 2 for last in lasts), indexing="ij")
    points = np.stack([down.ravel(), along.ravel(), np.ones(down.size)])
    places = np.clip(matrix @ points + lasts[:, None] / 2, 0, lasts[:, None])
    first = places.astype(np.int64)
    behind = (places - first).astype(np.float32)[:, :, None]
    (row, column), (next_row, next_column) = (
        each.transpose(1, 0, 2) for each in (first, np.minimum(first + 1, lasts[:, None]))
    )
    pixels = images.reshape(count, channels, -1)

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return np.take_along_axis(pixels, (row * width + column)[:, None], axis=2)

    upper, lower = at(row, column), at(next_row, column)
    upper += behind[:, 1] * (at(row, next_column) - upper)
    lower += behind[:, 1] * (at(next_row, next_column) - lower)
    augmented = upper + behind[:, 0] * (lower - upper) + brightness.astype(np.float32)[:, None, None]
    rows, columns = np.arange(height), np.arange(width)
    top, left, bottom, right = squares.T[:, :, None]
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    covered = in_rows[:, :, None] & in_columns[:, None, :]
    return np.where(covered[:, None], np.float32(0), augmented.reshape(images.shape))
