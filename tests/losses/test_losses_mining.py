"""Hard example masks against a sort in plain Python."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from lossfleet.losses import OHEMLoss, hard_example_mask, hard_example_mask_ratio, softmax_cross_entropy

ROWS, BATCH = 3, 11


@pytest.fixture(autouse=True, scope="module")
def _synchronize():
    ms.runtime.launch_blocking()


def highest(losses: np.ndarray, candidates: np.ndarray, count: int) -> np.ndarray:
    """1 for the count highest of the candidates, the earlier of equal ones first."""
    order = sorted(np.flatnonzero(candidates), key=lambda position: (-losses[position], position))
    mask = np.zeros(len(losses), np.float32)
    mask[order[:count]] = 1
    return mask


# Few different values, so that there are ties.
row = st.lists(st.integers(0, 5), min_size=BATCH, max_size=BATCH)
bits = st.lists(st.booleans(), min_size=BATCH, max_size=BATCH)


@settings(max_examples=60, deadline=None)
@given(losses=row, valid=bits, percent=st.integers(1, 100))
def test_mask_keeps_exactly_the_highest(losses, valid, percent):
    losses, valid = np.array(losses, np.float32), np.array(valid)
    keep = percent / 100
    for given_valid, present in ((None, np.ones(BATCH, bool)), (Tensor(valid.astype(np.float32)), valid)):
        count = ceil(Fraction(percent, 100) * int(present.sum()))
        mask = hard_example_mask(Tensor(losses), keep=keep, valid=given_valid).asnumpy()
        np.testing.assert_array_equal(mask, highest(losses, present, count))


@settings(max_examples=60, deadline=None)
@given(losses=row, labels=bits, valid=bits, tenths=st.integers(1, 50))
def test_ratio_keeps_all_positives_and_the_hardest_negatives(losses, labels, valid, tenths):
    losses, labels, valid = np.array(losses, np.float32), np.array(labels), np.array(valid)
    mask = hard_example_mask_ratio(
        Tensor(losses),
        Tensor(labels.astype(np.int32)),
        negatives_per_positive=tenths / 10,
        valid=Tensor(valid.astype(np.float32)),
    ).asnumpy()
    positives = labels & valid
    count = max(1, ceil(Fraction(tenths, 10) * int(positives.sum())))
    np.testing.assert_array_equal(mask, positives + highest(losses, valid & ~labels, count))


def test_rounding_of_the_fraction_adds_no_example():
    for total in (10, 20, 30, 1000, 65536):
        for tenths in range(1, 11):
            losses = Tensor(np.arange(total, dtype=np.float32))
            assert hard_example_mask(losses, keep=tenths / 10).asnumpy().sum() == ceil(
                Fraction(tenths * total, 10)
            )


def test_rows_have_their_own_fraction_and_compiled_is_the_same():
    losses = np.random.default_rng(0).normal(size=(ROWS, BATCH)).astype(np.float32)
    keep = np.array([0.1, 0.5, 1.0], np.float32)

    @ms.jit
    def compiled(losses, keep, valid):
        return hard_example_mask(losses, keep=keep, valid=valid)

    valid = np.ones((ROWS, BATCH), np.float32)
    valid[1, 5:] = 0
    expected = np.stack(
        [highest(losses[k], valid[k], ceil(keep[k] * valid[k].sum() - 1e-5)) for k in range(ROWS)]
    )
    np.testing.assert_array_equal(
        hard_example_mask(Tensor(losses), keep=Tensor(keep), valid=Tensor(valid)).asnumpy(), expected
    )
    np.testing.assert_array_equal(compiled(Tensor(losses), Tensor(keep), Tensor(valid)).asnumpy(), expected)
    assert expected.sum(-1).tolist() == [2, 3, 11]


def test_ratio_compiled_is_the_same_and_rows_have_their_own():
    random = np.random.default_rng(1)
    losses = Tensor(random.normal(size=(ROWS, BATCH)).astype(np.float32))
    labels = Tensor((random.random((ROWS, BATCH)) < 0.3).astype(np.int32))
    ratio = Tensor(np.array([0.5, 1.0, 3.0], np.float32))

    @ms.jit
    def compiled(losses, labels, ratio):
        return hard_example_mask_ratio(losses, labels, negatives_per_positive=ratio)

    eager = hard_example_mask_ratio(losses, labels, negatives_per_positive=ratio).asnumpy()
    np.testing.assert_array_equal(compiled(losses, labels, ratio).asnumpy(), eager)
    positives = labels.asnumpy().sum(-1)
    np.testing.assert_array_equal(
        eager.sum(-1), np.minimum(BATCH, positives + np.maximum(1, np.ceil(ratio.asnumpy() * positives)))
    )


def test_nan_stays_in_its_row_and_is_seen_there():
    losses = np.random.default_rng(2).normal(size=(ROWS, BATCH)).astype(np.float32)
    broken = losses.copy()
    broken[1, 4] = np.nan
    before, after = (hard_example_mask(Tensor(x), keep=0.2).asnumpy() for x in (losses, broken))
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert after[1, 4] == 1
    assert after[1].sum() == 3


def test_the_mask_has_no_gradient():
    losses = Tensor(np.arange(BATCH, dtype=np.float32))
    gradient = ms.grad(lambda x: (x * hard_example_mask(x, keep=0.5)).sum())(losses).asnumpy()
    np.testing.assert_array_equal(gradient, hard_example_mask(losses, keep=0.5).asnumpy())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_keep_1_is_the_plain_mean(seed):
    random = np.random.default_rng(seed)
    logits = Tensor(random.normal(size=(BATCH, 3)).astype(np.float32))
    labels = Tensor(random.integers(0, 3, BATCH).astype(np.int32))
    plain = softmax_cross_entropy(logits, labels).mean()
    np.testing.assert_allclose(float(OHEMLoss(keep=1.0)(logits, labels)), float(plain), rtol=2e-7)
    kept = np.sort(softmax_cross_entropy(logits, labels).asnumpy())[-3:].mean()
    np.testing.assert_allclose(float(OHEMLoss(keep=0.25)(logits, labels)), kept, rtol=1e-6)
