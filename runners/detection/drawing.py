"""Scenes with what a detector found in them drawn: rightly, wrongly, and what it missed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.portable.objects.boxes import iou
from lossfleet.runners.portable.objects.detections import Detections

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

# Okabe and Ito's, that can be told apart by everyone.
RIGHT, WRONG, MISSED = "#009e73", "#d55e00", "#f0e442"
# Of classes, one after the other and again from the first.
COLORS = (RIGHT, "#56b4e9", "#e69f00", MISSED, "#cc79a7", "#0072b2", WRONG)
CAPTION = (
    "Green boxes are found, with their scores; orange ones are found and not there; dashed ones are missed."
)
# Pixels of a letter, of a line, and of a dash and the gap behind it.
LETTER, LINE, DASH = 12, 2, 5


def drawn(
    scenes: Scenes, found: Sequence[Detections], *, least_score: float = 0.5, scale: int = 4
) -> np.ndarray:
    """Scenes with the boxes that are found, those that are missed, and their classes.

    Args:
        scenes: N of them.
        found: in each.
        least_score: what is less sure counts as not found.
        scale: pixels of a side that a pixel becomes.

    Returns:
        (N, 3, scale height, scale width) uint8; `CAPTION` says what the colours mean.
    """
    sheets = []
    for place, each in enumerate(found):
        image, pen = _sheet(scenes.images[place], scale)
        sure_ones = each.of_at_least(least_score)
        is_right, is_found = judged(sure_ones, scenes.boxes[place], scenes.labels[place])
        missed = ~is_found
        for box, label in zip(scenes.boxes[place][missed], scenes.labels[place][missed], strict=True):
            _dashed(pen, box * scale)
            _label(pen, box * scale, _name(scenes.class_names, label), MISSED)
        for number, right in enumerate(is_right):
            name = _name(scenes.class_names, sure_ones.labels[number])
            said = f"{name} {sure_ones.scores[number]:.2f}"
            _framed(pen, sure_ones.boxes[number] * scale, said, RIGHT if right else WRONG)
        sheets.append(np.asarray(image).transpose(2, 0, 1))
    return np.stack(sheets)


def draw_finds(
    path: Path, pixels: np.ndarray, found: Detections, class_names: Sequence[str], *, least_score: float
) -> None:
    """Write a photograph with the boxes of what is found in it, as PNG.

    Args:
        path: of the file, whose folder is made if need be.
        pixels: (channels, height, width) uint8.
        found: in its pixels.
        class_names: of which a single one is not written.
        least_score: what is less sure is not drawn.
    """
    image, pen = _sheet(pixels, 1)
    sure_ones = found.of_at_least(least_score)
    for box, score, label in zip(sure_ones.boxes, sure_ones.scores, sure_ones.labels, strict=True):
        name = f"{_name(class_names, label)} " if len(class_names) > 1 else ""
        _framed(pen, box, f"{name}{score:.2f}", COLORS[label % len(COLORS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def judged(
    found: Detections, boxes: np.ndarray, labels: np.ndarray, *, iou_threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections are right and which objects are found, as COCO has it: by falling score each takes the object of
    its class that it overlaps most, among those left and by at least the threshold.

    Args:
        found: D of them.
        boxes, labels: of the M objects.
        iou_threshold: in 0..1.

    Returns:
        (D,) bool and (M,) bool.
    """
    is_right, is_found = np.zeros(len(found), bool), np.zeros(len(boxes), bool)
    overlaps = iou(found.boxes, boxes) * (found.labels[:, None] == labels)
    for place in np.argsort(-found.scores, kind="stable") if len(boxes) else ():
        left = np.where(is_found, -1, overlaps[place])
        best = left.argmax()
        if left[best] >= iou_threshold:
            is_right[place] = is_found[best] = True
    return is_right, is_found


def _sheet(pixels: np.ndarray, scale: int) -> tuple[Image, ImageDraw]:
    """Pixels (channels, height, width) in colour, each of them so many high and wide, and a pen on them."""
    from PIL import Image, ImageDraw, ImageFont

    # Grey images fill the three colours.
    coloured = np.broadcast_to(pixels, (3, *pixels.shape[1:])).repeat(scale, axis=1).repeat(scale, axis=2)
    image = Image.fromarray(coloured.transpose(1, 2, 0).copy())
    pen = ImageDraw.Draw(image)
    pen.font = ImageFont.load_default(LETTER)
    return image, pen


def _name(class_names: Sequence[str], label: int) -> str:
    """The name of a class, or its number where Pillow's own font lacks its letters."""
    name = class_names[label]
    return name if name.isascii() else f"class {label}"


def _framed(pen: ImageDraw, box: np.ndarray, text: str, color: str) -> None:
    """A box with words."""
    # One that is narrower than a pixel has its edges on it.
    ends = np.maximum(box[2:] - 1, box[:2])
    pen.rectangle([*box[:2], *ends], outline=color, width=LINE)
    _label(pen, box, text, color)


def _label(pen: ImageDraw, box: np.ndarray, text: str, color: str) -> None:
    """Words on a ground of the colour, above a box or else inside of it, and within the image."""
    left, top, right, bottom = pen.textbbox((0, 0), text)
    width, height = right - left + 2, bottom - top + 2
    x = max(0, min(box[0], pen.im.size[0] - width))
    y = box[1] - height if box[1] >= height else box[1]
    pen.rectangle([x, y, x + width - 1, y + height - 1], fill=color)
    pen.text((x + 1 - left, y + 1 - top), text, fill="black")


def _dashed(pen: ImageDraw, box: np.ndarray) -> None:
    x1, y1, x2, y2 = (*box[:2], *(box[2:] - 1))
    for start in np.arange(x1, x2, 2 * DASH):
        end = min(start + DASH, x2)
        pen.line([start, y1, end, y1], fill=MISSED, width=LINE)
        pen.line([start, y2, end, y2], fill=MISSED, width=LINE)
    for start in np.arange(y1, y2, 2 * DASH):
        end = min(start + DASH, y2)
        pen.line([x1, start, x1, end], fill=MISSED, width=LINE)
        pen.line([x2, start, x2, end], fill=MISSED, width=LINE)
