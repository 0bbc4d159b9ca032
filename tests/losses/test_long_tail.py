"""Losses for long tails: where they are cross-entropy, far out, and the gradient density, which has a batch."""

from __future__ import annotations

import losses_oracle as oracle
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lossfleet import losses

COUNTS = [50.0, 7.0, 300.0]
OF_COUNTS = {"class_counts": Tensor(COUNTS, ms.float32)}
# The settings at which each is cross-entropy, and some at which it is not.
LIMITS = {
    losses.logit_adjusted_loss: ({**OF_COUNTS, "tau": 0.0}, OF_COUNTS),
    losses.ldam_loss: ({**OF_COUNTS, "margin": 0.0}, {**OF_COUNTS, "scale": 3.0}),
    losses.vs_loss: ({**OF_COUNTS, "gamma": 0.0, "tau": 0.0}, OF_COUNTS),
    losses.poly1_loss: ({"epsilon": 0.0}, {"epsilon": 2.0}),
    losses.gradient_density_loss: ({"bins": 1}, {"bins": 4}),
}


def batch(seed: int = 0, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = (scale * random.normal(size=(31, 3))).astype(np.float32)
    return logits, random.integers(0, 3, 31).astype(np.int32)


@pytest.mark.parametrize("loss", LIMITS, ids=lambda loss: loss.__name__)
def test_at_its_limit_a_loss_is_cross_entropy(loss):
    logits, labels = batch()
    at_limit, away = (loss(Tensor(logits), Tensor(labels), **each).asnumpy() for each in LIMITS[loss])
    np.testing.assert_allclose(at_limit, oracle.softmax_focal(logits, labels), rtol=1e-5)
    assert not np.allclose(away, at_limit, rtol=1e-2)


def test_the_balanced_softmax_is_logit_adjustment_with_tau_1_and_shifts_by_the_prior():
    logits, labels = batch()
    found = losses.balanced_softmax_loss(Tensor(logits), Tensor(labels), **OF_COUNTS).asnumpy()
    expected = losses.logit_adjusted_loss(Tensor(logits), Tensor(labels), tau=1.0, **OF_COUNTS).asnumpy()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(
        found, oracle.softmax_focal(logits + np.log(np.float64(COUNTS)), labels), rtol=1e-5
    )


@pytest.mark.parametrize("loss", [*LIMITS, losses.asymmetric_loss], ids=lambda loss: loss.__name__)
def test_gradients_are_finite_at_any_logits(loss):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0], [0, 0, 0], [80, -80, 1e4]], np.float32)
    settings = LIMITS[loss][1] if loss in LIMITS else {"gamma_negative": 0.5, "margin": 0.0}

    def total(logits: Tensor, labels: Tensor) -> Tensor:
        return loss(logits, labels, **settings).sum()

    for label in range(3):
        value, gradient = ms.value_and_grad(total)(Tensor(logits), Tensor([label] * 4, ms.int32))
        assert np.isfinite(value.asnumpy())
        assert np.isfinite(gradient.asnumpy()).all()


def density(logits: np.ndarray, labels: np.ndarray, bins: int, valid: np.ndarray) -> np.ndarray:
    """The weights of the examples, (B,), as the paper has them; 0 for what is no example."""
    length = 1 - np.exp(-oracle.softmax_focal(logits, labels))
    place = np.minimum((length * bins).astype(int), bins - 1)
    count = np.bincount(place[valid], minlength=bins)
    return np.where(valid, valid.sum() / (np.maximum(count[place], 1) * (count > 0).sum()), 0)


def test_the_gradient_density_weighs_by_the_crowd_and_has_no_derivative():
    logits, labels = batch(seed=3)
    valid = np.arange(len(labels)) < 27
    weights = density(logits, labels, 5, valid)
    np.testing.assert_allclose(weights.sum() / valid.sum(), 1)
    stacked = (Tensor(logits.T[None]), Tensor(labels[None]))

    def total(logits: Tensor, labels: Tensor) -> Tensor:
        found = losses.gradient_density_loss(logits, labels, bins=5, valid=Tensor(valid[None]))
        return (found * Tensor(valid[None].astype(np.float32))).sum()

    value, gradient = ms.value_and_grad(total)(*stacked)
    np.testing.assert_allclose(
        value.asnumpy(), (weights * oracle.softmax_focal(logits, labels)).sum(), rtol=1e-5
    )
    p = np.exp(logits - logits.max(1, keepdims=True))
    slope = weights[:, None] * (p / p.sum(1, keepdims=True) - np.eye(3)[labels])
    np.testing.assert_allclose(gradient.asnumpy()[0].T, slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: losses.LogitAdjustedLoss([3, 0, 1]),
            "class_counts contains 0; expected finite numbers above 0",
        ),
        (lambda: losses.LogitAdjustedLoss([3, 1], tau=-1), "tau is -1"),
        (lambda: losses.LDAMLoss([[3, 1]]), r"class_counts has shape \(1, 2\)"),
        (lambda: losses.VSLoss("abc"), "class_counts is of type str"),
        (lambda: losses.Poly1Loss(weight=[1, -2]), "weight contains -2"),
        (lambda: losses.AsymmetricLoss(margin=2), "margin is 2"),
        (
            lambda: losses.LDAMLoss([3, 1])(Tensor([[1.0, 2.0]]), Tensor([[0.5, 0.5]])),
            "expected class indices",
        ),
        (
            lambda: losses.VSLoss([3, 1, 5])(Tensor([[1.0, 2.0]]), Tensor([1])),
            r"class_counts has shape \(3,\); expected \(2,\)",
        ),
    ],
)
def test_wrong_arguments_are_named(make, said):
    with pytest.raises((TypeError, ValueError), match=said):
        make()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cells_reduce_what_the_functions_give(reduction):
    logits, labels = batch()
    inputs = (Tensor(logits), Tensor(labels))
    weight = [1.0, 4.0, 2.0]
    cells = {
        losses.LogitAdjustedLoss(COUNTS, tau=0.7, weight=weight, reduction=reduction, ignore_index=1): (
            losses.logit_adjusted_loss,
            {**OF_COUNTS, "tau": 0.7, "class_weight": Tensor(weight), "ignore_index": 1},
        ),
        losses.LDAMLoss(np.array(COUNTS), scale=2.0, label_smoothing=0.1, reduction=reduction): (
            losses.ldam_loss,
            {**OF_COUNTS, "scale": 2.0, "label_smoothing": 0.1},
        ),
        losses.VSLoss(Tensor(COUNTS), gamma=0.3, reduction=reduction): (
            losses.vs_loss,
            {**OF_COUNTS, "gamma": 0.3},
        ),
        losses.Poly1Loss(2.0, 0.5, reduction=reduction): (losses.poly1_loss, {"epsilon": 2.0, "gamma": 0.5}),
        losses.GradientDensityLoss(4, weight, reduction): (
            losses.gradient_density_loss,
            {"bins": 4, "class_weight": Tensor(weight)},
        ),
        losses.FocalLoss(weight, 1.5, reduction, label_smoothing=0.1, ignore_index=2): (
            losses.softmax_focal_loss,
            {"gamma": 1.5, "class_weight": Tensor(weight), "label_smoothing": 0.1, "ignore_index": 2},
        ),
    }
    for cell, (function, settings) in cells.items():
        expected = function(*inputs, **settings).asnumpy()
        expected = {"mean": expected.mean(), "sum": expected.sum(), "none": expected}[reduction]
        np.testing.assert_allclose(cell(*inputs).asnumpy(), expected, rtol=1e-6, err_msg=function.__name__)
    several = (Tensor(logits), Tensor((logits > 0).astype(np.int32)))
    found = losses.AsymmetricLoss(reduction=reduction)(*several).asnumpy()
    expected = oracle.asymmetric(logits, logits > 0, gamma_positive=0.0, gamma_negative=4.0, margin=0.05)
    expected = {"mean": expected.mean(), "sum": expected.sum(), "none": expected}[reduction]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
