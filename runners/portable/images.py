"""A file with an image as pixels, as training has read them; Pillow is imported where the first one is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Of a JPEG with further views behind the first, as phones write it (MPO), that one is read.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
GREY = ("1", "L", "LA", "La")
SIXTEEN_BITS = "I;16"
# A small file may say that it is endless, to take all memory.
MOST_PIXELS = 2**26


class BrokenImage(ValueError):
    """A file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Header:
    """What a file says of its image before that is read: its size as it is seen, and how pixels are written."""

    height: int
    width: int
    is_grey: bool
    is_transparent: bool
    has_sixteen_bits: bool


def read_header(path: Path) -> Header:
    """What a file says of its image.

    Raises:
        BrokenImage: it is none, or one that cannot be used.
    """
    from PIL.ExifTags import Base

    with _opened(path) as image:
        width, height = image.size
        if image.format == "TIFF":
            # Some versions of Pillow have turned this size, and others have not.
            width, height = image.tag_v2[Base.ImageWidth], image.tag_v2[Base.ImageLength]
        # A camera held upright: 5 to 8 turn by a quarter.
        if image.getexif().get(Base.Orientation, 1) >= 5:
            width, height = height, width
        is_transparent = "A" in image.getbands() or "transparency" in image.info
        sixteen = image.mode.startswith(SIXTEEN_BITS)
        return Header(height, width, image.mode in GREY or sixteen, is_transparent, sixteen)


def read_pixels(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The pixels of a file, uint8 of this shape (channels, height, width), turned as its EXIF says.

    Raises:
        BrokenImage: it is none, or one that cannot be used.
    """
    from PIL import ImageOps

    with _opened(path) as image:
        turned = ImageOps.exif_transpose(image)
        return shaped(_eight_bits(turned) if turned.mode.startswith(SIXTEEN_BITS) else turned, shape)


def shaped(image: Image, shape: tuple[int, int, int]) -> np.ndarray:
    """An image as uint8 of a shape (channels, height, width): grey by ITU-R 601, resized bilinearly without aliases."""
    from PIL.Image import Resampling

    channels, height, width = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _eight_bits(image: Image) -> Image:
    from PIL import Image as images

    return images.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An image of which nothing but the header is read.

    Raises:
        BrokenImage: as above, and whatever reading it within the block meets.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if path.stat().st_size == 0:
            raise BrokenImage("is empty")
        with Image.open(path, formats=FORMATS) as image:
            _check(image)
            yield image
    except BrokenImage:
        raise
    except UnidentifiedImageError:
        raise BrokenImage("is no JPEG, PNG, BMP, TIFF or WebP") from None
    except Exception as error:
        # The decoders raise what comes: OSError, SyntaxError, ValueError, struct.error, zlib.error and others.
        raise BrokenImage(f"cannot be read ({' '.join(str(error).split())})") from error


def _check(image: Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BrokenImage(f"has {width:,} x {height:,} pixels, more than {MOST_PIXELS:,}")
    if not width * height:
        raise BrokenImage(f"has {width} x {height} pixels")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":
        raise BrokenImage(f"has {pages} pictures, as an animation or pages")
    if image.mode in ("I", "F"):
        raise BrokenImage("has 32 bits a pixel")
