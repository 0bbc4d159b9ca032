"""The losses beside MindSpore's own, where those are right, and where they are not."""

from __future__ import annotations

import warnings

import losses_oracle as oracle
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from lossfleet.losses import CrossEntropyLoss, FocalLoss, SigmoidFocalLoss, sigmoid_cross_entropy

BATCH, CLASSES = 7, 5
SHAPES = [(BATCH, CLASSES), (BATCH, CLASSES, 11), (BATCH, CLASSES, 2, 3)]


@pytest.fixture(autouse=True, scope="module")
def _synchronous():
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)


def random_examples(shape, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    return Tensor(random.normal(size=shape).astype(np.float32)), Tensor(labels)


def stock_focal(*arguments, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.FocalLoss(*arguments, **more)


def both(loss, logits, labels, compiled=False):
    """Value and gradient of a cell."""

    def of(x, y):
        return loss(x, y)

    function = ms.value_and_grad(of)
    value, slope = (ms.jit(function) if compiled else function)(logits, labels)
    return value.asnumpy(), slope.asnumpy()


# A graph is compiled for each row: that they compute what PyNative does, the conformance of losses says.
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("compiled", "gamma"), [*((False, gamma) for gamma in (0.5, 1.0, 2.0, 5.0)), (True, 2.0)]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_has_the_numbers_of_nn_focal_loss(compiled, shape, gamma, weighted):
    logits, labels = random_examples(shape)
    weight = Tensor(np.linspace(0.5, 2, CLASSES).astype(np.float32)) if weighted else None
    value, slope = both(FocalLoss(weight, gamma), logits, labels.expand_dims(1), compiled)
    want_value, want_slope = both(stock_focal(weight, gamma), logits, labels.expand_dims(1))
    np.testing.assert_allclose(value, want_value, rtol=2e-5)
    np.testing.assert_allclose(slope, want_slope, rtol=1e-3, atol=2e-7)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_of_nn_focal_loss_without_trailing_axes(reduction):
    logits, labels = random_examples(SHAPES[0])
    for given in (labels.expand_dims(1),):
        got = FocalLoss(reduction=reduction)(logits, given).asnumpy()
        want = stock_focal(reduction=reduction)(logits, given).asnumpy()
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=2e-5)


def test_the_example_of_nn_focal_loss():
    logits = Tensor(np.array([[0.8, 1.4], [0.5, 0.9], [1.2, 0.9]], np.float32))
    labels = Tensor(np.array([[1], [1], [0]], np.int32))
    for weight in (Tensor([1, 2]), Tensor([1.0, 2.0], ms.float32)):
        assert FocalLoss(weight=weight, gamma=2.0)(logits, labels).asnumpy() == pytest.approx(
            0.12516621, rel=1e-6
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_forms_of_labels_are_the_same_loss(shape):
    logits, labels = random_examples(shape)
    one_hot = oracle.one_hot(labels.asnumpy(), CLASSES)
    weight = Tensor(np.linspace(0.5, 2, CLASSES).astype(np.float32))
    loss = FocalLoss(weight)
    value, slope = both(loss, logits, labels)
    forms = [labels.expand_dims(1), Tensor(one_hot.astype(np.int32)), Tensor(one_hot.astype(np.float32))]
    for form in forms:
        value_, slope_ = both(loss, logits, form)
        np.testing.assert_allclose(value_, value, rtol=1e-6)
        np.testing.assert_allclose(slope_, slope, rtol=1e-5, atol=1e-8)


class TestWhereNnFocalLossIsWrong:
    """The table in FocalLoss's docstring; should MindSpore mend one, this says so."""

    def test_one_hot_labels_give_it_another_loss(self):
        logits, labels = random_examples(SHAPES[0])
        one_hot = Tensor(oracle.one_hot(labels.asnumpy(), CLASSES).astype(np.float32))
        stock = stock_focal()
        ratio = stock(logits, one_hot).asnumpy() / stock(logits, labels.expand_dims(1)).asnumpy()
        assert ratio == pytest.approx(1 / CLASSES, rel=1e-4)

    def test_none_and_sum_average_over_positions(self):
        logits, labels = random_examples(SHAPES[1])
        want = oracle.softmax_focal(logits.asnumpy(), labels.asnumpy(), gamma=2.0)
        stock = stock_focal(reduction="none")(logits, labels.expand_dims(1)).asnumpy()
        np.testing.assert_allclose(stock, want.mean(1), rtol=1e-4)
        np.testing.assert_allclose(FocalLoss(reduction="none")(logits, labels).asnumpy(), want, rtol=1e-5)
        assert FocalLoss(reduction="sum")(logits, labels).asnumpy() == pytest.approx(want.sum(), rel=1e-5)

    @pytest.mark.parametrize("gamma", [0.1, 0.5])
    def test_gradients_of_confident_predictions(self, gamma):
        logits, labels = Tensor(np.array([[30.0, 0.0]], np.float32)), Tensor(np.array([[0]], np.int32))
        assert np.isnan(both(stock_focal(gamma=gamma), logits, labels)[1]).any()
        assert np.isfinite(both(FocalLoss(gamma=gamma), logits, labels)[1]).all()

    def test_confident_predictions(self):
        logits, labels = Tensor(np.array([[16.0, 0.0]], np.float32)), Tensor(np.array([[0]], np.int32))
        want = oracle.softmax_focal(logits.asnumpy(), np.array([0]), gamma=0.5)[0]
        assert FocalLoss(gamma=0.5)(logits, labels).asnumpy() == pytest.approx(want, rel=1e-5)
        assert stock_focal(gamma=0.5)(logits, labels).asnumpy() != pytest.approx(want, rel=0.1)

    def test_what_it_lets_pass(self):
        logits, labels = random_examples(SHAPES[0])
        for loss, given in (
            (stock_focal(gamma=-1.0), labels.expand_dims(1)),
            (stock_focal(weight=Tensor(np.ones(CLASSES + 1, np.float32))), labels.expand_dims(1)),
            (stock_focal(), labels.expand_dims(1) * 0 - 1),
        ):
            loss(logits, given)
        with pytest.raises(ValueError, match="gamma is -1"):
            FocalLoss(gamma=-1.0)
        with pytest.raises(ValueError, match="weight"):
            FocalLoss(weight=Tensor(np.ones(CLASSES + 1, np.float32)))(logits, labels)
        with pytest.raises(ValueError, match="labels contains -1"):
            FocalLoss()(logits, labels.expand_dims(1) * 0 - 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("compiled", "smoothing"), [(False, 0.0), (False, 0.1), (True, 0.1)])
def test_cross_entropy_has_the_numbers_of_nn_cross_entropy(compiled, shape, reduction, smoothing):
    logits, labels = random_examples(shape)
    labels = Tensor(np.where(labels.asnumpy() == 2, -100, labels.asnumpy()).astype(np.int32))
    for weight in (None, Tensor(np.linspace(0.5, 2, CLASSES).astype(np.float32))):
        arguments = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
        ours, stock = CrossEntropyLoss(**arguments), nn.CrossEntropyLoss(**arguments)

        def of(x, y, ours=ours):
            return ours(x, y)

        got = (ms.jit(of) if compiled else of)(logits, labels).asnumpy()
        np.testing.assert_allclose(got, stock(logits, labels).asnumpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_with_probabilities(reduction):
    logits, _ = random_examples(SHAPES[0])
    soft = np.random.default_rng(1).dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
    for weight in (None, Tensor(np.linspace(0.5, 2, CLASSES).astype(np.float32))):
        got = CrossEntropyLoss(weight, reduction=reduction)(logits, Tensor(soft)).asnumpy()
        want = nn.CrossEntropyLoss(weight, reduction=reduction)(logits, Tensor(soft)).asnumpy()
        np.testing.assert_allclose(got, want, rtol=2e-5)


def test_another_ignore_index():
    logits, labels = random_examples(SHAPES[1])
    got = CrossEntropyLoss(ignore_index=2)(logits, labels).asnumpy()
    assert got == pytest.approx(
        float(nn.CrossEntropyLoss(ignore_index=2)(logits, labels).asnumpy()), rel=2e-5
    )


def test_sigmoid_cross_entropy_has_the_numbers_of_bce_with_logits():
    random = np.random.default_rng(0)
    logits = Tensor(random.normal(size=(7, 11)).astype(np.float32))
    soft = Tensor(random.random((7, 11)).astype(np.float32))
    want = nn.BCEWithLogitsLoss(reduction="none")(logits, soft).asnumpy()
    np.testing.assert_allclose(sigmoid_cross_entropy(logits, soft).asnumpy(), want, rtol=1e-5)


def test_sigmoid_focal_loss_of_alpha_a_half_and_gamma_0_is_half_the_cross_entropy():
    logits, _ = random_examples((7, 11))
    binary = Tensor((np.arange(77).reshape(7, 11) % 2).astype(np.float32))
    got = SigmoidFocalLoss(alpha=0.5, gamma=0.0)(logits, binary).asnumpy()
    want = nn.BCEWithLogitsLoss()(logits, binary).asnumpy() / 2
    assert got == pytest.approx(float(want), rel=1e-5)
