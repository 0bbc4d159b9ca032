"""Layers in their stacked and stock form, each against float64 NumPy."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from lossfleet.runners.models.initial import initial_parameters
from lossfleet.runners.models.layers import Dense
from lossfleet.runners.models.mlp import mlp
from lossfleet.runners.models.stacked import (
    StackedModel,
    flatten_parameters,
    mask_slices,
    stacked_masks,
    to_tensor,
    trainable,
    with_ones,
)
from lossfleet.runners.training.solo import StockModel

# Distinct primes, so that a silent broadcast cannot fit.
MEMBERS, BATCH, FEATURES, CLASSES, WIDTHS = 3, 5, 7, 11, (13, 17)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def forward(parameters: list[tuple[np.ndarray, np.ndarray]], examples: np.ndarray) -> np.ndarray:
    outputs = examples.astype(np.float64)
    for index, (weight, bias) in enumerate(parameters):
        outputs = (np.maximum(outputs, 0) if index else outputs) @ weight.T.astype(np.float64) + bias
    return outputs


def make_members(widths: tuple[int, ...]) -> list[list[tuple[np.ndarray, ...]]]:
    """Initial parameters of each layer of each member, with biases that are not 0."""
    layers = mlp(FEATURES, CLASSES, widths=widths)
    members = []
    for k in range(MEMBERS):
        parameters = initial_parameters(layers, FEATURES, seed=k)
        members.append([(each[0], normal(len(each[1]), seed=k)) if each else () for each in parameters])
    return members


def dense(member: list[tuple[np.ndarray, ...]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(arrays[0], arrays[1]) for arrays in member if arrays]


def stacked_examples(examples: np.ndarray) -> Tensor:
    return to_tensor(np.stack([with_ones(each) for each in examples]))


@pytest.mark.parametrize("widths", [(), (13,), WIDTHS])
def test_a_stacked_model_equals_each_members_own_and_its_stock_form(widths):
    members, examples = make_members(widths), normal(MEMBERS, BATCH, FEATURES)
    layers = mlp(FEATURES, CLASSES, widths=widths)
    model = StackedModel(layers, FEATURES, MEMBERS)
    buffer = np.stack([flatten_parameters(layers, member) for member in members])
    assert buffer.shape == (MEMBERS, model.size)
    logits = model(to_tensor(buffer), stacked_examples(examples)).asnumpy()
    for k, member in enumerate(members):
        expected = forward(dense(member), examples[k])
        np.testing.assert_allclose(logits[k].T, expected, rtol=1e-5, atol=1e-5)
        stock = StockModel(layers)
        stock.load(member)
        np.testing.assert_allclose(stock(Tensor(examples[k])).asnumpy(), expected, rtol=1e-5, atol=1e-5)


def test_all_but_the_rows_of_ones_is_trainable():
    layers = mlp(FEATURES, CLASSES, widths=WIDTHS)
    member = make_members(WIDTHS)[0]
    mask = trainable(layers, FEATURES)
    assert mask.sum() == sum(weight.size + bias.size for weight, bias in dense(member))
    rows_of_ones = flatten_parameters(layers, member)[mask == 0]
    assert rows_of_ones.sum() == len(WIDTHS)
    assert set(rows_of_ones.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_of_the_stacked_model_by_finite_differences(dropout):
    members, examples = make_members(WIDTHS), normal(MEMBERS, BATCH, FEATURES)
    slope = normal(MEMBERS, CLASSES, BATCH, seed=1)
    layers = mlp(FEATURES, CLASSES, widths=WIDTHS, dropout=dropout)
    model = StackedModel(layers, FEATURES, MEMBERS)
    random = np.random.default_rng(2)
    drawn = [(random.random((MEMBERS, width, BATCH)) >= dropout) / (1 - dropout) for width in WIDTHS]
    masks = np.stack([stacked_masks([each[k, None] for each in drawn])[0] for k in range(MEMBERS)])
    mask_rows = mask_slices(layers, FEATURES) if dropout else [(0, width + 1) for width in WIDTHS]

    class Gradient(nn.Cell):
        def __init__(self):
            super().__init__()
            self.model = model

        def logits(self, buffer, stacked, masks):
            return self.model(buffer, stacked, masks)

        @ms.jit
        def construct(self, buffer, stacked, masks, slope):
            return ms.value_and_grad(self.logits, 0, None, False, False, True)(buffer, stacked, masks, slope)[
                1
            ]

    in_layers = []
    for member in members:
        own = iter(dense(member))
        in_layers.append([next(own) if isinstance(layer, Dense) else () for layer in layers])
    buffer = np.stack([flatten_parameters(layers, member) for member in in_layers])
    stacked = stacked_examples(examples)
    gradient = Gradient()(to_tensor(buffer), stacked, to_tensor(masks), to_tensor(slope)).asnumpy()

    sizes = (FEATURES, *WIDTHS, CLASSES)

    def exact(k: int, row: np.ndarray) -> float:
        outputs, start = with_ones(examples[k]).T.astype(np.float64), 0
        for layer in range(len(sizes) - 1):
            rows = sizes[layer + 1] + (layer < len(WIDTHS))
            columns = sizes[layer] + 1
            if layer:
                first, last = mask_rows[layer - 1]
                outputs = np.maximum(outputs, 0)
                if dropout:
                    outputs = outputs * masks[k, first:last]
            outputs = row[start : start + rows * columns].reshape(rows, columns) @ outputs
            start += rows * columns
        return float((outputs * slope[k]).sum())

    where = np.flatnonzero(trainable(layers, FEATURES))
    for k in range(MEMBERS):
        row = buffer[k].astype(np.float64)
        for position in np.random.default_rng(k).choice(where, 40, replace=False):
            step = np.zeros_like(row)
            step[position] = 1e-6
            expected = (exact(k, row + step) - exact(k, row - step)) / 2e-6
            np.testing.assert_allclose(gradient[k, position], expected, rtol=1e-4, atol=1e-4)


def test_layers_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"Dense\(5, 3\) comes after 7 outputs; expected 5"):
        Dense(5, 3).width(7)
