"""Overlap by counting pixels, coding by the definition, suppression by going through all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from lossfleet.runners.portable.objects.boxes import (
    clip,
    decode,
    encode,
    intersection,
    iou,
    suppress,
    suppress_by_class,
)


def random_boxes(random: np.random.Generator, count: int, *, side: int = 20) -> np.ndarray:
    corners = random.integers(-3, side, (count, 2))
    return np.concatenate([corners, corners + random.integers(1, side, (count, 2))], axis=1).astype(
        np.float64
    )


def pixels(box: np.ndarray, *, side: int = 60) -> np.ndarray:
    """The pixels of a box with whole corners, -10 to 50."""
    x1, y1, x2, y2 = (box + 10).astype(int)
    mask = np.zeros((side, side), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two boxes in float64, by the definition."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def test_overlap_is_that_of_the_pixels() -> None:
    random = np.random.default_rng(3)
    a, b = random_boxes(random, 13), random_boxes(random, 11)
    shared = np.array([[(pixels(one) & pixels(other)).sum() for other in b] for one in a])
    either = np.array([[(pixels(one) | pixels(other)).sum() for other in b] for one in a])
    np.testing.assert_array_equal(intersection(a, b), shared)
    np.testing.assert_allclose(iou(a, b), shared / either, rtol=1e-15)
    assert iou(a.astype(np.float32), b.astype(np.float32)).dtype == np.float32
    assert 0 < (iou(a, b) > 0).mean() < 1


def test_overlap_of_fractions_and_its_limits() -> None:
    random = np.random.default_rng(5)
    a = random_boxes(random, 7) + random.uniform(0, 0.5, (7, 4))
    b = random_boxes(random, 5) + random.uniform(0, 0.5, (5, 4))
    np.testing.assert_allclose(iou(a, b), [[overlap(one, other) for other in b] for one in a], rtol=1e-13)
    np.testing.assert_allclose(iou(a, b), iou(b, a).T)
    np.testing.assert_array_equal(np.diag(iou(a, a)), 1)
    empty = np.array([[3.0, 3, 3, 9]])
    assert iou(empty, empty) == iou(empty, a)[:, :1].max() == 0
    assert iou(a[:0], b).shape == (0, 5)


def test_coding_is_the_definition_and_turns_round() -> None:
    random = np.random.default_rng(7)
    boxes, anchors = random_boxes(random, 17), random_boxes(random, 17)
    deltas = encode(boxes, anchors)
    for (x1, y1, x2, y2), (u1, v1, u2, v2), delta in zip(boxes, anchors, deltas, strict=True):
        width, height = u2 - u1, v2 - v1
        expected = [
            ((x1 + x2) / 2 - (u1 + u2) / 2) / width,
            ((y1 + y2) / 2 - (v1 + v2) / 2) / height,
            np.log((x2 - x1) / width),
            np.log((y2 - y1) / height),
        ]
        np.testing.assert_allclose(delta, expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(decode(deltas, anchors), boxes, atol=1e-12)
    np.testing.assert_allclose(encode(anchors, anchors), 0, atol=1e-15)
    single = decode(deltas.astype(np.float32), anchors.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, boxes, atol=1e-4)


def test_a_decoded_box_outgrows_its_anchor_by_no_more_than_its_limit() -> None:
    wild = decode(np.array([[0.0, 0, 500, 1]]), np.array([[0.0, 0, 2, 2]]))
    np.testing.assert_allclose(wild[0, 2] - wild[0, 0], 2 * 1000 / 16)
    np.testing.assert_allclose(wild[0, 3] - wild[0, 1], 2 * np.e)


def test_clipping_keeps_what_is_inside() -> None:
    random = np.random.default_rng(11)
    boxes = random_boxes(random, 23) - 5
    clipped = clip(boxes, height=12, width=9)
    inside = np.zeros((60, 60), bool)
    inside[10:22, 10:19] = True
    for box, kept in zip(boxes, clipped, strict=True):
        np.testing.assert_array_equal(pixels(kept), pixels(box) & inside)
    np.testing.assert_array_equal(clip(np.array([[20.0, 1, 30, 5]]), 12, 9), [[9, 1, 9, 5]])


def suppressed(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float) -> list[int]:
    """Box by box, best first: kept if no kept one of its label overlaps it by more."""
    kept: list[int] = []
    for place in sorted(range(len(scores)), key=lambda place: (-scores[place], place)):
        same = [other for other in kept if labels[other] == labels[place]]
        if all(overlap(boxes[place], boxes[other]) <= threshold for other in same):
            kept.append(place)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_suppression_keeps_what_the_definition_keeps(threshold: float) -> None:
    random = np.random.default_rng(13)
    boxes = random_boxes(random, 101, side=12)
    # Many equal scores.
    scores, labels = random.integers(0, 29, 101) / 29, random.integers(0, 3, 101)
    kept = suppress_by_class(boxes, scores, labels, iou_threshold=threshold)
    assert kept.tolist() == suppressed(boxes, scores, labels, threshold)
    together = suppress(boxes, scores, iou_threshold=threshold)
    assert together.tolist() == suppressed(boxes, scores, 0 * labels, threshold)
    if threshold < 1:
        assert len(together) < len(kept) < 101


def test_suppression_keeps_an_overlap_of_exactly_the_threshold() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 2, 1]], np.float32)
    scores = np.array([0.5, 0.9, 0.5], np.float32)
    assert suppress(boxes, scores, iou_threshold=0.5).tolist() == [1, 0]
    assert suppress(boxes, scores, iou_threshold=0.49).tolist() == [1]
    assert suppress(boxes[:0], scores[:0], iou_threshold=0.5).tolist() == []
