"""What the focal loss paper and the article that started this say of it, as far as it is true."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lossfleet.losses import (
    focal_star_loss,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
)


def logit(probability: object) -> Tensor:
    probability = np.asarray(probability, np.float64)
    return Tensor((np.log(probability) - np.log1p(-probability)).astype(np.float32))


def gradient(function, logits: Tensor) -> np.ndarray:
    return ms.grad(lambda x: function(x).sum())(logits).asnumpy()


@pytest.mark.parametrize(
    ("probability", "ratio"), [(0.9, 100.0), (0.968, 976.5625), (0.96838, 1000.2), (0.5, 4.0)]
)
def test_cross_entropy_over_focal_loss_at_gamma_2(probability, ratio):
    """(1 - p_t)^-2: 100 at 0.9, 1000 only at 0.96838, 4 at 0.5."""
    one, logits = Tensor([1], ms.int32), logit([probability])
    quotient = sigmoid_cross_entropy(logits, one) / sigmoid_focal_loss(logits, one, gamma=2.0)
    np.testing.assert_allclose(quotient.asnumpy(), [ratio], rtol=1e-4)
    two_logits = Tensor(np.array([[0.0, logits.asnumpy()[0]]], np.float32))
    quotient = softmax_cross_entropy(two_logits, one) / softmax_focal_loss(two_logits, one, gamma=2.0)
    np.testing.assert_allclose(quotient.asnumpy(), [ratio], rtol=1e-4)


@pytest.mark.parametrize("probability", [0.9, 0.968, 0.5])
def test_gradients_shrink_by_the_formula_of_the_appendix(probability):
    """CE / FL of the gradients is 1 / ((1-p)^2 (1 - 2 p log(p) / (1-p))): 34.5 at 0.9, not the losses' 100."""
    one, logits = Tensor([1], ms.int32), logit([probability])
    quotient = gradient(lambda x: sigmoid_cross_entropy(x, one), logits) / gradient(
        lambda x: sigmoid_focal_loss(x, one, gamma=2.0), logits
    )
    rest = 1 - probability
    expected = 1 / (rest**2 * (1 - 2 * probability * np.log(probability) / rest))
    np.testing.assert_allclose(quotient, [expected], rtol=1e-4)
    assert {0.9: 34.5, 0.968: 329.07, 0.5: 1.676}[probability] == pytest.approx(expected, rel=1e-3)


def test_focal_loss_is_at_most_a_quarter_less_than_a_quarter_below_one_half():
    """Down to the hard examples, p_t below 0.5, the factor is at most 4."""
    one, logits = Tensor(np.ones(50, np.int32)), logit(np.linspace(0.01, 0.5, 50))
    quotient = (sigmoid_cross_entropy(logits, one) / sigmoid_focal_loss(logits, one, gamma=2.0)).asnumpy()
    assert (quotient <= 4 * (1 + 1e-5)).all()
    assert (np.diff(quotient) > 0).all()


def test_the_modulating_factor_falls_as_gamma_grows():
    """The factor falls; what grows is its effect."""
    one, logits = Tensor([1], ms.int32), logit([0.7])
    values = [float(sigmoid_focal_loss(logits, one, gamma=gamma)) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)]
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(values, [-np.log(0.7) * 0.3**g for g in (0.0, 0.5, 1.0, 2.0, 5.0)], rtol=1e-5)


def test_focal_gradient_exceeds_cross_entropys_below_0_298():
    one = Tensor([1], ms.int32)
    for probability, larger in ((0.29, True), (0.297, True), (0.299, False), (0.5, False)):
        logits = logit([probability])
        focal = abs(gradient(lambda x: sigmoid_focal_loss(x, one, gamma=2.0), logits)[0])
        plain = abs(gradient(lambda x: sigmoid_cross_entropy(x, one), logits)[0])
        assert (focal > plain) == larger


def test_gradient_is_equation_10_of_the_appendix():
    """dFL/dx = y (1 - p_t)^gamma (gamma p_t log(p_t) + p_t - 1)."""
    x = np.linspace(-8, 8, 33)
    for label in (0, 1):
        sign = 2 * label - 1
        true = 1 / (1 + np.exp(-sign * x))
        for gamma in (0.0, 0.5, 2.0, 5.0):
            expected = sign * (1 - true) ** gamma * (gamma * true * np.log(true) + true - 1)
            labels = Tensor(np.full(33, label, np.int32))
            value = gradient(
                lambda z, y=labels, g=gamma: sigmoid_focal_loss(z, y, gamma=g), Tensor(x.astype(np.float32))
            )
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-7)


def test_focal_star_is_a_scaled_cross_entropy_and_its_gradient_equation_12():
    """FL* with gamma 1 and beta 0 is cross-entropy; dFL*/dx = y (sigmoid(gamma x_t + beta) - 1)."""
    x = np.linspace(-8, 8, 33).astype(np.float32)
    labels = Tensor((np.arange(33) % 2).astype(np.int32))
    np.testing.assert_array_equal(
        focal_star_loss(Tensor(x), labels, gamma=1.0).asnumpy(),
        sigmoid_cross_entropy(Tensor(x), labels).asnumpy(),
    )
    sign = 2 * labels.asnumpy() - 1
    expected = sign * (1 / (1 + np.exp(-(2 * sign * x.astype(np.float64) + 1))) - 1)
    value = gradient(lambda z: focal_star_loss(z, labels, gamma=2.0, beta=1.0), Tensor(x))
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-7)


def test_the_prior_trick_makes_the_first_loss_small():
    """A bias of -log((1 - pi) / pi) starts all predictions at pi = 0.01: the mean loss over backgrounds is 0.01."""
    background = Tensor(np.zeros(101, np.int32))
    plain, primed = (sigmoid_cross_entropy(logit(np.full(101, p)), background).mean() for p in (0.5, 0.01))
    np.testing.assert_allclose([float(plain), float(primed)], [np.log(2), -np.log(0.99)], rtol=1e-5)
