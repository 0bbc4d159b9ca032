"""Optimizers and schedules, each against float64 NumPy and MindSpore's own."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from lossfleet.conf.parts import named_part, part_names
from lossfleet.runners.models.stacked import to_tensor
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.optimizers.optimizer import Optimizer
from lossfleet.runners.optimizers.schedules import constant, cosine
from lossfleet.runners.optimizers.sgd import SGD
from lossfleet.runners.training.graphs import unstack

MEMBERS, SIZE, STEPS = 3, 19, 29
LEARNING_RATE, WEIGHT_DECAY = np.array([1e-3, 1e-1, 3e-2]), np.array([0.0, 0.1, 0.5])
FIRST_STEP = np.array([1, 30, 1000])
FROZEN = 7

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def adamw(state: Arrays, gradient: np.ndarray, lr: np.ndarray, decay: np.ndarray, time: np.ndarray) -> Arrays:
    parameters, first, second = state
    first = 0.9 * first + 0.1 * gradient
    second = 0.99 * second + 0.01 * gradient**2
    corrected = np.sqrt(second / (1 - 0.99**time)) + 1e-3
    return parameters * (1 - lr * decay) - lr * (first / (1 - 0.9**time)) / corrected, first, second


def sgd(nesterov: bool) -> Callable[..., Arrays]:
    def step(
        state: Arrays, gradient: np.ndarray, lr: np.ndarray, decay: np.ndarray, time: np.ndarray
    ) -> Arrays:
        parameters, first, second = state
        gradient = gradient + decay * parameters
        first = 0.8 * first + gradient
        direction = gradient + 0.8 * first if nesterov else first
        return parameters - lr * direction, first, second

    return step


OPTIMIZERS = {
    "adamw": (AdamW(beta1=0.9, beta2=0.99, epsilon=1e-3), adamw),
    "sgd": (SGD(momentum=0.8), sgd(False)),
    "sgd with nesterov": (SGD(momentum=0.8, nesterov=True), sgd(True)),
}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Update(nn.Cell):
    """An update in a compiled graph, as it trains."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__()
        self.update = optimizer.update

    @ms.jit
    def construct(
        self,
        parameters: Tensor,
        first: Tensor,
        second: Tensor,
        gradient: Tensor,
        packed: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.update(parameters, first, second, gradient, unstack(packed), mask)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_matches_float64_with_a_step_count_for_each_member(name):
    optimizer, definition = OPTIMIZERS[name]
    gradients = normal(STEPS, MEMBERS, SIZE, seed=2)
    step = FIRST_STEP + np.arange(STEPS)[:, None]
    rates = LEARNING_RATE * cosine(np.arange(1, STEPS + 1)[:, None], 2 * STEPS)
    coefficients = [each.astype(np.float32) for each in optimizer.coefficients(rates, WEIGHT_DECAY, step)]
    trainable = np.ones((1, SIZE), np.float32)
    trainable[0, FROZEN] = 0
    start = normal(MEMBERS, SIZE)
    state = [to_tensor(start), to_tensor(np.zeros_like(start)), to_tensor(np.zeros_like(start))]
    expected = (start.astype(np.float64), np.zeros(start.shape), np.zeros(start.shape))
    update = Update(optimizer)
    for number in range(STEPS):
        of_step = to_tensor(np.stack([each[number][:, None] for each in coefficients]))
        state = update(*state, to_tensor(gradients[number]), of_step, to_tensor(trainable))
        expected = definition(
            expected,
            gradients[number].astype(np.float64),
            rates[number][:, None],
            WEIGHT_DECAY[:, None],
            step[number][:, None],
        )
    found, trained = state[0].asnumpy(), np.arange(SIZE) != FROZEN
    np.testing.assert_allclose(found[:, trained], expected[0][:, trained], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[:, FROZEN], start[:, FROZEN])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_stock_form_matches_float64(name):
    _, definition = OPTIMIZERS[name]
    made: Optimizer = type(OPTIMIZERS[name][0])(
        **{**vars(OPTIMIZERS[name][0]), "lr": 3e-2, "weight_decay": 0.5}
    )
    start, gradients = normal(SIZE), normal(5, SIZE, seed=3)
    parameter = Parameter(Tensor(start), name="weight")
    stock = made.stock([parameter])
    expected = (start.astype(np.float64), np.zeros(SIZE), np.zeros(SIZE))
    for number, gradient in enumerate(gradients):
        stock((Tensor(gradient),))
        expected = definition(
            expected, gradient.astype(np.float64), np.array(3e-2), np.array(0.5), np.array(number + 1)
        )
    np.testing.assert_allclose(parameter.asnumpy(), expected[0], rtol=1e-5, atol=1e-6)


def test_adamw_coefficients_are_exact_at_the_first_step():
    """M_1 is the gradient itself, so the step is lr g / (|g| + epsilon)."""
    step_size, shifted_epsilon, decay = AdamW(epsilon=1e-3).coefficients(
        np.array([[0.5]]), np.array([0.1]), np.array([[1]])
    )
    np.testing.assert_allclose(step_size, 0.5, rtol=1e-7)
    np.testing.assert_allclose(shifted_epsilon, 1e-3, rtol=1e-7)
    np.testing.assert_allclose(decay, 0.05, rtol=1e-7)


def test_a_constant_schedule_changes_nothing():
    assert (constant(np.arange(1, 8), 7) == 1).all()


def test_a_cosine_rises_and_falls():
    factors = cosine(np.arange(1, 21), 20, warmup=0.25, final=0.1)
    np.testing.assert_allclose(factors[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == 1
    assert (np.diff(factors[5:]) < 0).all()
    np.testing.assert_allclose(factors[5:], 0.1 + 0.45 * (1 + np.cos(np.pi * np.arange(15) / 15)))


def test_every_optimizer_and_schedule_of_the_config_groups_has_a_row_here():
    of_optimizers = {type(optimizer) for optimizer, _ in OPTIMIZERS.values()}
    assert {named_part("optimizer", name).load() for name in part_names("optimizer")} == of_optimizers
    assert {named_part("schedule", name).load() for name in part_names("schedule")} == {constant, cosine}
