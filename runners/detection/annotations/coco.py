"""Annotations in COCO's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.detection.annotations.photographs import Photograph, Photographs

# Of a bbox, which NaN and infinity do not come up to.
LARGEST = 1e9
EXPECTED = "COCO's JSON with images, annotations and categories"


def read_coco(path: Path, photographs: Photographs) -> None:
    """Add what a file of COCO's JSON says: images (id, file_name), categories (id, name), annotations (image_id,
    category_id, bbox: x, y, width, height). Crowds, whose one box is around many objects, are no objects.

    Raises:
        UserError: the file is none.
    """
    content = _loaded(path)
    images = _by_id(path, "image", content["images"], "file_name")
    categories = {
        key: each["name"] for key, each in _by_id(path, "category", content["categories"], "name").items()
    }
    by_image: dict[Any, Photograph | None] = {}
    for number, (key, image) in enumerate(images.items(), start=1):
        photograph = photographs.named(image["file_name"], f"{path.name} image {number}")
        by_image[key] = photograph
        height, width = image.get("height"), image.get("width")
        if photograph is not None and isinstance(height, int) and isinstance(width, int):
            photograph.size = height, width
    crowds = 0
    for number, each in enumerate(content["annotations"], start=1):
        place = f"{path.name} annotation {number} (id {each.get('id', '-')})"
        if each.get("iscrowd"):
            crowds += 1
            continue
        if not _is_usable(each, place, images, categories, photographs):
            continue
        photograph = by_image[each["image_id"]]
        if photograph is not None:
            x, y, width, height = map(float, each["bbox"])
            photograph.add((x, y, x + width, y + height), categories[each["category_id"]], place)
    photographs.said.append(f"COCO's JSON in {path.name}")
    if crowds:
        photographs.said.append(f"crowds left out ({crowds:,})")


def _is_usable(
    annotation: Mapping[str, Any],
    place: str,
    images: Mapping[Any, Any],
    categories: Mapping[Any, str],
    photographs: Photographs,
) -> bool:
    bbox = annotation.get("bbox")
    has_numbers = (
        isinstance(bbox, list)
        and len(bbox) == 4
        and all(isinstance(each, int | float) and abs(each) < LARGEST for each in bbox)
    )
    reasons = {
        f"has the image_id {annotation.get('image_id')!r}, which no image has": _is_key(
            annotation.get("image_id"), images
        ),
        f"has the unknown class {annotation.get('category_id')!r} as its category_id": _is_key(
            annotation.get("category_id"), categories
        ),
        f"has the bbox {bbox!r}": has_numbers,
    }
    wrong = [reason for reason, is_right in reasons.items() if not is_right]
    if wrong:
        photographs.unusable.add(
            "boxes",
            f"{place} {' and '.join(wrong)}",
            "the id of an image, the id of a category, and a bbox of x, y, width and height",
            "correct it",
        )
    return not wrong


def _by_id(path: Path, kind: str, records: list[dict[str, Any]], name: str) -> dict[Any, dict[str, Any]]:
    """The records by their ids.

    Raises:
        UserError: one has no id of its own, or no name.
    """
    by_id: dict[Any, dict[str, Any]] = {}
    for number, each in enumerate(records, start=1):
        key = each.get("id")
        if not isinstance(key, int | str) or key in by_id or not isinstance(each.get(name), str):
            raise UserError(
                what=f"{path.name} {kind} {number} has the id {key!r} and the {name} {each.get(name)!r}",
                expected=f"an id that no other {kind} has, and a {name}",
                hint="correct it",
            )
        by_id[key] = each
    return by_id


def _is_key(value: object, known: Mapping[Any, Any]) -> bool:
    return isinstance(value, int | str) and value in known


def _loaded(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            what=f"{path.name} cannot be read as JSON ({error})", expected=EXPECTED, hint="correct data.path"
        ) from error
    for name in ("images", "annotations", "categories"):
        records = content.get(name) if isinstance(content, dict) else None
        if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
            raise UserError(
                what=f"{path.name} has no list of {name}", expected=EXPECTED, hint="correct data.path"
            )
    return content
