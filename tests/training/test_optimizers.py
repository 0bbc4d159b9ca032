"""Optimizers and schedules against their definitions in float64, the fleet's form and MindSpore's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from lossfleet.conf.parts import named_part, part_names
from lossfleet.runners.models.stacked import to_tensor
from lossfleet.runners.optimizers.adam import Adam
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.optimizers.optimizer import Optimizer
from lossfleet.runners.optimizers.schedules import constant, cosine, one_cycle, step_decay
from lossfleet.runners.optimizers.sgd import SGD

MEMBERS, SIZE, STEPS = 3, 19, 29
# A learning rate that changes with every step, and slots at different steps.
LEARNING_RATE = np.array([1e-3, 1e-1, 3e-2]) * (1 + np.arange(STEPS) % 5)[:, None]
WEIGHT_DECAY = np.array([0.0, 0.1, 0.5])
FIRST_STEP = np.array([1, 30, 1000])
# Two places only hand on the ones.
TRAINABLE = (np.arange(SIZE) % 11 != 3).astype(np.float32)

Definition = Callable[..., np.ndarray]


def adamw(optimizer: AdamW, x, gradient, state, lr, decay, time) -> np.ndarray:
    state["m"] = optimizer.beta1 * state["m"] + (1 - optimizer.beta1) * gradient
    state["v"] = optimizer.beta2 * state["v"] + (1 - optimizer.beta2) * gradient**2
    m_hat, v_hat = state["m"] / (1 - optimizer.beta1**time), state["v"] / (1 - optimizer.beta2**time)
    return (1 - lr * decay) * x - lr * m_hat / (np.sqrt(v_hat) + optimizer.epsilon)


def adam(optimizer: Adam, x, gradient, state, lr, decay, time) -> np.ndarray:
    gradient = gradient + decay * x
    state["m"] = optimizer.beta1 * state["m"] + (1 - optimizer.beta1) * gradient
    state["v"] = optimizer.beta2 * state["v"] + (1 - optimizer.beta2) * gradient**2
    correction = np.sqrt(1 - optimizer.beta2**time) / (1 - optimizer.beta1**time)
    return x - lr * correction * state["m"] / (np.sqrt(state["v"]) + optimizer.epsilon)


def sgd(optimizer: SGD, x, gradient, state, lr, decay, time) -> np.ndarray:
    gradient = gradient + decay * x
    state["m"] = optimizer.momentum * state["m"] + gradient
    return x - lr * (gradient + optimizer.momentum * state["m"] if optimizer.nesterov else state["m"])


# A new optimizer is one row: its settings, and its definition, which returns x after a step.
OPTIMIZERS: dict[str, tuple[Optimizer, Definition]] = {
    "adamw": (AdamW(beta2=0.99, epsilon=1e-3), adamw),
    "adamw without first moment": (AdamW(beta1=0.0, epsilon=1e-3), adamw),
    "adam": (Adam(beta2=0.99, epsilon=1e-3), adam),
    "sgd": (SGD(momentum=0.0), sgd),
    "sgd with momentum": (SGD(momentum=0.9), sgd),
    "sgd with nesterov": (SGD(momentum=0.8, nesterov=True), sgd),
    "sgd with nesterov without momentum": (SGD(momentum=0.0, nesterov=True), sgd),
}


class Update(nn.Cell):
    """An update in a compiled graph, as it trains."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__()
        self.update = optimizer.update

    @ms.jit
    def construct(
        self,
        parameters: Tensor,
        first_moment: Tensor,
        second_moment: Tensor,
        gradient: Tensor,
        coefficients: tuple[Tensor, ...],
        trainable: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.update(parameters, first_moment, second_moment, gradient, coefficients, trainable)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def defined(name: str, x: np.ndarray, gradients: np.ndarray, first_step: np.ndarray) -> np.ndarray:
    """The parameters (K, P) after all steps, in float64."""
    optimizer, definition = OPTIMIZERS[name]
    x = x.astype(np.float64)
    state = {"m": np.zeros_like(x), "v": np.zeros_like(x)}
    for step, gradient in enumerate(gradients.astype(np.float64)):
        settings = LEARNING_RATE[step][:, None], WEIGHT_DECAY[:, None], (first_step + step)[:, None]
        stepped = definition(optimizer, x, gradient, state, *settings)
        x = np.where(TRAINABLE > 0, stepped, x)
    return x


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_matches_float64_with_a_step_count_for_each_slot(name):
    optimizer, _ = OPTIMIZERS[name]
    x, gradients = normal(MEMBERS, SIZE), normal(STEPS, MEMBERS, SIZE, seed=2)
    time = FIRST_STEP + np.arange(STEPS)[:, None]
    coefficients = optimizer.coefficients(LEARNING_RATE, WEIGHT_DECAY, time)
    assert all(each.shape == (STEPS, MEMBERS) and each.dtype == np.float64 for each in coefficients)
    zeros = to_tensor(np.zeros_like(x))
    state = (to_tensor(x), zeros, zeros)
    update = Update(optimizer)
    for step in range(STEPS):
        of_step = tuple(to_tensor(each[step][:, None]) for each in coefficients)
        state = update(*state, to_tensor(gradients[step]), of_step, to_tensor(TRAINABLE[None]))
    expected = defined(name, x, gradients, FIRST_STEP)
    np.testing.assert_allclose(state[0].asnumpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state[0].asnumpy()[:, TRAINABLE == 0], x[:, TRAINABLE == 0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_stock_optimizer_matches_float64(name):
    x, gradients = normal(MEMBERS, SIZE), normal(STEPS, MEMBERS, SIZE, seed=2)
    expected = defined(name, x, gradients, np.ones(MEMBERS, np.int64))
    for k in range(MEMBERS):
        parameter = Parameter(Tensor(x[k]), name="x")
        made = replace(OPTIMIZERS[name][0], weight_decay=WEIGHT_DECAY[k])
        stock = made.stock([parameter])
        for step in range(STEPS):
            # As solo runs do: a schedule sets the learning rate of every step.
            ops.assign(stock.param_groups[0]["lr"], Tensor(LEARNING_RATE[step, k], ms.float32))
            stock((Tensor(gradients[step, k]),))
        np.testing.assert_allclose(
            parameter.asnumpy()[TRAINABLE > 0], expected[k][TRAINABLE > 0], rtol=1e-5, atol=1e-6
        )


def test_adamw_coefficients_are_exact_at_the_first_step():
    """M_1 is the gradient itself, so the step is lr g / (|g| + epsilon)."""
    step_size, shifted_epsilon, decay = AdamW(epsilon=1e-3).coefficients(
        np.array([[0.5]]), np.array([0.25]), np.array([[1]])
    )
    np.testing.assert_allclose(step_size, 0.5, rtol=1e-7)
    np.testing.assert_allclose(shifted_epsilon, 1e-3, rtol=1e-7)
    np.testing.assert_allclose(decay, 0.125, rtol=1e-7)


def test_a_constant_schedule_is_one_after_its_warm_up():
    assert constant(np.arange(1, 8), 7).tolist() == [1.0] * 7
    assert constant(np.arange(1, 8), 7, warmup=0.3).tolist() == [0.5] + [1.0] * 6


def test_a_cosine_without_warm_up_falls_from_one():
    factors = cosine(np.arange(1, 9), 8)
    np.testing.assert_allclose(factors, [0.5 * (1 + np.cos(np.pi * t / 8)) for t in range(8)], rtol=1e-12)


def test_a_cosine_rises_over_its_warm_up_and_falls_towards_its_end():
    factors = cosine(np.arange(1, 11), 10, warmup=0.45, final=0.2)
    np.testing.assert_allclose(factors[:4], [0.25, 0.5, 0.75, 1.0], rtol=1e-12)
    expected = [0.2 + 0.8 * 0.5 * (1 + np.cos(np.pi * t / 6)) for t in range(6)]
    np.testing.assert_allclose(factors[4:], expected, rtol=1e-12)
    assert cosine(np.array([[3], [7]]), 10, warmup=0.45, final=0.2).shape == (2, 1)


def test_steps_fall_behind_their_milestones_whatever_the_length():
    for hundreds in (1, 10):
        steps = 100 * hundreds
        # 0.29 times 100 is less than 29.
        factors = step_decay(np.arange(1, steps + 1), steps, gamma=0.2, milestones=(0.7, 0.29), warmup=0.1)
        rise = np.arange(1, 10 * hundreds + 1) / (10 * hundreds)
        after = np.repeat([1, 0.2, 0.2**2], np.array([19, 41, 30]) * hundreds)
        np.testing.assert_allclose(factors, [*rise, *after], rtol=1e-12)
    assert step_decay(np.array([[3], [7]]), 10).tolist() == [[1.0], [0.1]]
    assert step_decay(np.arange(1, 8), 7, milestones=()).tolist() == [1.0] * 7


@pytest.mark.parametrize(("steps", "warmup"), [(50, 0.3), (7, 0.5), (9, 0.0), (10, 0.1), (1, 0.3)])
def test_one_cycle_is_that_of_pytorch(steps, warmup):
    """`torch.optim.lr_scheduler.OneCycleLR` at max_lr=1, whose last learning rate is initial / final_div_factor."""
    largest, initial = 1.0, 1.0 / 20
    ends = [(warmup * steps - 1, initial, largest), (steps - 1, largest, initial / 100)]
    expected = []
    for step in range(steps):
        start = 0.0
        for number, (end, first, last) in enumerate(ends):
            if step <= end or number == len(ends) - 1:
                share = (step - start) / (end - start) if end != start else 0.0
                expected.append(last + (first - last) / 2.0 * (np.cos(np.pi * share) + 1))
                break
            start = end
    factors = one_cycle(np.arange(1, steps + 1), steps, warmup=warmup, initial=initial, final=initial / 100)
    np.testing.assert_allclose(factors, expected, rtol=1e-12)


def test_every_optimizer_and_schedule_of_the_config_groups_has_a_row_here():
    of_optimizers = {type(optimizer) for optimizer, _ in OPTIMIZERS.values()}
    assert {named_part("optimizer", name).load() for name in part_names("optimizer")} == of_optimizers
    assert {named_part("schedule", name).load() for name in part_names("schedule")} == {
        constant,
        cosine,
        step_decay,
        one_cycle,
    }
