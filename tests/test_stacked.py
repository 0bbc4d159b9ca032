"""Stacked layers, the closed-form loss and AdamW, each against float64 NumPy."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from conf.schema import Model
from runners.initial import initial_parameters
from runners.stacked import StackedMLP, StackedSlope, flatten_parameters, to_tensor, with_ones
from runners.stacked_optimizer import adamw_coefficients, adamw_update

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
    ones = Tensor(np.ones((MEMBERS, 1, BATCH), np.float32))
    stacked = to_tensor(np.stack([with_ones(each) for each in examples]))
    logits = model(model.split(to_tensor(buffer)), stacked, ones, ones).asnumpy()
    for k, member in enumerate(members):
        np.testing.assert_allclose(logits[k].T, forward(member, examples[k]), rtol=1e-5, atol=1e-5)


def test_split_and_join_are_inverse():
    model = StackedMLP(Model(widths=WIDTHS), FEATURES, CLASSES, MEMBERS)
    buffer = normal(MEMBERS, model.size)
    np.testing.assert_array_equal(model.join(model.split(to_tensor(buffer))).asnumpy(), buffer)


def test_gradient_of_the_stacked_mlp_by_finite_differences():
    members, examples = make_members(WIDTHS), normal(MEMBERS, BATCH, FEATURES)
    slope = normal(MEMBERS, CLASSES, BATCH, seed=1)
    model = StackedMLP(Model(widths=WIDTHS), FEATURES, CLASSES, MEMBERS)
    ones = Tensor(np.ones((MEMBERS, 1, BATCH), np.float32))
    stacked = to_tensor(np.stack([with_ones(each) for each in examples]))

    slopes = to_tensor(slope)

    def total(weights):
        return (model(weights, stacked, ones, ones) * slopes).sum()

    @ms.jit
    def gradient_of_buffer(buffer):
        return model.join(ms.grad(total)(model.split(buffer)))

    buffer = np.stack([flatten_parameters(member) for member in members])
    gradient = gradient_of_buffer(to_tensor(buffer)).asnumpy()

    def exact(k: int, row: np.ndarray) -> float:
        weights, start = [], 0
        for weight, _ in members[k]:
            out, inputs = weight.shape
            block = row[start : start + out * (inputs + 1)].reshape(out, inputs + 1)
            weights.append((block[:, :-1], block[:, -1]))
            start += block.size
        outputs = examples[k].astype(np.float64)
        for index, (weight, bias) in enumerate(weights):
            outputs = (np.maximum(outputs, 0) if index else outputs) @ weight.T + bias
        return float((outputs.T * slope[k]).sum())

    for k in range(MEMBERS):
        row = buffer[k].astype(np.float64)
        for position in np.random.default_rng(k).choice(len(row), 40, replace=False):
            step = np.zeros_like(row)
            step[position] = 1e-6
            expected = (exact(k, row + step) - exact(k, row - step)) / 2e-6
            np.testing.assert_allclose(gradient[k, position], expected, rtol=1e-4, atol=1e-4)


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
    losses, slope = StackedSlope(MEMBERS, CLASSES)(to_tensor(logits), to_tensor(one_hot), to_tensor(gammas))
    for k in range(MEMBERS):
        expected_losses, expected_slope = focal_oracle(logits[k], labels[k], gamma)
        np.testing.assert_allclose(losses.asnumpy()[k, 0], expected_losses, rtol=2e-5, atol=1e-30)
        np.testing.assert_allclose(slope.asnumpy()[k], expected_slope, rtol=5e-5, atol=1e-30)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("margin", [14.0, 88.0, 104.0, 1e4])
def test_closed_form_slope_is_finite_at_any_confidence(gamma, margin):
    logits = np.zeros((2, 3, 2), np.float32)
    logits[0, 1] = margin
    logits[1, 2] = -margin
    one_hot = np.zeros_like(logits)
    one_hot[:, 1, 0] = one_hot[:, 2, 1] = 1
    gammas = np.full((2, 1, 2), gamma, np.float32)
    losses, slope = StackedSlope(2, 3)(to_tensor(logits), to_tensor(one_hot), to_tensor(gammas))
    assert np.isfinite(losses.asnumpy()).all()
    assert np.isfinite(slope.asnumpy()).all()


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
    for step in range(steps):
        state = adamw_update(
            *state,
            to_tensor(gradients[step]),
            step_size=to_tensor(step_size[step]),
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
    step_size, shifted_epsilon = adamw_coefficients(
        np.array([1.0]), np.array([1]), 1, beta1=0.9, beta2=0.999, epsilon=1.0
    )
    np.testing.assert_allclose(step_size, np.sqrt(0.001) / 0.1, rtol=1e-7)
    np.testing.assert_allclose(shifted_epsilon, np.sqrt(0.001), rtol=1e-7)
