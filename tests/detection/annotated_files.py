"""Photographs with annotations that the tests of this folder write, in each of the formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
Objects = Sequence[tuple[Box, str]]


def write_photograph(path: Path, height: int, width: int, number: int, *, channels: int = 3) -> np.ndarray:
    """A file of a smooth picture of this number alone; its pixels (channels, height, width)."""
    coarse = np.random.default_rng(number).integers(0, 256, (3, 4, channels), np.uint8)
    image = Image.fromarray(coarse[:, :, 0] if channels == 1 else coarse).resize((width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def write_coco(folder: Path, images: Mapping[str, Objects], sizes: Mapping[str, tuple[int, int]]) -> Path:
    """COCO's JSON of images (by file name) and their objects."""
    names = sorted({name for objects in images.values() for _, name in objects}, reverse=True)
    annotations = [
        {
            "id": 100 + number,
            "image_id": 7 * list(images).index(file),
            "category_id": 3 * names.index(name),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        for number, (file, box, name) in enumerate(
            (file, box, name) for file, objects in images.items() for box, name in objects
        )
    ]
    content = {
        "images": [
            {"id": 7 * number, "file_name": file, "height": sizes[file][0], "width": sizes[file][1]}
            for number, file in enumerate(images)
        ],
        "categories": [{"id": 3 * number, "name": name} for number, name in enumerate(names)],
        "annotations": annotations,
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def write_voc(folder: Path, images: Mapping[str, Objects], sizes: Mapping[str, tuple[int, int]]) -> Path:
    """Pascal VOC's XML, a file an image; pixels are counted from 1 and the last one is in the box."""
    for file, objects in images.items():
        height, width = sizes[file]
        own = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x1 + 1:g}</xmin><ymin>{y1 + 1:g}</ymin>"
            f"<xmax>{x2:g}</xmax><ymax>{y2:g}</ymax></bndbox></object>"
            for (x1, y1, x2, y2), name in objects
        )
        (folder / file).with_suffix(".xml").write_text(
            f"<annotation><filename>{Path(file).name}</filename>"
            f"<size><width>{width}</width><height>{height}</height></size>{own}</annotation>"
        )
    return folder


def write_table(folder: Path, images: Mapping[str, Objects], sizes: Mapping[str, tuple[int, int]]) -> Path:
    """A table with DeepForest's columns."""
    rows = ["image_path,xmin,ymin,xmax,ymax,label"]
    for file, objects in images.items():
        rows += [f"{file},{x1:g},{y1:g},{x2:g},{y2:g},{name}" for (x1, y1, x2, y2), name in objects]
        if not objects:
            rows.append(f"{file},,,,,")
    path = folder / "boxes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


FORMATS: dict[str, Callable[..., Path]] = {"coco": write_coco, "voc": write_voc, "table": write_table}
