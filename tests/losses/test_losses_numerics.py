"""The promised numbers: 1e-5 relative in both tails, finite gradients at 1e4, gamma = 0 exactly cross-entropy."""

from __future__ import annotations

import losses_oracle as oracle
import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from lossfleet.losses import (
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
)

GAMMAS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
EXAMPLES = 4001

pytestmark = pytest.mark.usefixtures("pynative")


def both_tails(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) whose margins go from far right to far wrong, evenly in their logarithm; label 0 ... C - 1."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, EXAMPLES).astype(np.int32)
    margin = np.concatenate(
        [np.linspace(-70, 70, EXAMPLES // 2), np.geomspace(1e-6, 1e4, EXAMPLES - EXAMPLES // 2)]
    )
    logits = random.normal(size=(EXAMPLES, classes)) * 2
    rivals = np.where(np.arange(classes) == labels[:, None], -np.inf, logits)
    logits[np.arange(EXAMPLES), labels] = rivals.max(1) - margin * random.choice([-1, 1], EXAMPLES)
    logits += random.normal(size=(EXAMPLES, 1)) * 5
    return np.clip(logits, -1e4, 1e4).astype(np.float32), labels


def assert_within_1e_5(values: np.ndarray, expected: np.ndarray) -> None:
    seen = expected > 1e-30
    assert seen.mean() > 0.2
    np.testing.assert_allclose(values[seen], expected[seen], rtol=1e-5, atol=0)
    assert (values[~seen] <= 2e-30).all()
    assert (values >= 0).all()


@pytest.mark.parametrize("classes", [2, 3, 11, 83])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_focal_is_right_in_both_tails(gamma, classes):
    logits, labels = both_tails(classes)
    expected = oracle.softmax_focal(logits, labels, gamma=gamma)
    assert_within_1e_5(softmax_focal_loss(Tensor(logits), Tensor(labels), gamma=gamma).asnumpy(), expected)
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    assert_within_1e_5(softmax_focal_loss(Tensor(logits), Tensor(one_hot), gamma=gamma).asnumpy(), expected)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_sigmoid_focal_is_right_in_both_tails(gamma):
    logits = np.concatenate([np.linspace(-100, 100, EXAMPLES), np.geomspace(1e-6, 1e4, EXAMPLES)]).astype(
        np.float32
    )
    for label in (0, 1):
        labels = np.full(logits.shape, label, np.int32)
        values = sigmoid_focal_loss(Tensor(logits), Tensor(labels), gamma=gamma).asnumpy()
        assert_within_1e_5(values, oracle.sigmoid_focal(logits, labels, gamma=gamma))


def softmax_slope(logits: np.ndarray, labels: np.ndarray, gamma: float) -> np.ndarray:
    """d loss / d logits in float64: (1 - p_t)^gamma (1 - gamma p_t log(p_t) / (1 - p_t)) (p_j - y_j)."""
    log_true, log_rest = (
        np.take_along_axis(each, labels[:, None], 1) for each in oracle.softmax_logs(logits)
    )
    # d loss / d r times d r / d x_j: with r = log(q / p_t), the others' shares of q, and -1.
    by_margin = np.exp(gamma * log_rest) * (np.exp(log_rest) - gamma * np.exp(log_true) * log_true)
    others = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits.astype(np.float64))
    shares = np.exp(others - oracle.logsumexp(others, 1)[:, None])
    return by_margin * (shares - (np.arange(logits.shape[1]) == labels[:, None]))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_gradients_are_finite_and_right_up_to_1e4(gamma):
    logits, labels = both_tails(5)
    for given_labels in (labels, np.eye(5, dtype=np.float32)[labels]):
        gradient = ms.grad(lambda x, y=given_labels: softmax_focal_loss(x, Tensor(y), gamma=gamma).sum())(
            Tensor(logits)
        ).asnumpy()
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient, softmax_slope(logits, labels, gamma), rtol=2e-4, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3),
    label=st.integers(0, 2),
    gamma=st.sampled_from(GAMMAS),
)
def test_any_gradient_is_finite(logits, label, gamma):
    logits, labels = Tensor([logits], ms.float32), Tensor([label], ms.int32)
    gradient = ms.grad(lambda x: softmax_focal_loss(x, labels, gamma=gamma).sum())(logits).asnumpy()
    assert np.isfinite(gradient).all()
    assert abs(gradient.sum()) <= 1e-4 * np.abs(gradient).max()
    binary = Tensor([[1, 0, label % 2]], ms.int32)
    assert np.isfinite(
        ms.grad(lambda x: sigmoid_focal_loss(x, binary, gamma=gamma).sum())(logits).asnumpy()
    ).all()


def test_the_gradient_at_even_odds_is_one_half():
    """A kink at margin 0 would make it 0: there the logits of an untrained model are."""
    gradient = ms.grad(lambda x: softmax_cross_entropy(x, Tensor([0], ms.int32)).sum())(Tensor([[0.0, 0.0]]))
    np.testing.assert_allclose(gradient.asnumpy(), [[-0.5, 0.5]], rtol=1e-5)


def normal(values: Tensor) -> np.ndarray:
    """Values without the subnormal numbers, which some of MindSpore's threads round to 0."""
    array = values.asnumpy()
    return np.where(np.abs(array) < np.finfo(np.float32).tiny, 0, array)


@pytest.mark.parametrize("one_hot", [False, True])
def test_gamma_0_is_cross_entropy_to_the_last_bit(one_hot):
    logits, labels = both_tails(7)
    labels = np.eye(7, dtype=np.float32)[labels] if one_hot else labels
    for focal, plain in (
        (
            lambda x: softmax_focal_loss(x, Tensor(labels), gamma=0.0),
            lambda x: softmax_cross_entropy(x, Tensor(labels)),
        ),
        (
            lambda x: sigmoid_focal_loss(x, (x > 1).int(), gamma=0.0),
            lambda x: sigmoid_cross_entropy(x, (x > 1).int()),
        ),
    ):
        np.testing.assert_array_equal(normal(focal(Tensor(logits))), normal(plain(Tensor(logits))))
        np.testing.assert_array_equal(
            normal(ms.grad(lambda x, f=focal: f(x).sum())(Tensor(logits))),
            normal(ms.grad(lambda x, f=plain: f(x).sum())(Tensor(logits))),
        )


def test_two_classes_are_one_sigmoid():
    logits, labels = both_tails(2)
    margin = logits[:, 1].astype(np.float64) - logits[:, 0]
    exact = margin == margin.astype(np.float32)
    assert exact.mean() > 0.05
    np.testing.assert_allclose(
        softmax_focal_loss(Tensor(logits), Tensor(labels), gamma=2.0).asnumpy()[exact],
        sigmoid_focal_loss(Tensor(margin.astype(np.float32)), Tensor(labels), gamma=2.0).asnumpy()[exact],
        rtol=1e-6,
    )


def test_gradient_with_respect_to_hyperparameters():
    logits, labels = both_tails(3)
    logits, labels = logits[::97], labels[::97]

    def total(gamma):
        return softmax_focal_loss(Tensor(logits), Tensor(labels), gamma=gamma).sum()

    ahead, behind = (oracle.softmax_focal(logits, labels, gamma=g).sum() for g in (2 + 1e-5, 2 - 1e-5))
    np.testing.assert_allclose(float(ms.grad(total)(Tensor(2.0))), (ahead - behind) / 2e-5, rtol=1e-4)
