"""Anchors place by place, and which object each of them learns."""

from __future__ import annotations

import numpy as np
import pytest

from lossfleet.runners.detection.anchors import BACKGROUND, IGNORED, match
from lossfleet.runners.portable.objects.anchors import Anchors
from lossfleet.runners.portable.objects.boxes import iou

PYRAMID = Anchors(strides=(8, 16), sizes=(12.0, 24.0), scales=(1.0, 2 ** (1 / 3)), ratios=(0.5, 1.0, 2.0))


def test_anchors_are_ordered_by_level_row_column_scale_and_ratio() -> None:
    expected = []
    for stride, size in ((8, 12.0), (16, 24.0)):
        # Of 40 rows and 56 columns: 16 does not divide either of them.
        for row in range(-(-40 // stride)):
            for column in range(-(-56 // stride)):
                for scale in (1.0, 2 ** (1 / 3)):
                    for ratio in (0.5, 1.0, 2.0):
                        width, height = size * scale / ratio**0.5, size * scale * ratio**0.5
                        x, y = (column + 0.5) * stride, (row + 0.5) * stride
                        expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    boxes = PYRAMID.boxes(40, 56)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, expected, rtol=1e-6, atol=1e-5)
    assert PYRAMID.per_place == 6
    assert len(boxes) == 6 * (5 * 7 + 3 * 4)


def test_a_small_image_has_the_papers_imbalance() -> None:
    assert len(Anchors((8, 16), (12, 24), ratios=(0.5, 1, 2)).boxes(64, 64)) == 240
    assert len(Anchors((4, 8, 16), (6, 12, 24), (1, 1.26, 1.59), (0.5, 1, 2)).boxes(64, 64)) == 3024


def test_anchors_learn_the_box_that_they_overlap_most() -> None:
    anchors = PYRAMID.boxes(64, 64).astype(np.float64)
    boxes = np.array([[4, 5, 18, 17], [10, 9, 22, 21], [30.0, 28, 58, 52]])
    overlaps = iou(anchors, boxes)
    matched = match(anchors, boxes)
    own = [int(overlaps[:, box].argmax()) for box in range(3)]
    assert len(set(own)) == 3
    for anchor, found in enumerate(matched):
        if anchor in own:
            assert found == own.index(anchor)
        elif overlaps[anchor].max() >= 0.5:
            assert found == overlaps[anchor].argmax()
        else:
            assert found == (BACKGROUND if overlaps[anchor].max() < 0.4 else IGNORED)
    # Every kind is there.
    assert set(matched.tolist()) == {0, 1, 2, BACKGROUND, IGNORED}
    assert (match(anchors, boxes[:0]) == BACKGROUND).all()


@pytest.mark.parametrize(("width", "expected"), [(5, 0), (4, IGNORED), (3, BACKGROUND)])
def test_the_band_between_has_its_ends(width: int, expected: int) -> None:
    # IoU width / 10; the box's best is another anchor.
    box = np.array([[0, 0, 10, 1]], np.float32)
    anchors = np.array([[0, 0, width, 1], [0, 0, 9, 1]], np.float32)
    assert match(anchors, box).tolist() == [expected, 0]


def test_each_box_has_an_anchor_of_its_own() -> None:
    anchors = np.array([[0, 0, 10, 10], [0, 0, 12, 10], [40, 40, 50, 50]], np.float32)
    # The first two want the first anchor; the better one has it. No anchor touches the last one.
    boxes = np.array([[0, 0, 3, 3], [0, 0, 4, 4], [60, 60, 64, 64]], np.float32)
    assert match(anchors, boxes).tolist() == [1, 0, BACKGROUND]
