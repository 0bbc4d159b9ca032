"""The fleet's closed form of the focal loss against float64, and against the loss that it stands for."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from lossfleet.losses import softmax_cross_entropy, softmax_focal_loss
from lossfleet.losses.stacked import log1p, stacked_focal
from lossfleet.runners.models.stacked import to_tensor

# Distinct primes, so that a silent broadcast cannot fit.
MEMBERS, BATCH, CLASSES = 3, 5, 11


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class LossesAndSlope(nn.Cell):
    """The losses, and the derivative of them times their sensitivity, in a compiled graph as a fleet trains."""

    def losses(self, logits: Tensor, labels: Tensor, gamma: Tensor) -> Tensor:
        return stacked_focal(logits, labels, gamma=gamma)

    @ms.jit
    def construct(
        self, logits: Tensor, labels: Tensor, gamma: Tensor, sensitivity: Tensor
    ) -> tuple[Tensor, Tensor]:
        return ms.value_and_grad(self.losses, 0, None, False, False, True)(logits, labels, gamma, sensitivity)


LOSSES_AND_SLOPE = LossesAndSlope()


def losses_and_slope(
    logits: np.ndarray, labels: np.ndarray, gamma: np.ndarray, sensitivity: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Losses (K, B) and slope (K, C, B)."""
    sensitivity = np.ones_like(gamma) if sensitivity is None else sensitivity
    losses, slope = LOSSES_AND_SLOPE(*map(to_tensor, (logits, labels, gamma, sensitivity)))
    return losses.asnumpy(), slope.asnumpy()


def focal_oracle(logits: np.ndarray, labels: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Loss (B,) and slope (C, B) in float64, with q summed from the other classes."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(0)
    exponentials = np.exp(shifted)
    one_hot = np.eye(len(logits))[labels].T
    others = (exponentials * (1 - one_hot)).sum(0)
    of_label = (exponentials * one_hot).sum(0)
    cross_entropy = np.log1p((of_label - 1) + others) - (shifted * one_hot).sum(0)
    q, p = others / (others + of_label), of_label / (others + of_label)
    ratio = np.where(q > 0, cross_entropy / np.where(q > 0, q, 1), 1.0)
    coefficient = q**gamma * (1 + gamma * p * ratio)
    distance = exponentials / (others + of_label) * (1 - one_hot) - one_hot * q
    return q**gamma * cross_entropy, coefficient * distance


@ms.jit
def log1p_in_a_graph(x: Tensor) -> Tensor:
    return log1p(x)


def test_log1p_keeps_the_digits_of_small_numbers():
    small = np.geomspace(1e-30, 1e3, 2000).astype(np.float32)
    expected = np.log1p(small.astype(np.float64))
    np.testing.assert_allclose(log1p_in_a_graph(to_tensor(small)).asnumpy(), expected, rtol=4e-6)
    below = small[small < 1]
    np.testing.assert_allclose(
        log1p_in_a_graph(to_tensor(below)).asnumpy(), np.log1p(below.astype(np.float64)), rtol=4e-7
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0, 40.0])
@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 5.0])
def test_closed_form_slope_matches_float64(gamma, scale):
    logits = scale * normal(MEMBERS, CLASSES, BATCH, seed=3)
    labels = np.random.default_rng(4).integers(0, CLASSES, (MEMBERS, BATCH))
    labels[:, 0] = logits[:, :, 0].argmax(1)
    gammas = np.full((MEMBERS, BATCH), gamma, np.float32)
    sensitivity = np.random.default_rng(7).random((MEMBERS, BATCH)).astype(np.float32)
    losses, slope = losses_and_slope(logits, labels, gammas, sensitivity)
    for k in range(MEMBERS):
        expected_losses, expected_slope = focal_oracle(logits[k], labels[k], gamma)
        # MindSpore's exponential is off by 1e-5 at -40, and two are multiplied.
        np.testing.assert_allclose(losses[k], expected_losses, rtol=4e-5, atol=1e-30)
        np.testing.assert_allclose(slope[k], expected_slope * sensitivity[k], rtol=5e-5, atol=1e-30)


@pytest.mark.parametrize("scale", [1.0, 10.0, 40.0])
def test_closed_form_is_that_of_the_losses_it_stands_for(scale):
    """Each member with a gamma of its own, beside `losses.softmax_focal_loss` and its gradient."""
    logits = scale * normal(MEMBERS, CLASSES, BATCH, seed=5)
    labels = np.random.default_rng(6).integers(0, CLASSES, (MEMBERS, BATCH)).astype(np.int32)
    gamma = np.array([0.0, 0.5, 2.0], np.float32)

    def total(logits: Tensor) -> Tensor:
        return softmax_focal_loss(logits, Tensor(labels), gamma=Tensor(gamma)).sum()

    losses, slope = losses_and_slope(logits, labels, np.repeat(gamma[:, None], BATCH, 1))
    expected = softmax_focal_loss(Tensor(logits), Tensor(labels), gamma=Tensor(gamma)).asnumpy()
    np.testing.assert_allclose(losses, expected, rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(slope, ms.grad(total)(Tensor(logits)).asnumpy(), rtol=1e-4, atol=1e-6)
    cross_entropy = softmax_cross_entropy(Tensor(logits), Tensor(labels)).asnumpy()
    np.testing.assert_allclose(losses[0], cross_entropy[0], rtol=2e-5, atol=1e-30)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("margin", [14.0, 88.0, 104.0, 1e4])
def test_closed_form_slope_is_finite_at_any_confidence(gamma, margin):
    logits = np.zeros((2, 3, 2), np.float32)
    logits[0, 1] = margin
    logits[1, 2] = -margin
    labels = np.array([[1, 2], [1, 2]])
    losses, slope = losses_and_slope(logits, labels, np.full((2, 2), gamma, np.float32))
    assert np.isfinite(losses).all()
    assert np.isfinite(slope).all()
