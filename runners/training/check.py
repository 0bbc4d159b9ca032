"""The user's losses, minings, models and optimizers, tried in small before training, in the form in which they train.

Step by step first, where Python names the line of what it cannot do, then as a graph. What has a form for fleets and
one of MindSpore's own is held to both: they must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part
from lossfleet.conf.targets import reason_of
from lossfleet.runners.models.build import build_cell, build_layers
from lossfleet.runners.models.initial import initial_parameters
from lossfleet.runners.models.layers import Layer
from lossfleet.runners.models.stacked import StackedModel, flatten_parameters, to_tensor, with_ones
from lossfleet.runners.models.stock import StockModel
from lossfleet.runners.optimizers.optimizer import Optimizer
from lossfleet.runners.training.fusion import compiling
from lossfleet.runners.training.graphs import StackedObjective, unstack
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import given_to_loss

MEMBERS, EXAMPLES, STEPS = 2, 5, 2
# Of two forms of the same; those of a wrong one differ by more than a tenth.
TOLERANCE = 1e-3


class Slope(nn.Cell):
    """The losses of an objective and their derivative by the logits, step by step or in one graph."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = StackedObjective(objective, MEMBERS, EXAMPLES)

    def step_by_step(
        self, logits: Tensor, labels: Tensor, numbers: Tensor, given: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Losses (K, B) and their slope (K, C, B)."""
        return ms.value_and_grad(self.objective, 0, None, False, False, True)(
            logits, labels, unstack(numbers), unstack(given), share, share
        )

    @ms.jit
    def construct(
        self, logits: Tensor, labels: Tensor, numbers: Tensor, given: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same as one graph."""
        return self.step_by_step(logits, labels, numbers, given, share)


def try_loss(loss: Part, class_counts: np.ndarray) -> None:
    """Derives a loss of the user's on a few random logits as a fleet does.

    Args:
        loss: of the user's.
        class_counts: (C,) int, of the training part.

    Raises:
        UserError: it fails or cannot be compiled, gives another shape than (K, B), or no finite slope.
    """
    cell, inputs = _slope_of(loss, loss, named_part("mining", "none"), class_counts)
    logits, labels, numbers, given, share = inputs
    with _tried(loss):
        found = cell.objective(logits, labels, unstack(numbers), unstack(given), share)
        described = _described(found)
    if described != ((MEMBERS, EXAMPLES), "Float32"):
        raise _wrong(
            loss,
            f"gives {_told(described)} for logits {logits.shape}",
            f"a Tensor {(MEMBERS, EXAMPLES)} of Float32, one loss an example, without a mean",
        )
    _try_slope(loss, cell, inputs)


def try_mining(mining: Part, loss: Part, class_counts: np.ndarray) -> None:
    """Lets a mining of the user's choose among the losses of a few random logits as a fleet does.

    Raises:
        UserError: as `try_loss`, or it keeps no example.
    """
    cell, inputs = _slope_of(mining, loss, mining, class_counts)
    logits, labels, numbers, _, share = inputs
    terms = cell.objective
    keywords: dict[str, Any] = dict(terms.mining_constants)
    own = unstack(numbers)[len(terms.loss_numbers) :]
    keywords |= {name: each[:, 0] for name, each in zip(terms.mining_numbers, own, strict=False)}
    if terms.mines_by_label:
        keywords["labels"] = labels
    with _tried(mining):
        found = terms.mining(ops.abs(logits[:, 0]), valid=ops.ones_like(share), **keywords)
        described = _described(found)
    if described != ((MEMBERS, EXAMPLES), "Float32"):
        raise _wrong(
            mining,
            f"gives {_told(described)} for losses {share.shape}",
            f"a Tensor {(MEMBERS, EXAMPLES)} of Float32, 1 for an example that counts and 0 for others",
        )
    if not found.asnumpy().any(1).all():
        raise _wrong(mining, "keeps no example of a batch", "at least one")
    _try_slope(mining, cell, inputs)


def try_model(
    model: Part, features: int, classes: int, image_shape: tuple[int, int, int] | None = None
) -> None:
    """Builds a model of the user's and lets it predict on a few random examples.

    Raises:
        UserError: it cannot be built, gives another shape than (B, C), has nothing to train, or its layers compute in
            their stacked form something else than in their stock form.
    """
    examples = np.random.default_rng(0).normal(size=(EXAMPLES, features)).astype(np.float32)
    with _tried(model):
        layers = build_layers(model, features, classes, image_shape)
        cell = build_cell(model, features, classes, image_shape) if layers is None else StockModel(layers)
        if layers is not None:
            values = _parameters(layers, features)
            cell.load(values)
        cell.set_train(False)
        logits = cell(Tensor(examples))
        described = _described(logits)
    if described != ((EXAMPLES, classes), "Float32"):
        raise _wrong(
            model,
            f"gives {_told(described)} for {EXAMPLES} examples of {features} features",
            f"a Tensor {(EXAMPLES, classes)} of Float32, one logit a class",
        )
    if not cell.trainable_params():
        raise _wrong(model, "has no parameters to train", "layers, such as nn.Dense, as attributes")
    if layers is not None:
        with _tried(model):
            stacked = StackedModel(layers, features, 1, trains=False)
            buffer = to_tensor(flatten_parameters(layers, values)[None])
            found = stacked(buffer, to_tensor(with_ones(examples)[None])).asnumpy()[0].T
        _compare(model, found, logits.asnumpy(), "logits; the last row of activations stays ones")


def try_optimizer(optimizer: Part) -> None:
    """Lets an optimizer of the user's take a few steps on random gradients, in a graph as fleets do.

    Raises:
        UserError: it is no Optimizer, gives other shapes, or takes other steps than the stock form.
    """
    random = np.random.default_rng(0)
    start, *gradients = random.normal(size=(1 + STEPS, 1, EXAMPLES)).astype(np.float32)
    for name in ("lr", "weight_decay"):
        if name not in optimizer:
            raise _wrong(optimizer, f"has no {name}", f"{name} among the settings of its file")
    with _tried(optimizer):
        made = optimizer.call()
    if not isinstance(made, Optimizer):
        raise _wrong(
            optimizer, f"gives {type(made).__name__}", "an Optimizer of lossfleet.runners.optimizers"
        )
    rate, decay = np.full((STEPS, 1), made.lr), np.full(1, made.weight_decay)
    with _tried(optimizer):
        coefficients = made.coefficients(rate, decay, np.arange(1, STEPS + 1)[:, None])
        shapes = [np.shape(each) for each in coefficients]
    if set(shapes) - {(STEPS, 1)}:
        raise _wrong(optimizer, f"gives coefficients {shapes}", f"{(STEPS, 1)} each, of steps and members")
    update = ms.jit(made.update)
    state = (Tensor(start), Tensor(np.zeros_like(start)), Tensor(np.zeros_like(start)))
    with _tried(optimizer):
        stock_parameter = Parameter(Tensor(start), name="parameter")
        stock = made.stock([stock_parameter])
        for step, gradient in enumerate(gradients):
            of_step = tuple(to_tensor(np.asarray(each[step][:, None], np.float32)) for each in coefficients)
            state = update(*state, Tensor(gradient), of_step, Tensor(np.ones_like(start)))
            found = [_described(each) for each in state]
            if found != [(start.shape, "Float32")] * 3:
                raise _wrong(optimizer, f"gives {found}", f"three Tensors {start.shape} of Float32")
            stock((Tensor(gradient),))
    _compare(optimizer, state[0].asnumpy(), stock_parameter.asnumpy(), "parameters after the same steps")


def _slope_of(
    part: Part, loss: Part, mining: Part, class_counts: np.ndarray
) -> tuple[Slope, tuple[Tensor, ...]]:
    """The objective and inputs to try it on: logits, labels, numbers, what is given and shares."""
    classes, random = len(class_counts), np.random.default_rng(0)
    logits = random.normal(size=(MEMBERS, classes, EXAMPLES)).astype(np.float32)
    labels = random.integers(0, classes, (MEMBERS, EXAMPLES)).astype(np.int32)
    with _tried(part):
        objective = Objective.of(loss, mining, stacked=True)
        packed = objective.packed(loss, mining, given_to_loss(loss, class_counts), EXAMPLES)
        numbers, given = (np.repeat(each[:, None], MEMBERS, axis=1) for each in packed)
        share = np.full((MEMBERS, EXAMPLES), 1 / EXAMPLES, np.float32)
        return Slope(objective), tuple(map(to_tensor, (logits, labels, numbers, given, share)))


def _try_slope(part: Part, cell: Slope, inputs: tuple[Tensor, ...]) -> None:
    for derive in (cell.step_by_step, cell):
        with _tried(part):
            losses, slope = (each.asnumpy() for each in derive(*inputs))
        if not (np.isfinite(losses).all() and np.isfinite(slope).all()):
            raise _wrong(part, "gives a loss or a slope that is not finite", "finite numbers for any logits")
        if not slope.any():
            raise _wrong(
                part, "has no derivative by the logits", "operations of MindSpore all the way, no asnumpy"
            )


def _parameters(layers: tuple[Layer, ...], features: int) -> list[tuple[np.ndarray, ...]]:
    """Parameters unlike the first ones, in which biases are 0 and hide what is wrong."""
    random = np.random.default_rng(0)
    return [
        tuple((each + random.normal(size=each.shape) / 4).astype(np.float32) for each in arrays)
        for arrays in initial_parameters(layers, features, seed=0)
    ]


def _described(found: Any) -> tuple[tuple[int, ...], str] | str:
    """The shape and type of a Tensor that was computed, or what it is instead."""
    if not isinstance(found, Tensor):
        return type(found).__name__
    # Step by step too, errors come when the numbers are asked for.
    found.asnumpy()
    return tuple(found.shape), str(found.dtype)


def _told(described: tuple[tuple[int, ...], str] | str) -> str:
    return described if isinstance(described, str) else f"the shape {described[0]} of {described[1]}"


def _compare(part: Part, found: np.ndarray, stock: np.ndarray, expected: str) -> None:
    difference = np.abs(found - stock).max()
    if not difference <= TOLERANCE * (1 + np.abs(stock).max()):
        raise _wrong(
            part,
            f"has a form for fleets that differs from its stock form by {difference:.2g}",
            f"the same {expected}",
        )


@contextmanager
def _tried(part: Part) -> Iterator[None]:
    """Turns what is raised meanwhile into UserError."""
    try:
        with compiling():
            yield
    except UserError:
        raise
    except Exception as error:
        reason = reason_of(error, part.signature.file)
        raise _wrong(part, f"fails: {reason}", "code that MindSpore can train") from error


def _wrong(part: Part, what: str, expected: str) -> UserError:
    return UserError(
        what=f"{part.group}={part.name} {what}",
        expected=expected,
        hint=f"correct {part.target} in {part.signature.place}; docs/extend.md has examples",
    )
