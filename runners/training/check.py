"""The user's losses and models, tried in small before anything is trained, in the form in which they are trained."""

from __future__ import annotations

import re
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.runners.models.build import build_cell, build_layers
from lossfleet.runners.models.stacked import StackedModel, to_tensor, with_ones
from lossfleet.runners.training.graphs import StackedObjective, unstack
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import given_to_loss

MEMBERS, EXAMPLES = 2, 5
# What MindSpore leaves in the working directory when it cannot compile.
TRACES = Path("rank_0")
Result = TypeVar("Result")


class Slope(nn.Cell):
    """The losses of an objective, and their derivative by the logits, in one graph."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = StackedObjective(objective, MEMBERS, EXAMPLES)

    @ms.jit
    def construct(
        self, logits: Tensor, labels: Tensor, numbers: Tensor, given: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Losses (K, B) and their slope (K, C, B)."""
        return ms.value_and_grad(self.objective, 0, None, False, False, True)(
            logits, labels, unstack(numbers), unstack(given), share, share
        )


def try_objective(loss: Part, mining: Part, class_counts: np.ndarray) -> None:
    """Trains nothing, but derives a loss on a few random logits as a fleet does.

    Args:
        loss, mining: at least one of them the user's.
        class_counts: (C,) int, of the training part.

    Raises:
        UserError: it cannot be compiled, gives another shape than (K, B), or a number that is not finite.
    """
    own = loss if loss.is_users else mining
    classes = len(class_counts)
    random = np.random.default_rng(0)
    logits = random.normal(size=(MEMBERS, classes, EXAMPLES)).astype(np.float32)
    labels = random.integers(0, classes, (MEMBERS, EXAMPLES)).astype(np.int32)

    def inputs_of() -> tuple[Slope, tuple[Tensor, ...]]:
        objective = Objective.of(loss, mining, stacked=True)
        packed = objective.packed(loss, mining, given_to_loss(loss, class_counts), EXAMPLES)
        numbers, given = (np.repeat(each[:, None], MEMBERS, axis=1) for each in packed)
        share = np.full((MEMBERS, EXAMPLES), 1 / EXAMPLES, np.float32)
        return Slope(objective), tuple(map(to_tensor, (logits, labels, numbers, given, share)))

    cell, (of_logits, of_labels, *others) = _tried(own, inputs_of)
    packed = (unstack(others[0]), unstack(others[1]), others[2])
    # Step by step first: Python names the line of what it cannot do.
    losses = _tried(own, lambda: cell.objective(of_logits, of_labels, *packed))
    if losses.shape != (MEMBERS, EXAMPLES):
        raise _wrong(
            own,
            f"gives the shape {losses.shape} for logits {logits.shape}",
            f"{(MEMBERS, EXAMPLES)}, one loss an example, without a mean",
        )
    losses, slope = _tried(own, lambda: cell(of_logits, of_labels, *others))
    if not (np.isfinite(losses.asnumpy()).all() and np.isfinite(slope.asnumpy()).all()):
        raise _wrong(own, "gives a loss or a slope that is not finite", "finite numbers for any logits")
    if not slope.asnumpy().any():
        raise _wrong(
            own, "has no derivative by the logits", "operations of MindSpore all the way, no asnumpy"
        )


def try_model(model: Part, features: int, classes: int) -> None:
    """Builds a model of the user's and lets it predict on a few random examples.

    Raises:
        UserError: it cannot be built, or gives another shape than (B, C).
    """
    examples = np.random.default_rng(0).normal(size=(EXAMPLES, features)).astype(np.float32)

    def predict() -> tuple[int, ...]:
        layers = build_layers(model, features, classes)
        if layers is None:
            return tuple(build_cell(model, features, classes)(Tensor(examples)).shape)
        stacked = StackedModel(layers, features, 1, trains=False)
        inputs = to_tensor(with_ones(examples)[None])
        logits = stacked(ops.zeros((1, stacked.size), ms.float32), inputs)
        return tuple(logits.shape[1:])[::-1]

    shape = _tried(model, predict)
    if shape != (EXAMPLES, classes):
        raise _wrong(
            model,
            f"gives the shape {shape} for {EXAMPLES} examples of {features} features",
            f"{(EXAMPLES, classes)}, one logit a class",
        )


def _tried(part: Part, attempt: Callable[[], Result]) -> Result:
    left_before = TRACES.exists()
    try:
        return attempt()
    except UserError:
        raise
    except Exception as error:
        raise _wrong(part, _reason(part, error), "code that MindSpore can train") from error
    finally:
        if not left_before:
            shutil.rmtree(TRACES, ignore_errors=True)


def _reason(part: Part, error: Exception) -> str:
    """What went wrong, with the line of the user's file where it did."""
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = f"raised {type(error).__name__}: {message}"
    file = part.signature.file
    if file is None:
        return text
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    # MindSpore names the lines of a graph in its message.
    lines += [int(line) for line in re.findall(rf"{re.escape(file)}:(\d+)", str(error))]
    return f"{text} (line {lines[-1]})" if lines else text


def _wrong(part: Part, what: str, expected: str) -> UserError:
    return UserError(
        what=f"{part.group}={part.name} {what}; it is {part.target} in {part.signature.place}",
        expected=expected,
        hint="correct it there; docs/extend.md has examples",
    )
