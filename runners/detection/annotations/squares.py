"""Squares of photographs, kept as other images are: each photograph is decoded once, whatever is annotated in it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lossfleet.runners.detection.annotations.checking import Checked, leave_out
from lossfleet.runners.detection.annotations.photographs import Unusable, lines_of
from lossfleet.runners.images.decoding import attempt, in_threads
from lossfleet.runners.images.pictures import Allocate, Pictures
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.images.sources import Source
from lossfleet.runners.images.store import stored
from lossfleet.runners.portable.images import BrokenImage, Header, read_pixels
from lossfleet.runners.portable.objects.tiles import Window, cut, inside, windows
from lossfleet.runners.tables.faults import Faults

REPEATED = "photographs left out that repeat another exactly, which would leak across parts"


@dataclass(frozen=True)
class Cutting:
    """How photographs are cut into squares; fields: as `read_boxes` has them."""

    tile: int | None
    overlap: float
    size: int
    channels: int

    def windows(self, header: Header) -> list[Window]:
        """The squares of a photograph."""
        return windows(header.height, header.width, self.tile, self.overlap)


@dataclass(frozen=True, eq=False)
class Squares:
    """What is in the squares of a photograph.

    Fields: photograph; boxes of each square, as `Scenes` has them, and objects, which of the photograph's they are;
    clipped, how many boxes are so at the edges of tiles.
    """

    photograph: Checked
    boxes: tuple[np.ndarray, ...]
    objects: tuple[np.ndarray, ...]
    clipped: int

    @classmethod
    def of(cls, photograph: Checked, cutting: Cutting) -> Squares:
        """Those of a photograph."""
        squares = cutting.windows(photograph.header)
        found = [inside(photograph.boxes, window, cutting.size) for window in squares]
        objects, boxes, clipped = zip(*found, strict=True)
        return cls(photograph, boxes, objects, sum(clipped))

    def __len__(self) -> int:
        return len(self.boxes)


def read_squares(where: Path, photographs: Sequence[Checked], cutting: Cutting, broken: str) -> Pictures:
    """The pixels of all squares, one photograph after the other; read unless they are kept.

    Args:
        where: as messages have it.
        photographs: to cut.
        cutting: how.
        broken: `skip` leaves out photographs that cannot be read, and says so.

    Returns:
        Pictures whose labels say which of the photographs a square is of, in the first rows of their pixels; without
        photographs that cannot be read and those that repeat an earlier one.

    Raises:
        UserError: all photographs together that cannot be read, or there is no space.
    """

    def read(allocate: Allocate) -> Pictures:
        unusable = Unusable(Faults(where.name, expected="whole images"), broken)
        counts = [len(cutting.windows(each.header)) for each in photographs]
        starts = np.cumsum([0, *counts])
        shape = (cutting.channels, cutting.size, cutting.size)
        pixels = allocate((int(starts[-1]), int(np.prod(shape))), np.uint8)
        squares = pixels.reshape(-1, *shape)

        def cut_photograph(place: int) -> bytes:
            photograph = photographs[place]
            header = photograph.header
            whole = read_pixels(photograph.path, (cutting.channels, header.height, header.width))
            for row, window in enumerate(cutting.windows(header), start=starts[place]):
                squares[row] = cut(whole, window, cutting.size)
            return hashlib.blake2b(repr(whole.shape).encode() + whole.tobytes(), digest_size=16).digest()

        first: dict[bytes, int] = {}
        repeated = []
        digests = in_threads(attempt(cut_photograph), range(len(photographs)))
        for place, digest in enumerate(digests):
            if isinstance(digest, BrokenImage):
                leave_out(photographs[place].name, digest, unusable)
            elif first.setdefault(digest, place) != place:
                repeated.append(f"{photographs[place].name} repeats {photographs[first[digest]].name}")
        unusable.faults.tell()
        kept = list(first.values())
        rows = [row for place in kept for row in range(starts[place], starts[place + 1])]
        for new, row in enumerate(rows):
            if new != row:
                pixels[new] = pixels[row]
        return Pictures(
            Images(pixels, np.arange(len(rows)), shape),
            np.repeat(kept, [counts[place] for place in kept]),
            tuple(each.name for each in photographs),
            said=(),
            notes=tuple(lines_of({**unusable.left_out, REPEATED: repeated})),
        )

    source = Source(where, [each.path for each in photographs], [each.name for each in photographs])
    return stored(source, {**asdict(cutting), "broken": broken}, read)
