"""The native core: gradients against float64, the same bits however it is called, and what it refuses.

That its replicates equal their solo runs is in test_fleet.py, beside the fleet's.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops
from replicate_runs import (
    CROSS_ENTROPY,
    EPOCHS,
    adamw,
    check_recall,
    config,
    fill,
    fleet_curves,
    focal,
    make_native_fleet,
    mlp,
    replicate,
    shape_of_replicate,
)
from test_fleet import COSINE, MIXUP, SMOOTHED, fraction, ratio, sgd
from test_layers import CLASSES, FEATURES, MODELS, features_of, forward, members_of

from lossfleet.conf.parts import Part, named_part
from lossfleet.runners.models.images import Convolution, Flatten, Image, MaxPool
from lossfleet.runners.models.layers import Dense, Layer, ReLU, dropouts
from lossfleet.runners.models.stock import StockModel
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.operators import predict_logits_operator, train_epoch_operator
from lossfleet.runners.training.native.translation import flat_parameters, layer_rows, unknown
from lossfleet.runners.training.replicate import Replicate

ROWS = 23
MININGS = {"none": (0, 0.0), "fraction": (1, 0.4), "ratio": (2, 0.7)}
FAMILY: list[dict[str, Any]] = [
    {"epsilon": 2.5},
    {"epsilon": -0.5, "gamma": 1.5, "mining": "fraction"},
    {"smoothing": 0.2},
    {"smoothing": 0.3, "gamma": 1.5, "epsilon": 1.0, "mining": "ratio"},
    {"adjusts": True},
    {"adjusts": True, "smoothing": 0.2, "gamma": 0.5, "mining": "fraction"},
    {"mixes": True},
    {"mixes": True, "adjusts": True, "gamma": 2.0, "smoothing": 0.1},
]


def epoch_inputs(
    layers: list[Layer],
    *,
    gamma: float = 0.0,
    epsilon: float = 0.0,
    smoothing: float = 0.0,
    adjusts: bool = False,
    mixes: bool = False,
    mining: str = "none",
    seed: int = 0,
) -> list[np.ndarray]:
    """One step of plain gradient descent at rate 1 on one batch, so that it takes the gradient away."""
    random, features = np.random.default_rng(seed), features_of(layers)
    kind, share = MININGS[mining]
    parameters = flat_parameters(members_of(layers)[0])
    masks = [
        (random.random((1, width, ROWS)) >= rate) / np.float32(1 - rate)
        for rate, width in dropouts(layers, features)
    ]
    return [
        layer_rows(layers, features),
        parameters,
        np.zeros_like(parameters),
        np.zeros_like(parameters),
        random.normal(size=(ROWS, features)).astype(np.float32),
        random.integers(0, CLASSES, ROWS, np.int32),
        random.permutation(ROWS).astype(np.int32),
        np.concatenate(masks, axis=1) if masks else np.ones((1, 1, 1), np.float32),
        random.uniform(0.5, 2, CLASSES).astype(np.float32),
        random.uniform(0.2, 3, ROWS).astype(np.float32),
        (random.uniform(0.5, 2, (3, CLASSES)) if adjusts else np.eye(3)[:1].T * np.ones(CLASSES)).astype(
            np.float32
        ),
        random.permutation(ROWS).astype(np.int32),
        random.random((2, ROWS)).astype(np.float32),
        np.array([ROWS, kind, 1, mixes], np.int32),
        np.array([gamma, epsilon, smoothing, share, 0, 0, 0], np.float32),
        np.array([[1], [0]], np.float32),
        np.zeros((2, 1), np.float32),
    ]


def told(kind: int, inputs: int, outputs: int, *of_image: int) -> np.ndarray:
    """A layer as the core is told of it."""
    return np.array([[kind, inputs, outputs, *of_image, *[0] * (7 - len(of_image))]], np.int32)


def called(inputs: list[np.ndarray]) -> list[np.ndarray]:
    outputs = [np.empty_like(each) for each in inputs[1:4]] + [np.empty(1, np.float32)]
    Call("train_epoch", *inputs, *outputs)()
    return outputs


def losses_of(logits: np.ndarray, labels: np.ndarray, inputs: list[np.ndarray]) -> np.ndarray:
    """The loss (N,) of each example, of logits (N, C)."""
    class_weight, (scale, offset, margin) = inputs[8].astype(float), inputs[10].astype(float)
    gamma, epsilon, smoothing = inputs[14][:3].astype(float)
    one_hot = np.eye(CLASSES)[labels]
    adjusted = logits * scale + offset - one_hot * margin
    shifted = adjusted - adjusted.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    q = 1 - np.exp(log_p)
    of_each = q**gamma * -log_p + epsilon * q ** (gamma + 1)
    return ((one_hot * (1 - smoothing) + smoothing / CLASSES) * class_weight * of_each).sum(1)


def objective(layers: list[Layer], inputs: list[np.ndarray], arrays: list[tuple[np.ndarray, ...]]) -> float:
    """The definition in float64: the mean over the examples that count."""
    features, labels, plan, masks, weight = (inputs[index] for index in (4, 5, 6, 7, 9))
    partners, mixing, choices, share = inputs[11], inputs[12].astype(float), inputs[13], inputs[14][3]
    widths = [width for _, width in dropouts(layers, features_of(layers))]
    own = np.split(masks[0], np.cumsum(widths)[:-1]) if widths else []
    if choices[3]:
        kept = mixing[0][:, None]
        logits = forward(layers, arrays, kept * features[plan] + (1 - kept) * features[partners], own)
        losses = mixing[1] * weight[plan] * losses_of(logits, labels[plan], inputs)
        losses += (1 - mixing[1]) * weight[partners] * losses_of(logits, labels[partners], inputs)
        return float(losses.mean())
    logits, labels = forward(layers, arrays, features[plan], own), labels[plan]
    losses = weight[plan] * losses_of(logits, labels, inputs)
    kept = np.ones(ROWS, bool)
    if choices[1] == 1:
        kept = np.argsort(np.argsort(-losses)) < np.ceil(share * ROWS)
    elif choices[1] == 2:
        positive = labels == 1
        rank = np.argsort(np.argsort(np.where(positive, np.inf, -losses)))
        kept = positive | (rank < max(1, np.ceil(share * positive.sum())))
    return float(losses[kept].mean())


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradient_are_those_of_the_definition(name, gamma, mining):
    check_against_the_definition(MODELS[name], epoch_inputs(MODELS[name], gamma=gamma, mining=mining))


@pytest.mark.parametrize("settings", FAMILY, ids=str)
def test_a_loss_of_the_family_is_its_definition(settings):
    layers = MODELS["two hidden"]
    check_against_the_definition(layers, epoch_inputs(layers, **settings))


def check_against_the_definition(layers: list[Layer], inputs: list[np.ndarray]) -> None:
    arrays = [tuple(map(np.float64, each)) for each in members_of(layers)[0]]
    parameters, _, _, loss = called(inputs)
    np.testing.assert_allclose(loss[0], objective(layers, inputs, arrays), rtol=1e-5)
    random = np.random.default_rng(1)
    for layer, own in enumerate(arrays):
        for array in range(len(own)):
            for flat in random.choice(own[array].size, min(7, own[array].size), replace=False):
                place = np.unravel_index(flat, own[array].shape)
                ends = []
                for step in (1e-6, -1e-6):
                    changed = [[each.copy() for each in some] for some in arrays]
                    changed[layer][array][place] += step
                    ends.append(objective(layers, inputs, changed))
                marked = [tuple(np.zeros_like(each) for each in some) for some in arrays]
                marked[layer][array][place] = 1
                position = np.flatnonzero(flat_parameters(marked))
                gradient = (inputs[1] - parameters)[position]
                np.testing.assert_allclose(gradient, [(ends[0] - ends[1]) / 2e-6], rtol=1e-3, atol=2e-6)


def test_of_equal_pixels_the_first_has_the_slope_as_in_mindspore():
    layers: list[Layer] = [Image(1, 7, 5), Convolution(1, 3), MaxPool(), Flatten(), Dense(18, CLASSES)]
    weight, _ = members_of(layers)[0][1]
    # Where an image does not vary, nor do the outputs of its convolution.
    inputs = epoch_inputs(layers)
    inputs[4][:, :] = inputs[4][:, :1]
    inputs[8][:] = inputs[9][:] = 1
    stock = StockModel(layers)
    stock.load(members_of(layers)[0])
    features, labels = inputs[4][inputs[6]], inputs[5][inputs[6]]

    def loss(examples: Tensor) -> Tensor:
        return ops.cross_entropy(stock(examples), Tensor(labels))

    gradient, *_ = ms.value_and_grad(loss, None, stock.trainable_params())(Tensor(features))[1]
    parameters = called(inputs)[0]
    found = (inputs[1] - parameters)[: weight.size].reshape(9, 3).T.reshape(weight.shape)
    np.testing.assert_allclose(found, gradient.asnumpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_a_loss_keeps_its_digits_in_both_tails(gamma):
    margins = np.array([-80, -30, -3, -1e-3, 0, 1e-3, 3, 12, 16, 30], np.float64)
    found = []
    for margin in margins:
        inputs = epoch_inputs(MODELS["logistic"], gamma=gamma)
        # The features are the logits, of which two classes matter.
        inputs[0] = told(0, CLASSES, CLASSES)
        inputs[1] = np.vstack([np.eye(CLASSES), np.zeros(CLASSES)]).astype(np.float32).ravel()
        inputs[2] = inputs[3] = np.zeros_like(inputs[1])
        inputs[4] = np.full((1, CLASSES), -3e4, np.float32)
        inputs[4][0, 3:5] = margin, 0
        inputs[5], inputs[6] = np.array([3], np.int32), np.zeros(1, np.int32)
        inputs[8] = np.ones(CLASSES, np.float32)
        inputs[9] = np.ones(1, np.float32)
        found.append(called(inputs)[3][0])
    cross_entropy, q = np.logaddexp(0, -margins), 1 / (1 + np.exp(margins))
    np.testing.assert_allclose(found, q**gamma * cross_entropy, rtol=1e-5, atol=1e-36)


def test_an_operator_gives_the_same_bits_in_both_modes():
    layers = MODELS["unusual"]
    inputs = epoch_inputs(layers, gamma=1.5, mining="fraction")
    expected = called(inputs)
    logits = np.empty((CLASSES, ROWS), np.float32)
    Call("predict_logits", inputs[0], inputs[1], inputs[4], logits)()
    train, predict = train_epoch_operator(), predict_logits_operator(CLASSES)

    def both(*tensors: Tensor) -> Any:
        return *train(*tensors), predict(tensors[0], tensors[1], tensors[4])

    tensors = [Tensor(each) for each in inputs]
    for function in (both, ms.jit(both)):
        for found, bits in zip(function(*tensors), [*expected, logits], strict=True):
            np.testing.assert_array_equal(found.asnumpy(), bits)
    for tensor, each in zip(tensors, inputs, strict=True):
        np.testing.assert_array_equal(tensor.asnumpy(), each)


def company() -> list[Replicate]:
    gammas = (0.0, 0.3, 1.0, 2.0, 5.0)
    return [
        replicate(config(focal(gamma), model=mlp(13, 11, dropout=0.2)), seed=k)
        for k, gamma in enumerate(gammas)
    ]


def test_the_same_bits_on_every_run_with_any_threads_slots_and_company():
    replicates = company()
    expected = fleet_curves(make_native_fleet(replicates), replicates)
    assert len(set(expected[0][:, -1])) == len(replicates)
    order = [3, 0, 4, 2, 1]
    runs = {
        "again": (replicates, 5, 1),
        "in threads": (replicates, 5, 3),
        "elsewhere": ([replicates[k] for k in order], 7, 2),
        "alone": (replicates[3:4], 1, 1),
    }
    places = {"again": range(5), "in threads": range(5), "elsewhere": order, "alone": [3]}
    for name, (own, slots, threads) in runs.items():
        fleet = make_native_fleet(own, slots, threads)
        for curve, bits in zip(fleet_curves(fleet, own), expected, strict=True):
            np.testing.assert_array_equal(curve, bits[list(places[name])], err_msg=name)


@pytest.mark.parametrize("mining", [named_part("mining", "none"), fraction(0.4)])
def test_nan_is_seen_and_stays_in_its_slot(mining):
    healthy = [replicate(config(focal(0.5), mining=mining), seed=k) for k in range(3)]
    poisoned = list(healthy)
    poisoned[1] = replicate(config(focal(0.5), mining=mining, optimizer=adamw(1e30)), seed=1)
    losses, _, training = fleet_curves(make_native_fleet(healthy), healthy)
    poisoned_losses, _, poisoned_training = fleet_curves(make_native_fleet(poisoned), poisoned)
    assert not np.isfinite(poisoned_training[1, -1])
    for k in (0, 2):
        np.testing.assert_array_equal(poisoned_training[k], training[k])
        np.testing.assert_array_equal(poisoned_losses[k], losses[k])


def test_a_slot_is_reused_without_a_trace_of_its_former_replicate():
    first, second = (replicate(config(focal(gamma)), seed=k) for k, gamma in enumerate((0.5, 2)))
    _, _, expected = fleet_curves(make_native_fleet([second]), [second])
    fleet = make_native_fleet([first], slots=3)
    fleet.enter(1, first)
    fleet.train_epoch()
    with pytest.raises(ValueError, match="slot 1 is taken"):
        fleet.enter(1, second)
    fleet.leave(1)
    assert fleet.free_slots() == [0, 1, 2]
    fleet.enter(1, second)
    training = np.array([fleet.train_epoch() for _ in range(EPOCHS)])
    np.testing.assert_array_equal(training[:, 1], expected[0])
    assert np.isnan(training[:, [0, 2]]).all()
    assert fleet.epochs.tolist() == [0, EPOCHS, 0]
    assert fleet.split(1) is second.split


def test_what_was_remembered_is_recalled():
    replicates = company()[:2]
    check_recall(make_native_fleet(replicates), replicates)


def test_replicates_are_left_as_they_were():
    made = replicate(config(focal(1.0)), seed=3)
    before = [array.copy() for arrays in made.initial for array in arrays] + [made.features.copy()]
    fill(make_native_fleet([made]), [made]).train_epoch()
    after = [array for arrays in made.initial for array in arrays] + [made.features]
    for array, expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(array, expected)


def after_image(kind: int, outputs: int, *of_image: int) -> np.ndarray:
    """A layer of images, behind the one that makes them."""
    return np.concatenate([told(5, FEATURES, FEATURES), told(kind, FEATURES, outputs, *of_image)])


def shortcut(
    past: int, *, source: tuple[int, ...] = (1, 7, 1), own: tuple[int, ...] = (1, 7, 1)
) -> np.ndarray:
    """A shortcut that takes such an image, behind a layer that takes such another one."""
    return np.concatenate([after_image(1, 7, *source), told(13, 7, 7, *own, 0, 0, 0, past)])


WRONG = {
    "parameters": (1, np.zeros(7, np.float32), r"argument 1 has shape \(7\); expected \(\d+\)"),
    "labels": (5, np.full(ROWS, CLASSES, np.int32), f"a label of {CLASSES}"),
    "negative labels": (5, np.full(ROWS, -1, np.int32), "a label of -1"),
    "fewer labels": (5, np.zeros(ROWS - 1, np.int32), "argument 5 has shape"),
    "plan": (6, np.full(ROWS, ROWS, np.int32), f"a plan with row {ROWS}"),
    "type": (4, np.zeros((ROWS, FEATURES)), "argument 4 is of float64; expected float32"),
    "rank": (4, np.zeros(ROWS, np.float32), r"expected \(any, any\)"),
    "features": (4, np.zeros((ROWS, FEATURES + 1), np.float32), "layer 0 does not fit the one before it"),
    "layer": (0, told(14, FEATURES, FEATURES), "an unknown kind of layer"),
    "empty layer": (0, told(0, FEATURES, 0), "a size of 0"),
    "no parameters": (0, told(1, FEATURES, FEATURES), "no layer has parameters"),
    "an image as logits": (0, after_image(6, 7, 1, 7, 1, 3, 1), "the logits are an image"),
    "stride": (0, after_image(6, 7, 1, 7, 1, 3, 3), "a stride of 3"),
    "kernel": (0, after_image(6, 7, 1, 7, 1, 4, 1), "a kernel of 4"),
    "outputs": (0, after_image(6, 8, 1, 7, 1, 3, 1), "a layer is told of other outputs than it has"),
    "groups": (0, after_image(9, 7, 7, 1, 1, 0, 0, 2), "groups that do not divide the channels"),
    "pooling": (0, after_image(7, 3, 1, 7, 1), "a pooling of a single row or column"),
    "size of an image": (0, after_image(6, 7, -1, -7, 1, 3, 1), "a size of -1"),
    "another image": (0, after_image(6, 7, 1, 2, 3, 3, 1), "layer 1 does not fit the one before it"),
    "image": (0, told(6, FEATURES, 7, 1, 7, 1, 3, 1), "layer 0 does not fit the one before it"),
    "shortcut past none": (0, shortcut(0), "a shortcut past 0 layers"),
    "shortcut past too many": (0, shortcut(3), "a shortcut past 3 layers"),
    "shortcut of a row": (0, shortcut(2), "a size of 0"),
    "shortcut of no image": (0, shortcut(1, source=(3, 7, 1)), "layer 2 adds what does not fit"),
    "shortcut of more channels": (0, shortcut(1, source=(7, 1, 1)), "layer 2 adds what does not fit"),
    "shortcut of other rows": (0, shortcut(1, own=(7, 1, 1)), "layer 2 adds what does not fit"),
    "batch": (13, np.array([0, 0, 1, 0], np.int32), "a batch of 0"),
    "mining": (13, np.array([ROWS, 3, 1, 0], np.int32), "an unknown mining"),
    "share": (14, np.array([0, 0, 0, -1, 0, 0, 0], np.float32), "mining of a share of -1"),
    "share of NaN": (14, np.full(7, np.nan, np.float32), "mining of a share of nan"),
    "optimizer": (13, np.array([ROWS, 0, 4, 0], np.int32), "an unknown optimizer"),
    "mining of mixed examples": (13, np.array([ROWS, 1, 1, 1], np.int32), "mining of mixed examples"),
    "fewer weights": (9, np.ones(ROWS - 1, np.float32), "argument 9 has shape"),
    "adjustment": (10, np.ones((2, CLASSES), np.float32), "argument 10 has shape"),
    "coefficients": (15, np.zeros((2, 2), np.float32), r"argument 15 has shape \(2, 2\); expected \(2, 1\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_errors_and_no_crashes(name):
    index, value, message = WRONG[name]
    inputs = epoch_inputs(MODELS["two hidden"])
    inputs[index] = value
    with pytest.raises(ValueError, match=message):
        called(inputs)


def test_partners_that_are_no_rows_are_an_error():
    inputs = epoch_inputs(MODELS["two hidden"], mixes=True)
    inputs[11][3] = ROWS
    with pytest.raises(ValueError, match=f"a plan with row {ROWS}"):
        called(inputs)


class Leaky(ReLU):
    """A layer of the user's, though it derives from ours."""


def leaky(features: int, classes: int) -> list[Layer]:
    return [Leaky(), Dense(features, classes)]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (config(CROSS_ENTROPY), None),
        (config(CROSS_ENTROPY, mining=ratio(3.0), data="breast_cancer", schedule=COSINE), None),
        (config(focal(1.0, tau=0.3), mining=fraction(0.3), optimizer=sgd(momentum=0.8, nesterov=True)), None),
        (config(SMOOTHED), None),
        (config(named_part("loss", "vs", label_smoothing=0.1), mixing=MIXUP), None),
        (config(named_part("loss", "asymmetric")), "the loss asymmetric"),
        (config(named_part("loss", "gradient_density")), "the loss gradient_density"),
        (config(model=Part("model", "leaky", "test_native.leaky")), "the layer Leaky"),
    ],
)
def test_what_the_core_does_not_know_is_named(made, reason):
    shape = shape_of_replicate(replicate(made))
    assert unknown(shape) == reason
    if reason is not None:
        with pytest.raises(ValueError, match=f"does not know {reason}"):
            make_native_fleet([replicate(made)])
