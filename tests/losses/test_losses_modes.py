"""PyNative calls losses as compiled graphs where shapes come again, and graphs contain the plain cells."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lossfleet import losses
from lossfleet.losses import modes

BATCH, CLASSES = 37, 5


@pytest.fixture(autouse=True, scope="module")
def _synchronize():
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)


def batch(seed: int = 0, size: int = BATCH) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(size, CLASSES)).astype(np.float32) * 5
    return Tensor(logits), Tensor(random.integers(0, CLASSES, size).astype(np.int32))


@pytest.fixture
def recorded():
    """A function that keeps what it is called with as a graph."""

    class Recorded(modes.Repeated):
        def __init__(self) -> None:
            super().__init__(lambda values, *others: values)
            self.as_graph: list[tuple] = []
            self._graph = lambda *arguments: self.as_graph.append(arguments)

    return Recorded()


def test_a_shape_that_comes_again_is_called_as_a_graph(recorded):
    for _ in range(modes.CALLS_BEFORE_A_GRAPH):
        recorded(Tensor([1.0, 2.0]))
    assert not recorded.as_graph
    for _ in range(3):
        recorded(Tensor([1.0, 2.0]))
    recorded(Tensor([1.0, 2.0, 3.0]))
    recorded(Tensor([1.0, 2.0], ms.float64))
    assert len(recorded.as_graph) == 3


def test_shapes_that_come_once_are_never_compiled(recorded):
    for size in range(1, 1000):
        recorded(Tensor(np.zeros(size, np.float32)))
    assert not recorded.as_graph


def test_a_new_gamma_is_no_new_graph(recorded):
    for call in range(2 * modes.CALLS_BEFORE_A_GRAPH):
        recorded(Tensor([1.0, 2.0], ms.float64), 0.1 * call)
    assert len(recorded.as_graph) == modes.CALLS_BEFORE_A_GRAPH
    assert recorded.as_graph[-1][1].dtype == ms.float64


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_the_losses_stay_the_same_from_call_to_call(name, gamma):
    logits, labels = batch()
    if name == "sigmoid":
        labels = Tensor(np.eye(CLASSES, dtype=np.int32)[labels.asnumpy()])
    function = getattr(losses, f"{name}_focal_loss")

    def total(logits):
        return function(logits, labels, gamma=gamma).sum()

    results = [
        [result.asnumpy() for result in ms.value_and_grad(total)(logits)]
        for _ in range(modes.CALLS_BEFORE_A_GRAPH + 3)
    ]
    for value, gradient in results[1:]:
        np.testing.assert_allclose(value, results[0][0], rtol=1e-6)
        np.testing.assert_allclose(gradient, results[0][1], rtol=2e-6, atol=1e-37)


def test_only_what_is_compiled_is_a_graph():
    @ms.jit
    def compiled(values):
        return values + (1.0 if modes.is_graph() else 0.0)

    assert not modes.is_graph()
    assert float(compiled(Tensor(0.0))) == 1


def test_graph_mode_calls_the_losses_too():
    logits, labels = batch()
    expected = losses.softmax_focal_loss(logits, labels, gamma=2.0).asnumpy()
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        actual = losses.softmax_focal_loss(logits, labels, gamma=2.0).asnumpy()
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_losses_can_be_mapped_over_an_axis():
    logits, labels = batch(size=4 * BATCH)

    def loss(logits, labels):
        return losses.softmax_focal_loss(logits, labels, gamma=2.0)

    mapped = ms.vmap(loss)(logits.reshape(4, BATCH, CLASSES), labels.reshape(4, BATCH)).asnumpy()
    np.testing.assert_allclose(mapped.ravel(), loss(logits, labels).asnumpy(), rtol=2e-6)
