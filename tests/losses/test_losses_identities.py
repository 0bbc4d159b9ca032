"""Identities between the losses, for any logits that hypothesis thinks of."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mindspore import Tensor

from lossfleet import losses

CLASSES, BATCH = 5, 3
quick = settings(max_examples=25, deadline=None)

logits_ = arrays(np.float32, (BATCH, CLASSES), elements=st.floats(-60, 60, width=32))
extreme_logits = arrays(np.float32, (BATCH, CLASSES), elements=st.floats(-1e4, 1e4, width=32))
labels_ = arrays(np.int32, (BATCH,), elements=st.integers(0, CLASSES - 1))
gammas = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0])

pytestmark = pytest.mark.usefixtures("pynative")


def focal(logits: np.ndarray, labels: np.ndarray, gamma: float, **more) -> np.ndarray:
    return losses.softmax_focal_loss(Tensor(logits), Tensor(labels), gamma=gamma, **more).asnumpy()


def cross_entropy(logits: np.ndarray, labels: np.ndarray, **more) -> np.ndarray:
    return losses.softmax_cross_entropy(Tensor(logits), Tensor(labels), **more).asnumpy()


@quick
@given(extreme_logits, labels_)
def test_gamma_0_is_cross_entropy_to_the_last_rounding(logits, labels):
    np.testing.assert_array_equal(focal(logits, labels, 0.0), cross_entropy(logits, labels))
    binary = (labels[:, None] == np.arange(CLASSES)).astype(np.int32)
    np.testing.assert_array_equal(
        losses.sigmoid_focal_loss(Tensor(logits), Tensor(binary), gamma=0.0).asnumpy(),
        losses.sigmoid_cross_entropy(Tensor(logits), Tensor(binary)).asnumpy(),
    )


@quick
@given(extreme_logits, labels_, gammas)
def test_losses_are_finite_not_negative_and_fall_with_gamma(logits, labels, gamma):
    softer, harder = focal(logits, labels, gamma), focal(logits, labels, gamma + 1)
    assert np.isfinite(softer).all()
    assert (harder >= 0).all()
    assert (harder <= softer * (1 + 1e-6)).all()


@quick
@given(logits_, labels_, gammas, st.permutations(range(CLASSES)))
def test_the_order_of_the_classes_does_not_matter(logits, labels, gamma, order):
    order = np.array(order)
    moved = np.argsort(order)[labels].astype(np.int32)
    np.testing.assert_allclose(
        focal(np.ascontiguousarray(logits[:, order]), moved, gamma),
        focal(logits, labels, gamma),
        rtol=2e-5,
        atol=1e-30,
    )


@quick
@given(logits_, labels_, gammas, st.sampled_from([-1024.0, -0.5, 2.0, 512.0]))
def test_a_constant_added_to_all_logits_does_not_matter(logits, labels, gamma, constant):
    logits = np.round(logits * 64) / 64
    np.testing.assert_array_equal(
        focal((logits + np.float32(constant)).astype(np.float32), labels, gamma), focal(logits, labels, gamma)
    )


@quick
@given(
    arrays(np.float32, 7, elements=st.floats(-80, 80, width=32)),
    arrays(np.int32, 7, elements=st.integers(0, 1)),
    gammas,
)
def test_two_classes_are_the_sigmoid_loss_of_their_difference(margin, labels, gamma):
    pairs = np.stack([np.zeros_like(margin), margin], axis=1)
    sigmoid = losses.sigmoid_focal_loss(Tensor(margin), Tensor(labels), gamma=gamma).asnumpy()
    np.testing.assert_allclose(focal(pairs, labels, gamma), sigmoid, rtol=1e-5, atol=1e-30)


@quick
@given(logits_, labels_, gammas)
def test_class_weights_multiply(logits, labels, gamma):
    weight = np.array([0.0, 0.5, 1.0, 2.0, 7.0], np.float32)
    plain = focal(logits, labels, gamma)
    np.testing.assert_allclose(
        focal(logits, labels, gamma, class_weight=Tensor(weight)), weight[labels] * plain, rtol=1e-6
    )
    own = np.stack([weight, weight[::-1], np.ones(CLASSES, np.float32)])
    got = focal(logits, labels, gamma, class_weight=Tensor(own))
    np.testing.assert_allclose(got, own[np.arange(BATCH), labels] * plain, rtol=1e-6)


@quick
@given(logits_, labels_, gammas, arrays(np.float64, (BATCH, CLASSES), elements=st.floats(0.01, 1)))
def test_a_soft_label_is_the_mean_over_the_labels(logits, labels, gamma, soft):
    soft = (soft / soft.sum(1, keepdims=True)).astype(np.float32)
    each = np.stack([focal(logits, np.full(BATCH, c, np.int32), gamma) for c in range(CLASSES)], axis=1)
    np.testing.assert_allclose(focal(logits, soft, gamma), (soft * each).sum(1), rtol=1e-5, atol=1e-30)


@quick
@given(logits_, labels_, st.floats(0, 1, width=32))
def test_label_smoothing_is_between_the_label_and_the_mean_over_all_classes(logits, labels, smoothing):
    uniform = np.full((BATCH, CLASSES), 1 / CLASSES, np.float32)
    want = (1 - smoothing) * cross_entropy(logits, labels) + smoothing * cross_entropy(logits, uniform)
    got = cross_entropy(logits, labels, label_smoothing=smoothing)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-30)


@quick
@given(
    arrays(np.float32, 7, elements=st.floats(-80, 80, width=32)), st.sampled_from([0.25, 0.5, 0.9]), gammas
)
def test_alpha_weighs_label_1_and_its_rest_label_0(logits, alpha, gamma):
    for label, weight in ((1, alpha), (0, 1 - alpha)):
        labels = Tensor(np.full(7, label, np.int32))
        weighted = losses.sigmoid_focal_loss(Tensor(logits), labels, gamma=gamma, alpha=alpha).asnumpy()
        plain = losses.sigmoid_focal_loss(Tensor(logits), labels, gamma=gamma).asnumpy()
        # Below the smallest normal float32 the kernels flush to 0.
        np.testing.assert_allclose(weighted, np.float32(weight) * plain, rtol=1e-6, atol=1e-37)


@quick
@given(arrays(np.float32, 7, elements=st.floats(-80, 80, width=32)))
def test_focal_star_of_gamma_1_and_beta_0_is_cross_entropy(logits):
    labels = Tensor(np.array([0, 1, 1, 0, 1, 0, 0], np.int32))
    star = losses.focal_star_loss(Tensor(logits), labels, gamma=1.0, beta=0.0).asnumpy()
    np.testing.assert_allclose(
        star, losses.sigmoid_cross_entropy(Tensor(logits), labels).asnumpy(), rtol=1e-6
    )


@quick
@given(logits_, labels_)
def test_gradients_of_an_example_sum_to_0(logits, labels):
    def total(x: Tensor) -> Tensor:
        return losses.softmax_focal_loss(x, Tensor(labels), gamma=2.0).sum()

    slope = ms.grad(total)(Tensor(logits)).asnumpy()
    np.testing.assert_allclose(slope.sum(1), 0, atol=3e-6 * np.abs(slope).max() + 1e-30)


def test_a_class_masked_by_minus_infinity_is_not_there():
    random = np.random.default_rng(0)
    logits = random.normal(size=(BATCH, CLASSES)).astype(np.float32) * 3
    labels = random.integers(0, CLASSES, BATCH).astype(np.int32)
    masked = np.concatenate([logits, np.full((BATCH, 1), -np.inf, np.float32)], 1)

    def value_and_gradient(logits):
        def total(logits):
            return losses.softmax_focal_loss(logits, Tensor(labels), gamma=2.0).sum()

        return [result.asnumpy() for result in ms.value_and_grad(total)(Tensor(logits))]

    (value, gradient), (expected, expected_gradient) = value_and_gradient(masked), value_and_gradient(logits)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, :-1], expected_gradient, rtol=1e-5, atol=1e-7)
    assert (gradient[:, -1] == 0).all()
