"""What is right, wrong and missed, and that it is drawn where it is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from lossfleet.runners.detection.drawing import MISSED, RIGHT, WRONG, drawn, judged
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.portable.objects.boxes import iou
from lossfleet.runners.portable.objects.detections import Detections


def detections(*each: tuple[tuple[float, ...], float, int]) -> Detections:
    boxes, scores, labels = zip(*each, strict=True) if each else ((), (), ())
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int32)
    )


def test_what_is_right_is_what_coco_takes_for_right() -> None:
    random = np.random.default_rng(7)
    sides = random.integers(8, 14, (9, 2))
    corners = random.integers(0, 12, (9, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    labels = random.integers(0, 2, 9).astype(np.int32)
    near = np.concatenate([boxes, boxes + 2, boxes - 1]).astype(np.float32)
    scores = (random.permutation(27) // 2 / 13).astype(np.float32)
    found = Detections(near, scores, np.tile(labels, 3) ^ (random.random(27) < 0.2))
    right, taken = set(), set()
    for place in sorted(range(27), key=lambda place: (-scores[place], place)):
        overlaps = {
            number: iou(near[[place]], boxes[[number]])[0, 0]
            for number in range(9)
            if labels[number] == found.labels[place] and number not in taken
        }
        best = max(overlaps, key=lambda number: overlaps[number], default=None)
        if best is not None and overlaps[best] >= 0.5:
            right.add(place)
            taken.add(best)
    is_right, is_found = judged(found, boxes, labels)
    assert set(np.flatnonzero(is_right)) == right
    assert set(np.flatnonzero(is_found)) == taken
    assert 3 < len(right) == len(taken) < 27
    assert [each.sum() for each in judged(detections(), boxes, labels)] == [0, 0]
    assert [len(each) for each in judged(found, boxes[:0], labels[:0])] == [27, 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_are_drawn_where_they_are(channels: int) -> None:
    there = np.array([[4, 24, 20, 44], [36, 30, 60, 60]], np.float32)
    scenes = Scenes(
        np.full((2, channels, 64, 64), 90, np.uint8),
        (there, np.zeros((0, 4), np.float32)),
        (np.array([0, 1], np.int32), np.zeros(0, np.int32)),
        ("cat", "Fuß"),
        np.arange(2),
    )
    found = [
        detections(((4, 24, 20, 44), 0.9, 0), ((40, 4, 50, 14), 0.6, 1), ((10, 50, 30, 60), 0.49, 1)),
        detections(),
    ]
    images = drawn(scenes, found, scale=3)
    assert images.shape == (2, 3, 192, 192)
    assert images.dtype == np.uint8
    first = images[0].transpose(1, 2, 0)

    def colored(color: str) -> np.ndarray:
        return (first == ImageColor.getrgb(color)).all(axis=2)

    # The lower edge of each, whose words are above it: from end to end, and for the missed one dashes.
    for color, (x1, y1, x2, y2), is_dashed in (
        (RIGHT, there[0], False),
        (MISSED, there[1], True),
        (WRONG, (40, 4, 50, 14), False),
    ):
        x1, y1, x2, y2 = (int(3 * each) for each in (x1, y1, x2, y2))
        edge = colored(color)[y2 - 1, x1:x2]
        assert 0.5 < edge.mean() < 0.9 if is_dashed else edge.all()
        inside = first[y1 + 18 : y2 - 2, x1 + 2 : x2 - 2]
        assert (inside == 90).all()
        # Dashes are as wide as two pixels.
        assert not colored(color)[y2 + is_dashed :].any()
    # What is less sure than a half is not drawn.
    assert (first[190:, :100] == 90).all()
    assert (images[1] == 90).all()
