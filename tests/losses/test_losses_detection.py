"""Greedy NMS by loss against the loop that defines it."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from lossfleet.losses import box_iou, nms_mask, ohem_with_nms

IMAGES, BOXES = 2, 13


@pytest.fixture(autouse=True, scope="module")
def _synchronize():
    ms.runtime.launch_blocking()


def make(seed: int, count: int = BOXES) -> tuple[np.ndarray, np.ndarray]:
    """Losses with ties, and boxes on a coarse grid, some of them empty."""
    random = np.random.default_rng(seed)
    corner = random.integers(0, 6, (count, 2))
    boxes = np.concatenate([corner, corner + random.integers(0, 6, (count, 2))], 1).astype(np.float32)
    return random.integers(0, 7, count).astype(np.float32), boxes


def iou(one: np.ndarray, other: np.ndarray) -> float:
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    intersection = max(0.0, float(width)) * max(0.0, float(height))
    union = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - intersection
    return intersection / union if union > 0 else 0.0


def greedy(losses: np.ndarray, boxes: np.ndarray, threshold: float) -> np.ndarray:
    mask = np.zeros(len(losses), np.float32)
    for index in sorted(range(len(losses)), key=lambda i: (-losses[i], i)):
        mask[index] = all(iou(boxes[index], boxes[kept]) <= threshold for kept in np.flatnonzero(mask))
    return mask


def test_iou_of_every_two_boxes():
    boxes = make(0)[1]
    expected = [[iou(one, other) for other in boxes] for one in boxes]
    np.testing.assert_allclose(box_iou(Tensor(boxes)).asnumpy(), expected, rtol=1e-6)
    known = Tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 1, 1]])
    np.testing.assert_allclose(
        box_iou(known).asnumpy(), [[1, 1 / 7, 1 / 4], [1 / 7, 1, 0], [1 / 4, 0, 1]], rtol=1e-6
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.0, 0.11, 0.31, 0.53, 1.0]))
def test_nms_is_greedy(seed, threshold):
    losses, boxes = make(seed)
    mask = nms_mask(Tensor(losses), Tensor(boxes), iou_threshold=threshold).asnumpy()
    np.testing.assert_array_equal(mask, greedy(losses, boxes, threshold))


def test_a_chain_of_suppressions_is_gone_through_one_by_one():
    """Each box overlaps the next alone: every other one stays."""
    boxes = np.array([[2 * i, 0, 2 * i + 3, 1] for i in range(BOXES)], np.float32)
    losses = np.arange(BOXES, 0, -1).astype(np.float32)
    mask = nms_mask(Tensor(losses), Tensor(boxes), iou_threshold=0.1).asnumpy()
    np.testing.assert_array_equal(mask, 1 - np.arange(BOXES) % 2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), examples=st.integers(1, BOXES))
def test_ohem_takes_the_highest_losses_that_nms_leaves(seed, examples):
    losses, boxes = make(seed)
    kept = greedy(losses, boxes, 0.31)
    order = sorted(np.flatnonzero(kept), key=lambda i: (-losses[i], i))[:examples]
    mask = ohem_with_nms(Tensor(losses), Tensor(boxes), iou_threshold=0.31, examples=examples).asnumpy()
    assert np.flatnonzero(mask).tolist() == sorted(order)


def test_images_are_rows_and_compiled_is_the_same():
    losses, boxes = (np.stack(each) for each in zip(make(1), make(2), strict=True))

    @ms.jit
    def compiled(losses, boxes):
        return ohem_with_nms(losses, boxes, iou_threshold=0.31, examples=5)

    eager = ohem_with_nms(Tensor(losses), Tensor(boxes), iou_threshold=0.31, examples=5).asnumpy()
    np.testing.assert_array_equal(compiled(Tensor(losses), Tensor(boxes)).asnumpy(), eager)
    for image in range(IMAGES):
        alone = ohem_with_nms(Tensor(losses[image]), Tensor(boxes[image]), iou_threshold=0.31, examples=5)
        np.testing.assert_array_equal(alone.asnumpy(), eager[image])


def test_only_the_kept_have_a_gradient():
    losses, boxes = make(3)

    def total(losses):
        return (losses * ohem_with_nms(losses, Tensor(boxes), iou_threshold=0.31, examples=3)).sum()

    expected = ohem_with_nms(Tensor(losses), Tensor(boxes), iou_threshold=0.31, examples=3).asnumpy()
    np.testing.assert_array_equal(ms.grad(total)(Tensor(losses)).asnumpy(), expected)
