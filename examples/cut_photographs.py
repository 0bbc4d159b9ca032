"""Cuts annotated photographs into pieces, each a photograph of its own that may be in another part of the data.

python examples/cut_photographs.py PIECES SIDE PHOTOGRAPH.xml...

PIECES is the folder to write: pieces of about SIDE x SIDE pixels that do not overlap, and boxes.csv. The files are
Pascal VOC's XML, each beside its photograph. A box belongs to the piece that has its centre; lossfleet clips what of it
is beyond the edges.
"""

import csv
import sys
from itertools import pairwise, product
from pathlib import Path

from defusedxml.ElementTree import parse
from PIL import Image

ENDS = ("xmin", "ymin", "xmax", "ymax")


def edges(length: int, side: int) -> list[int]:
    """Where pieces of about this side begin and end."""
    count = max(1, round(length / side))
    return [round(place * length / count) for place in range(count + 1)]


def main(pieces: Path, side: int, files: list[Path]) -> None:
    """Writes the pieces and their table."""
    pieces.mkdir(parents=True, exist_ok=True)
    rows = []
    for file in files:
        root = parse(file).getroot()
        photograph = Image.open(file.parent / root.findtext("filename"))
        objects = [
            (*(float(each.findtext(f"bndbox/{end}")) for end in ENDS), each.findtext("name"))
            for each in root.iter("object")
        ]
        tops, lefts = (pairwise(edges(length, side)) for length in (photograph.height, photograph.width))
        for (top, bottom), (left, right) in product(tops, lefts):
            name = f"{file.stem}_{left}_{top}.png"
            photograph.crop((left, top, right, bottom)).save(pieces / name)
            own = [
                (x1 - left, y1 - top, x2 - left, y2 - top, label)
                for x1, y1, x2, y2, label in objects
                if left <= (x1 + x2) / 2 < right and top <= (y1 + y2) / 2 < bottom
            ]
            # A piece without any has a row with its name alone.
            rows += [(name, *each) for each in own] or [(name, *[""] * 5)]
    with (pieces / "boxes.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(("image_path", *ENDS, "label"))
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(each) for each in sys.argv[3:]])
