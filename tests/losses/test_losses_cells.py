"""The cells: stock MindSpore's numbers where stock is right, and its training loops."""

from __future__ import annotations

import warnings
from typing import Any

import losses_oracle as oracle
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.dataset import NumpySlicesDataset

from lossfleet import losses

N, CLASSES, LENGTH, HEIGHT, WIDTH = 7, 5, 11, 2, 3
SHAPES = [(N, CLASSES), (N, CLASSES, LENGTH), (N, CLASSES, HEIGHT, WIDTH)]
WEIGHT = np.array([0.5, 1, 2, 3, 5], np.float32)


@pytest.fixture(autouse=True, scope="module")
def _synchronize():
    ms.runtime.launch_blocking()


def make(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, shape[1], shape[:1] + shape[2:]).astype(np.int32)
    return random.normal(size=shape).astype(np.float32), labels


def stock_focal(**arguments: Any) -> nn.Cell:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.FocalLoss(**arguments)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weight", [None, Tensor(WEIGHT)], ids=["", "weighted"])
def test_focal_loss_equals_stock_with_index_labels(shape, gamma, weight):
    logits, labels = make(shape)
    with_axis = Tensor(labels[:, None])
    ours, stock = losses.FocalLoss(weight, gamma), stock_focal(weight=weight, gamma=gamma)
    value, gradient = ms.value_and_grad(ours)(Tensor(logits), with_axis)
    expected, expected_gradient = ms.value_and_grad(stock)(Tensor(logits), with_axis)
    np.testing.assert_allclose(float(value), float(expected), rtol=1e-5)
    np.testing.assert_allclose(gradient.asnumpy(), expected_gradient.asnumpy(), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(float(ours(Tensor(logits), Tensor(labels))), float(value), rtol=1e-6)


def test_focal_loss_example_of_the_stock_documentation():
    logits = Tensor([[0.8, 1.4], [0.5, 0.9], [1.2, 0.9]])
    labels = Tensor([[1], [1], [0]], ms.int32)
    value = losses.FocalLoss(weight=Tensor([1, 2]), gamma=2.0)(logits, labels)
    np.testing.assert_allclose(float(value), 0.12516621, rtol=5e-7)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_focal_loss_one_hot_is_index_where_stock_is_not(shape, reduction):
    logits, labels = make(shape)
    one_hot = Tensor(oracle.one_hot(labels, CLASSES).astype(np.float32))
    cell = losses.FocalLoss(Tensor(WEIGHT), 2.0, reduction)
    by_index = cell(Tensor(logits), Tensor(labels)).asnumpy()
    np.testing.assert_allclose(cell(Tensor(logits), one_hot).asnumpy(), by_index, rtol=1e-5)
    values = oracle.softmax_focal(logits, labels, gamma=2.0, class_weight=WEIGHT)
    expected = {"mean": values.mean(), "sum": values.sum(), "none": values}[reduction]
    np.testing.assert_allclose(by_index, expected, rtol=1e-5)
    if reduction == "mean":
        stock = stock_focal(weight=Tensor(WEIGHT), gamma=2.0)
        np.testing.assert_allclose(float(stock(Tensor(logits), one_hot)) * CLASSES, by_index, rtol=1e-4)


def test_focal_loss_differs_from_stock_as_its_table_says():
    """Should stock be mended one day, the table goes."""
    confident, label = Tensor([[20.0, 0.0]]), Tensor([[0]], ms.int32)
    for gamma in (0.0, 0.5):
        stock = ms.grad(stock_focal(gamma=gamma))(confident, label).asnumpy()
        ours = ms.grad(losses.FocalLoss(gamma=gamma))(confident, label).asnumpy()
        assert np.isnan(stock).all()
        assert np.isfinite(ours).all()
    assert float(stock_focal(gamma=0.0)(confident, label)) <= 0
    np.testing.assert_allclose(float(losses.FocalLoss(gamma=0.0)(confident, label)), np.exp(-20), rtol=1e-5)
    logits, labels = (Tensor(each) for each in make((N, CLASSES, LENGTH)))
    assert stock_focal(reduction="none")(logits, labels.expand_dims(1)).shape == (N,)
    assert losses.FocalLoss(reduction="none")(logits, labels).shape == (N, LENGTH)
    stock_focal(gamma=-1.0)(confident, label)
    stock_focal(weight=Tensor([1.0, 2.0, 3.0]))(confident, label)
    stock_focal()(confident, Tensor([[-1]], ms.int32))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"weight": Tensor(WEIGHT)}, {"ignore_index": 2}, {"weight": Tensor(WEIGHT), "ignore_index": 2}],
    ids=["plain", "weighted", "ignore", "weighted-ignore"],
)
def test_cross_entropy_equals_stock(shape, reduction, arguments):
    logits, labels = make(shape)
    ours = losses.CrossEntropyLoss(reduction=reduction, **arguments)(Tensor(logits), Tensor(labels))
    stock = nn.CrossEntropyLoss(reduction=reduction, **arguments)(Tensor(logits), Tensor(labels))
    np.testing.assert_allclose(ours.asnumpy(), stock.asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [None, Tensor(WEIGHT)], ids=["", "weighted"])
@pytest.mark.parametrize("labels_are", ["index", "probabilities"])
def test_label_smoothing_equals_stock(weight, labels_are):
    logits, labels = make((N, CLASSES))
    given = Tensor(labels)
    if labels_are == "probabilities":
        given = Tensor(oracle.one_hot(labels, CLASSES).astype(np.float32))
    arguments = {"weight": weight, "label_smoothing": 0.1}
    ours = losses.CrossEntropyLoss(**arguments)(Tensor(logits), given)
    stock = nn.CrossEntropyLoss(**arguments)(Tensor(logits), given)
    np.testing.assert_allclose(float(ours), float(stock), rtol=1e-4)


def test_weighted_means_divide_by_the_weights_or_by_the_number():
    logits, labels = make((N, CLASSES))
    values = oracle.softmax_focal(logits, labels, class_weight=WEIGHT)
    by_weight = losses.CrossEntropyLoss(Tensor(WEIGHT))(Tensor(logits), Tensor(labels))
    by_number = losses.WeightedCrossEntropyLoss(Tensor(WEIGHT))(Tensor(logits), Tensor(labels))
    np.testing.assert_allclose(float(by_weight), values.sum() / WEIGHT[labels].sum(), rtol=1e-5)
    np.testing.assert_allclose(float(by_number), values.mean(), rtol=1e-5)


def test_all_ignored_is_zero_with_gradient_zero():
    logits, labels = Tensor(make((N, CLASSES))[0]), Tensor(np.full(N, -100, np.int32))
    value, gradient = ms.value_and_grad(losses.CrossEntropyLoss())(logits, labels)
    assert float(value) == 0
    assert (gradient.asnumpy() == 0).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_sigmoid_focal_loss(reduction):
    logits, _ = make((N, CLASSES))
    labels = (logits > 0.3).astype(np.float32)
    values = oracle.sigmoid_focal(logits, labels, gamma=2.0, alpha=0.25)
    expected = {"mean": values.mean(), "sum": values.sum(), "none": values}[reduction]
    value = losses.SigmoidFocalLoss(reduction=reduction)(Tensor(logits), Tensor(labels))
    np.testing.assert_allclose(value.asnumpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("trailing", [(), (LENGTH,)])
def test_a_sigmoid_focal_loss_with_a_weight_for_each_label(trailing):
    logits, _ = make((N, CLASSES, *trailing))
    labels = (logits > 0.3).astype(np.float32)
    alpha = [0.1, *np.linspace(0.3, 0.9, CLASSES - 1)]
    found = losses.SigmoidFocalLoss(alpha=alpha, reduction="none")(Tensor(logits), Tensor(labels)).asnumpy()
    for label, each in enumerate(alpha):
        expected = oracle.sigmoid_focal(logits[:, label], labels[:, label], gamma=2.0, alpha=each)
        np.testing.assert_allclose(found[:, label], expected, rtol=1e-5)
    with pytest.raises(
        ValueError, match=rf"alpha has shape \({CLASSES - 1},\); expected one number for each"
    ):
        losses.SigmoidFocalLoss(alpha=alpha[1:])(Tensor(logits), Tensor(labels))
    with pytest.raises(ValueError, match="alpha"):
        losses.SigmoidFocalLoss(alpha=[0.5, 1.5])


def test_ohem_around_any_unreduced_loss():
    logits, labels = make((N, 2, LENGTH))
    values = oracle.softmax_focal(logits, labels, gamma=2.0).ravel()
    focal = losses.FocalLoss(gamma=2.0, reduction="none")
    kept = np.sort(values)[-int(np.ceil(0.3 * values.size)) :]
    value = losses.OHEMLoss(focal, keep=0.3)(Tensor(logits), Tensor(labels))
    np.testing.assert_allclose(float(value), kept.mean(), rtol=1e-5)
    positive = labels.ravel() == 1
    hardest = np.sort(values[~positive])[-int(np.ceil(0.5 * positive.sum())) :]
    value = losses.OHEMLoss(focal, negatives_per_positive=0.5)(Tensor(logits), Tensor(labels))
    np.testing.assert_allclose(float(value), np.concatenate([values[positive], hardest]).mean(), rtol=1e-5)


CELLS = {
    "FocalLoss": lambda: losses.FocalLoss(Tensor(WEIGHT), 2.0),
    "CrossEntropyLoss": lambda: losses.CrossEntropyLoss(Tensor(WEIGHT), label_smoothing=0.1),
    "WeightedCrossEntropyLoss": lambda: losses.WeightedCrossEntropyLoss(Tensor(WEIGHT)),
    "OHEMLoss": lambda: losses.OHEMLoss(losses.FocalLoss(reduction="none"), keep=0.5),
    "SigmoidFocalLoss": lambda: losses.SigmoidFocalLoss(alpha=[0.25] * CLASSES),
}


def batch(name: str) -> tuple[np.ndarray, np.ndarray]:
    features, labels = make((N, 3))[0], make((N, CLASSES))[1]
    return features, oracle.one_hot(labels, CLASSES).astype(
        np.float32
    ) if name == "SigmoidFocalLoss" else labels


def step_by_hand(name: str, weight: np.ndarray, learning_rate: float) -> np.ndarray:
    """The weight (C, F) of a linear model after one step of SGD by the loss's gradient, taken from its value."""
    features, labels = batch(name)
    cell = CELLS[name]()

    def value(logits: Tensor) -> Tensor:
        return cell(logits, Tensor(labels))

    slope = ms.grad(value)(Tensor((features @ weight.T).astype(np.float32))).asnumpy()
    return weight - learning_rate * slope.T @ features


@pytest.mark.parametrize("mode", [ms.PYNATIVE_MODE, ms.GRAPH_MODE], ids=["pynative", "graph"])
@pytest.mark.parametrize("name", CELLS)
def test_one_step_of_mindspores_training_loops(name, mode):
    features, labels = batch(name)
    weight = np.random.default_rng(3).normal(size=(CLASSES, 3)).astype(np.float32)
    expected = step_by_hand(name, weight, 0.5)

    def network() -> nn.Cell:
        return nn.Dense(3, CLASSES, weight_init=Tensor(weight), has_bias=False)

    before = ms.get_context("mode")
    ms.set_context(mode=mode)
    try:
        net = network()
        step = nn.TrainOneStepCell(nn.WithLossCell(net, CELLS[name]()), nn.SGD(net.trainable_params(), 0.5))
        step(Tensor(features), Tensor(labels))
        np.testing.assert_allclose(net.weight.asnumpy(), expected, rtol=1e-4, atol=1e-6)

        net = network()
        data = NumpySlicesDataset({"features": features, "labels": labels}, shuffle=False).batch(N)
        model = ms.train.Model(net, CELLS[name](), nn.SGD(net.trainable_params(), 0.5))
        model.train(1, data, dataset_sink_mode=False)
        np.testing.assert_allclose(net.weight.asnumpy(), expected, rtol=1e-4, atol=1e-6)
    finally:
        ms.set_context(mode=before)
