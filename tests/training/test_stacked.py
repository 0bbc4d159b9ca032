"""Stacked layers, the closed-form loss and AdamW, each against float64 NumPy."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from lossfleet.conf.schema import Model
from lossfleet.losses import softmax_focal_loss
from lossfleet.runners.models.initial import initial_parameters
from lossfleet.runners.models.stacked import (
    StackedMLP,
    StackedSlope,
    flatten_parameters,
    log1p,
    to_tensor,
    with_ones,
)
from lossfleet.runners.optimizers.adamw import adamw_coefficients, adamw_update

# Distinct primes, so that a silent broadcast cannot fit.
MEMBERS, BATCH, FEATURES, CLASSES, WIDTHS = 3, 5, 7, 11, (13, 17)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def forward(parameters: list[tuple[np.ndarray, np.ndarray]], examples: np.ndarray) -> np.ndarray:
    outputs = examples.astype(np.float64)
    for index, (weight, bias) in enumerate(parameters):
        outputs = (np.maximum(outputs, 0) if index else outputs) @ weight.T.astype(np.float64) + bias
    return outputs


def make_members(widths: tuple[int, ...]) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    members = [initial_parameters(Model(widths=widths), FEATURES, CLASSES, seed=k) for k in range(MEMBERS)]
    return [
        [(weight, normal(len(bias), seed=k)) for weight, bias in member] for k, member in enumerate(members)
    ]


@pytest.mark.parametrize("widths", [(), (13,), WIDTHS])
def test_stacked_mlp_equals_each_members_own(widths):
    members, examples = make_members(widths), normal(MEMBERS, BATCH, FEATURES)
    model = StackedMLP(Model(widths=widths), FEATURES, CLASSES, MEMBERS)
    buffer = np.stack([flatten_parameters(member) for member in members])
    assert buffer.shape == (MEMBERS, model.size)
    stacked = to_tensor(np.stack([with_ones(each) for each in examples]))
    logits, activations = model.forward(model.split(to_tensor(buffer)), stacked)
    for k, member in enumerate(members):
        np.testing.assert_allclose(logits[k].asnumpy().T, forward(member, examples[k]), rtol=1e-5, atol=1e-5)
    for hidden in activations:
        assert (hidden.asnumpy()[:, -1] == 1).all()


def test_split_and_join_are_inverse():
    model = StackedMLP(Model(widths=WIDTHS), FEATURES, CLASSES, MEMBERS)
    buffer = normal(MEMBERS, model.size)
    np.testing.assert_array_equal(model.join(model.split(to_tensor(buffer))).asnumpy(), buffer)


def test_all_but_the_rows_of_ones_is_trainable():
    model = StackedMLP(Model(widths=WIDTHS), FEATURES, CLASSES, MEMBERS)
    parameters = make_members(WIDTHS)[0]
    assert model.trainable().sum() == sum(weight.size + bias.size for weight, bias in parameters)
    rows_of_ones = flatten_parameters(parameters)[model.trainable() == 0]
    assert rows_of_ones.sum() == len(WIDTHS)
    assert set(rows_of_ones.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_of_the_stacked_mlp_by_finite_differences(dropout):
    members, examples = make_members(WIDTHS), normal(MEMBERS, BATCH, FEATURES)
    slope = normal(MEMBERS, CLASSES, BATCH, seed=1)
    model = StackedMLP(Model(widths=WIDTHS, dropout=dropout), FEATURES, CLASSES, MEMBERS)
    stacked = to_tensor(np.stack([with_ones(each) for each in examples]))
    masks = np.ones((MEMBERS, sum(WIDTHS) + len(WIDTHS), BATCH), np.float32)
    if dropout:
        masks = (np.random.default_rng(2).random(masks.shape) >= dropout) / np.float32(1 - dropout)
        masks[:, np.cumsum(np.add(WIDTHS, 1)) - 1] = 1

    @ms.jit
    def gradient_of_buffer(buffer, stacked, masks, slope):
        weights = model.split(buffer)
        _, activations = model.forward(weights, stacked, masks)
        return model.join(model.gradient(slope, weights, stacked, activations, masks))

    buffer = np.stack([flatten_parameters(member) for member in members])
    gradient = gradient_of_buffer(to_tensor(buffer), stacked, to_tensor(masks), to_tensor(slope)).asnumpy()

    def exact(k: int, row: np.ndarray) -> float:
        outputs = with_ones(examples[k]).T.astype(np.float64)
        for layer, (_, out, inputs) in enumerate(model.shapes):
            if layer:
                start, end = model.mask_slices[layer - 1]
                outputs = np.maximum(outputs, 0) * masks[k, start:end]
            start, end = model.slices[layer]
            outputs = row[start:end].reshape(out, inputs) @ outputs
        return float((outputs * slope[k]).sum())

    trainable = np.flatnonzero(model.trainable())
    for k in range(MEMBERS):
        row = buffer[k].astype(np.float64)
        for position in np.random.default_rng(k).choice(trainable, 40, replace=False):
            step = np.zeros_like(row)
            step[position] = 1e-6
            expected = (exact(k, row + step) - exact(k, row - step)) / 2e-6
            np.testing.assert_allclose(gradient[k, position], expected, rtol=1e-4, atol=1e-4)


class SlopeCell(nn.Cell):
    def __init__(self, members: int, classes: int) -> None:
        super().__init__()
        self.loss = StackedSlope(members, classes)

    @ms.jit
    def construct(self, logits: Tensor, one_hot: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        losses, coefficient, elsewhere, of_others = self.loss.losses(logits, one_hot, gamma)
        return losses, self.loss.slope(coefficient, elsewhere, of_others, one_hot)


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


def losses_and_slope(
    logits: np.ndarray, one_hot: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Losses (K, B) and slope (K, C, B) of the fleet's closed form, in a compiled graph as it trains."""
    cell = SlopeCell(*logits.shape[:2])
    losses, slope = cell(to_tensor(logits), to_tensor(one_hot), to_tensor(gamma))
    return losses.asnumpy()[:, 0], slope.asnumpy()


def focal_oracle(logits: np.ndarray, labels: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Loss (B,) and slope (C, B) in float64, with q summed from the other classes."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(0)
    exponentials = np.exp(shifted)
    one_hot = np.eye(len(logits))[labels].T
    others = (exponentials * (1 - one_hot)).sum(0)
    of_label = (exponentials * one_hot).sum(0)
    surprise = np.log1p((of_label - 1) + others) - (shifted * one_hot).sum(0)
    q, p = others / (others + of_label), of_label / (others + of_label)
    ratio = np.where(q > 0, surprise / np.where(q > 0, q, 1), 1.0)
    coefficient = q**gamma * (1 + gamma * p * ratio)
    distance = exponentials / (others + of_label) * (1 - one_hot) - one_hot * q
    return q**gamma * surprise, coefficient * distance


@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0, 40.0])
@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 5.0])
def test_closed_form_slope_matches_float64(gamma, scale):
    logits = scale * normal(MEMBERS, CLASSES, BATCH, seed=3)
    labels = np.random.default_rng(4).integers(0, CLASSES, (MEMBERS, BATCH))
    labels[:, 0] = logits[:, :, 0].argmax(1)
    one_hot = np.eye(CLASSES, dtype=np.float32)[labels].transpose(0, 2, 1)
    gammas = np.full((MEMBERS, 1, BATCH), gamma, np.float32)
    losses, slope = losses_and_slope(logits, one_hot, gammas)
    for k in range(MEMBERS):
        expected_losses, expected_slope = focal_oracle(logits[k], labels[k], gamma)
        # MindSpore's exponential is off by 1e-5 at -40, and two are multiplied.
        np.testing.assert_allclose(losses[k], expected_losses, rtol=4e-5, atol=1e-30)
        np.testing.assert_allclose(slope[k], expected_slope, rtol=5e-5, atol=1e-30)


@pytest.mark.parametrize("scale", [1.0, 10.0, 40.0])
def test_closed_form_slope_is_that_of_losses(scale):
    """Each member with a gamma of its own, beside `losses.softmax_focal_loss` and its gradient."""
    logits = scale * normal(MEMBERS, CLASSES, BATCH, seed=5)
    labels = np.random.default_rng(6).integers(0, CLASSES, (MEMBERS, BATCH)).astype(np.int32)
    gamma = np.array([0.0, 0.5, 2.0], np.float32)

    def total(logits: Tensor) -> Tensor:
        return softmax_focal_loss(logits, Tensor(labels), gamma=Tensor(gamma)).sum()

    one_hot = np.eye(CLASSES, dtype=np.float32)[labels].transpose(0, 2, 1)
    losses, slope = losses_and_slope(
        logits, one_hot, np.broadcast_to(gamma[:, None, None], (MEMBERS, 1, BATCH))
    )
    expected = softmax_focal_loss(Tensor(logits), Tensor(labels), gamma=Tensor(gamma)).asnumpy()
    np.testing.assert_allclose(losses, expected, rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(slope, ms.grad(total)(Tensor(logits)).asnumpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("margin", [14.0, 88.0, 104.0, 1e4])
def test_closed_form_slope_is_finite_at_any_confidence(gamma, margin):
    logits = np.zeros((2, 3, 2), np.float32)
    logits[0, 1] = margin
    logits[1, 2] = -margin
    one_hot = np.zeros_like(logits)
    one_hot[:, 1, 0] = one_hot[:, 2, 1] = 1
    gammas = np.full((2, 1, 2), gamma, np.float32)
    losses, slope = losses_and_slope(logits, one_hot, gammas)
    assert np.isfinite(losses).all()
    assert np.isfinite(slope).all()


def test_adamw_matches_float64_with_a_step_count_for_each_slot():
    size, steps, epsilon = 19, 29, 1e-3
    learning_rate, weight_decay = np.array([1e-3, 1e-1, 3e-2]), np.array([0.0, 0.1, 0.5])
    first_step = np.array([1, 30, 1000])
    parameters = normal(MEMBERS, size)
    gradients = normal(steps, MEMBERS, size, seed=2)
    step_size, shifted_epsilon = adamw_coefficients(
        learning_rate, first_step, steps, beta1=0.9, beta2=0.99, epsilon=epsilon
    )
    state = [
        to_tensor(parameters),
        to_tensor(np.zeros_like(parameters)),
        to_tensor(np.zeros_like(parameters)),
    ]
    decay = ops.tile(to_tensor((1 - learning_rate * weight_decay)[:, None]), (1, size))
    # In a compiled graph, as it trains.
    compiled_update = ms.jit(adamw_update)
    for step in range(steps):
        state = compiled_update(
            *state,
            to_tensor(gradients[step]),
            step_size=ops.tile(to_tensor(step_size[step]), (1, size)),
            shifted_epsilon=to_tensor(shifted_epsilon[step]),
            decay=decay,
            beta1=0.9,
            beta2=0.99,
        )
    expected = parameters.astype(np.float64)
    first, second = np.zeros_like(expected), np.zeros_like(expected)
    for step in range(steps):
        gradient, time = gradients[step].astype(np.float64), (first_step + step)[:, None]
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        expected = expected * (1 - learning_rate * weight_decay)[:, None]
        corrected = np.sqrt(second / (1 - 0.99**time)) + epsilon
        expected = expected - learning_rate[:, None] * (first / (1 - 0.9**time)) / corrected
    np.testing.assert_allclose(state[0].asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_adamw_coefficients_are_exact_at_the_first_step():
    """M_1 is the gradient itself, so the step is lr g / (|g| + epsilon)."""
    step_size, shifted_epsilon = adamw_coefficients(
        np.array([0.5]), np.array([1]), 1, beta1=0.9, beta2=0.999, epsilon=1e-3
    )
    np.testing.assert_allclose(step_size, 0.5, rtol=1e-7)
    np.testing.assert_allclose(shifted_epsilon, 1e-3, rtol=1e-7)
