"""Layers in their stacked form against float64 NumPy, and what makes a list of them a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from math import prod

import mindspore as ms
import numpy as np
import pytest
from image_layers import IMAGE_MODELS, image_layer, shortcut
from mindspore import Tensor, nn

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.runners.models.build import build_layers
from lossfleet.runners.models.images import Convolution, Flatten, Image, ImageLayer, MaxPool
from lossfleet.runners.models.initial import Parameters, initial_parameters
from lossfleet.runners.models.layers import (
    GELU,
    Dense,
    Dropout,
    Layer,
    LayerNorm,
    ReLU,
    Scale,
    dropouts,
    trained_widths,
)
from lossfleet.runners.models.mlp import mlp
from lossfleet.runners.models.shortcuts import Shortcut
from lossfleet.runners.models.stacked import (
    StackedModel,
    flatten_parameters,
    stacked_masks,
    to_tensor,
    trainable,
    with_ones,
)
from lossfleet.runners.models.stock import StockModel

# Distinct primes, so that a silent broadcast cannot fit.
MEMBERS, BATCH, FEATURES, CLASSES, WIDTHS = 3, 5, 7, 11, (13, 17)
HIDDEN = mlp(FEATURES, CLASSES, widths=WIDTHS)
DROPPED = mlp(FEATURES, CLASSES, widths=WIDTHS, dropout=0.3)
# What has no weights may come first, and twice in a row.
UNUSUAL: list[Layer] = [
    *(Dropout(0.4), ReLU(), Dropout(0.2), Dense(FEATURES, 13), Dense(13, 17)),
    *(Dropout(0.5), ReLU(), Dense(17, CLASSES, "glorot"), ReLU()),
]
# A normalisation may come first, last and behind anything.
NORMALISED: list[Layer] = [
    *(LayerNorm(FEATURES), Dense(FEATURES, 13), GELU(), LayerNorm(13), Dropout(0.3)),
    *(Dense(13, CLASSES), LayerNorm(CLASSES)),
]
SCALED: list[Layer] = [
    Scale(FEATURES),
    Dense(FEATURES, 13),
    Scale(13),
    ReLU(),
    Dense(13, CLASSES),
    Scale(CLASSES),
]
MODELS = {
    "logistic": mlp(FEATURES, CLASSES, widths=()),
    "one hidden": mlp(FEATURES, CLASSES, widths=(13,)),
    "two hidden": HIDDEN,
    "dropout": DROPPED,
    "unusual": UNUSUAL,
    "normalised": NORMALISED,
    "scaled": SCALED,
    **IMAGE_MODELS,
}


def features_of(layers: Sequence[Layer]) -> int:
    """How many features a model of the table takes."""
    return prod(astuple(layers[0])) if isinstance(layers[0], Image) else FEATURES


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def members_of(layers: Sequence[Layer]) -> list[list[Parameters]]:
    """The parameters of each member, whose biases are not 0 and whose factors are not 1."""
    members = [initial_parameters(layers, features_of(layers), seed=k) for k in range(MEMBERS)]
    return [
        [(*arrays[:-1], normal(len(arrays[-1]), seed=k)) if arrays else () for arrays in member]
        for k, member in enumerate(members)
    ]


def masks_of(layers: Sequence[Layer]) -> list[list[np.ndarray]]:
    """The masks (width, B) of each member's dropouts."""
    random = np.random.default_rng(2)
    return [
        [
            (random.random((width, BATCH)) >= rate) / np.float32(1 - rate)
            for rate, width in dropouts(layers, features_of(layers))
        ]
        for _ in range(MEMBERS)
    ]


def forward(
    layers: Sequence[Layer],
    parameters: Sequence[Parameters],
    examples: np.ndarray,
    masks: Sequence[np.ndarray],
) -> np.ndarray:
    """Logits (B, C) in float64."""
    outputs, left = examples.astype(np.float64), list(masks)
    inputs: list[np.ndarray] = []
    for layer, arrays in zip(layers, parameters, strict=True):
        inputs.append(outputs)
        if isinstance(layer, Shortcut):
            outputs = shortcut(outputs, inputs[-1 - layer.layers])
        elif isinstance(layer, (Image, ImageLayer)):
            outputs = image_layer(layer, outputs, arrays)
        elif isinstance(layer, Dense):
            weight, bias = (each.astype(np.float64) for each in arrays)
            outputs = outputs @ weight.T + bias
        elif isinstance(layer, ReLU):
            outputs = np.maximum(outputs, 0)
        elif isinstance(layer, GELU):
            outputs = outputs * (1 + np.tanh(np.sqrt(2 / np.pi) * (outputs + 0.044715 * outputs**3))) / 2
        elif isinstance(layer, Scale):
            outputs = outputs * arrays[0].astype(np.float64)
        elif isinstance(layer, LayerNorm):
            gain, shift = (each.astype(np.float64) for each in arrays)
            spread = np.sqrt(outputs.var(1, keepdims=True) + 1e-5)
            outputs = gain * (outputs - outputs.mean(1, keepdims=True)) / spread + shift
        elif masks:
            outputs = outputs * left.pop(0).T.reshape(outputs.shape)
    return outputs


def buffer_of(layers: Sequence[Layer], members: Sequence[Sequence[Parameters]]) -> np.ndarray:
    return np.stack([flatten_parameters(layers, member) for member in members])


def masks_tensor(masks: list[list[np.ndarray]]) -> Tensor:
    return to_tensor(np.concatenate([stacked_masks([mask[None] for mask in member]) for member in masks]))


@pytest.mark.parametrize("name", MODELS)
def test_a_stacked_model_equals_each_members_own(name):
    layers = MODELS[name]
    members, examples, masks = (
        members_of(layers),
        normal(MEMBERS, BATCH, features_of(layers)),
        masks_of(layers),
    )
    stacked = to_tensor(np.stack([with_ones(each) for each in examples]))
    buffer = buffer_of(layers, members)
    for trains in (True, False):
        model = StackedModel(layers, features_of(layers), MEMBERS, trains=trains)
        assert buffer.shape == (MEMBERS, model.size)
        drops = trains and any(masks)
        logits = model(to_tensor(buffer), stacked, masks_tensor(masks) if drops else None).asnumpy()
        assert logits.shape == (MEMBERS, CLASSES, BATCH)
        for k, member in enumerate(members):
            expected = forward(layers, member, examples[k], masks[k] if drops else ())
            np.testing.assert_allclose(logits[k].T, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_stock_model_equals_its_definition(name):
    layers = MODELS[name]
    member, examples, masks = members_of(layers)[0], normal(BATCH, features_of(layers)), masks_of(layers)[0]
    model = StockModel(layers)
    model.load(member)
    np.testing.assert_allclose(
        model(Tensor(examples)).asnumpy(), forward(layers, member, examples, ()), rtol=1e-5, atol=1e-5
    )
    transposed = tuple(Tensor(np.ascontiguousarray(mask.T)) for mask in masks)
    np.testing.assert_allclose(
        model(Tensor(examples), transposed).asnumpy(),
        forward(layers, member, examples, masks),
        rtol=1e-5,
        atol=1e-5,
    )


def test_blocks_are_split_and_joined_without_loss():
    model = StackedModel(HIDDEN, FEATURES, MEMBERS)
    buffer = normal(MEMBERS, model.size)
    blocks = model.split(to_tensor(buffer))
    assert [each.shape[1:] for each in blocks] == [(14, 8), (18, 14), (11, 18)]
    (joined,) = model.split.bprop(to_tensor(buffer), blocks, blocks)
    np.testing.assert_array_equal(joined.asnumpy(), buffer)


@pytest.mark.parametrize("name", MODELS)
def test_all_but_the_rows_of_ones_is_trainable(name):
    layers = MODELS[name]
    member, is_trained = members_of(layers)[0], trainable(layers, features_of(layers))
    assert is_trained.sum() == sum(array.size for arrays in member for array in arrays)
    rows_of_ones = flatten_parameters(layers, member)[is_trained == 0]
    hidden = sum(isinstance(layer, (Dense, LayerNorm, Scale)) for layer in layers) - 1
    assert rows_of_ones.sum() == hidden
    assert set(rows_of_ones.tolist()) == ({0.0, 1.0} if hidden else set())


class Gradient(nn.Cell):
    """The gradient of logits times a slope by the buffer, in a compiled graph as it trains."""

    def __init__(self, model: StackedModel) -> None:
        super().__init__()
        self.model = model

    @ms.jit
    def construct(self, buffer: Tensor, examples: Tensor, masks: Tensor, slope: Tensor) -> Tensor:
        return ms.value_and_grad(self.model, 0, None, False, False, True)(buffer, examples, masks, slope)[1]


@pytest.mark.parametrize("name", ["two hidden", "dropout", "unusual", "normalised", *IMAGE_MODELS])
def test_gradient_of_a_stacked_model_by_finite_differences(name):
    layers = MODELS[name]
    members, examples, masks = (
        members_of(layers),
        normal(MEMBERS, BATCH, features_of(layers)),
        masks_of(layers),
    )
    slope = normal(MEMBERS, CLASSES, BATCH, seed=1)
    buffer = buffer_of(layers, members)
    inputs = (
        to_tensor(np.stack([with_ones(each) for each in examples])),
        masks_tensor(masks) if any(masks) else to_tensor(np.zeros(1)),
        to_tensor(slope),
    )
    gradient = Gradient(StackedModel(layers, features_of(layers), MEMBERS))(
        to_tensor(buffer), *inputs
    ).asnumpy()
    is_trained = trainable(layers, features_of(layers))

    def exact(k: int, layer: int, array: int, place: tuple[int, ...], step: float) -> float:
        changed = [[each.astype(np.float64) for each in arrays] for arrays in members[k]]
        changed[layer][array][place] += step
        return float((forward(layers, changed, examples[k], masks[k]) * slope[k].T).sum())

    random = np.random.default_rng(0)
    for k in range(MEMBERS):
        # The same layout as the buffer's, so that each trained place says which parameter it is.
        for layer, arrays in enumerate(members[k]):
            for array in range(len(arrays)):
                for flat in random.choice(arrays[array].size, min(20, arrays[array].size), replace=False):
                    place = np.unravel_index(flat, arrays[array].shape)
                    marked = [[np.zeros_like(each) for each in some] for some in members[k]]
                    marked[layer][array][place] = 1
                    position = np.flatnonzero(flatten_parameters(layers, marked) * is_trained)
                    expected = (
                        exact(k, layer, array, place, 1e-6) - exact(k, layer, array, place, -1e-6)
                    ) / 2e-6
                    np.testing.assert_allclose(gradient[k, position], [expected], rtol=1e-4, atol=1e-4)


def test_widths_of_layers():
    assert trained_widths(UNUSUAL, FEATURES) == [0, 0, 0, 13, 17, 0, 0, 11, 0]
    assert dropouts(UNUSUAL, FEATURES) == [(0.4, 7), (0.2, 7), (0.5, 17)]


def no_layers(features: int, classes: int) -> str:
    return "none"


def other_classes(features: int, classes: int) -> list[Layer]:
    return [Dense(features, classes + 1)]


def unfit(features: int, classes: int) -> list[Layer]:
    return [Dense(features, 13), Dense(17, classes)]


def untrained(features: int, classes: int) -> list[Layer]:
    return [ReLU()]


def drops_logits(features: int, classes: int) -> list[Layer]:
    return [Dense(features, classes), ReLU(), Dropout(0.1)]


def gelu_of_logits(features: int, classes: int) -> list[Layer]:
    return [Dense(features, classes), GELU()]


def unfit_norm(features: int, classes: int) -> list[Layer]:
    return [LayerNorm(13), Dense(13, classes)]


def image_of_another_size(features: int, classes: int) -> list[Layer]:
    return [Image(2, 2, 2), Flatten(), Dense(8, classes)]


def convolution_of_rows(features: int, classes: int) -> list[Layer]:
    return [Convolution(1, 3), Flatten(), Dense(21, classes)]


def dense_of_images(features: int, classes: int) -> list[Layer]:
    return [Image(1, 7, 1), Convolution(1, 3), Dense(21, classes)]


def pooled_away(features: int, classes: int) -> list[Layer]:
    return [Image(1, 7, 1), MaxPool(), Flatten(), Dense(3, classes)]


def flat_logits(features: int, classes: int) -> list[Layer]:
    return [Image(features, 1, 1), Convolution(features, classes), Flatten()]


def far_shortcut(features: int, classes: int) -> list[Layer]:
    return [Image(1, 7, 1), Convolution(1, 1), Shortcut(3), Flatten(), Dense(7, classes)]


def shortcut_of_a_row(features: int, classes: int) -> list[Layer]:
    return [Image(1, 7, 1), Convolution(1, 1), Shortcut(2), Flatten(), Dense(7, classes)]


def shortcut_to_fewer_channels(features: int, classes: int) -> list[Layer]:
    return [Image(1, 7, 1), Convolution(1, 3), Convolution(3, 2), Shortcut(1), Flatten(), Dense(14, classes)]


def shortcut_past_two_halvings(features: int, classes: int) -> list[Layer]:
    halving = Convolution(1, 1, stride=2)
    return [Image(1, 7, 1), halving, halving, Shortcut(2), Flatten(), Dense(2, classes)]


def shortcut_between_rows(features: int, classes: int) -> list[Layer]:
    return [Dense(features, features), ReLU(), Shortcut(1), Dense(features, classes)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (no_layers, "gives str"),
        (other_classes, "gives 8 outputs; expected 7, one logit a class"),
        (unfit, r"Dense\(17, 7\) comes after 13 outputs; expected 17"),
        (untrained, "has no parameters"),
        (drops_logits, "has Dropout on its logits"),
        (gelu_of_logits, "has GELU on its logits"),
        (image_of_another_size, r"Image\(2, 2, 2\) comes after 7 outputs; expected 8"),
        (convolution_of_rows, "Convolution comes after 7 outputs; expected an image"),
        (dense_of_images, r"Dense\(21, 7\) comes after an image of 3 x 7 x 1; expected 21"),
        (pooled_away, "MaxPool comes after an image of 1 x 7 x 1; expected at least 2 rows and columns"),
        (flat_logits, "has Flatten on its logits"),
        (far_shortcut, r"Shortcut\(3\) comes after 2 layers; expected a number from 1 to 2"),
        (
            shortcut_of_a_row,
            r"Shortcut\(2\) adds 7 outputs to an image of 1 x 7 x 1; expected at most as many",
        ),
        (shortcut_to_fewer_channels, r"Shortcut\(1\) adds an image of 3 x 7 x 1 to an image of 2 x 7 x 1"),
        (shortcut_past_two_halvings, r"Shortcut\(2\) adds an image of 1 x 7 x 1 to an image of 1 x 2 x 1"),
        (shortcut_between_rows, "Shortcut comes after 7 outputs; expected an image"),
        (unfit_norm, r"LayerNorm\(13\) comes after 7 outputs; expected 13"),
    ],
)
def test_what_is_no_model_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        build_layers(Part("model", "wrong", f"test_layers.{model.__name__}"), FEATURES, FEATURES)
