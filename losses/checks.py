"""Checks at the border: every error names the argument, its value and what was expected.

Shapes, types and Python numbers are checked in both modes. The values of Tensors are checked where they exist:
in PyNative, not while a graph is being compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

REDUCTIONS = ("mean", "sum", "none")
_FLOATS = (ms.float16, ms.bfloat16, ms.float32, ms.float64)
_INTEGERS = (ms.bool_, ms.int8, ms.int16, ms.int32, ms.int64, ms.uint8)


@dataclass(frozen=True)
class Traced:
    """A Tensor of a graph being compiled: it has a shape and a type, and no values yet."""

    shape: tuple[int, ...]
    dtype: Any


class Check(ops.PrimitiveWithInfer):
    """A function that raises on wrong arguments, called in PyNative and once when a graph is compiled."""

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function.__name__)
        self.function = function
        self.set_const_prim(True)
        self.add_prim_attr("constexpr_prim", True)

    def __call__(self, *arguments: Any) -> None:
        self.function(*arguments)

    def __infer__(self, *arguments: Any) -> dict[str, Any]:
        self.function(*[self._known(argument) for argument in arguments])
        return {"dtype": None, "shape": None, "value": None}

    @staticmethod
    def _known(argument: dict[str, Any]) -> Any:
        if isinstance(argument["dtype"], ms.TensorType):
            return Traced(tuple(argument["shape"]), argument["dtype"].element_type())
        return argument["value"]


@Check
def check_softmax(logits: Any, labels: Any, ignore_index: Any) -> None:
    """Logits (N, C, ...) with labels (N, ...) in 0..C-1 or ignored, or a distribution (N, C, ...)."""
    _check_floats("logits", logits)
    shape = tuple(logits.shape)
    if len(shape) < 2 or shape[1] < 2:
        raise ValueError(f"logits has shape {shape}; expected (N, C, ...) with at least 2 classes on axis 1")
    _check_tensor("labels", labels)
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
        raise TypeError(f"ignore_index is {ignore_index!r}; expected an integer or None")
    if tuple(labels.shape) == shape:
        if ignore_index is not None:
            raise ValueError(f"ignore_index is {ignore_index}; expected None, since labels are not indices")
        _check_distribution(labels)
    elif tuple(labels.shape) == shape[:1] + shape[2:]:
        _check_indices(labels, shape[1], ignore_index)
    else:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}; expected {shape[:1] + shape[2:]} as class indices "
            f"or {shape} as one-hot or soft labels, for logits of shape {shape}"
        )


@Check
def check_sigmoid(logits: Any, labels: Any, ignore_index: Any) -> None:
    """Logits of any shape with labels of the same shape in [0, 1] or ignored."""
    _check_floats("logits", logits)
    _check_tensor("labels", labels)
    if tuple(labels.shape) != tuple(logits.shape):
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}; expected that of logits, {tuple(logits.shape)}"
        )
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
        raise TypeError(f"ignore_index is {ignore_index!r}; expected an integer or None")
    values = _values(labels)
    if values is not None:
        wrong = ~((values >= 0) & (values <= 1))
        if ignore_index is not None:
            wrong &= values != ignore_index
        if wrong.any():
            raise ValueError(f"labels contains {values[wrong][0]}; expected 0 or 1, or between them if soft")


@Check
def check_number(
    name: str, value: Any, shape: tuple[int, ...], low: float, high: float | None, strict: bool
) -> None:
    """A hyperparameter: a number, or a Tensor of numbers over the leading axes of the losses' shape."""
    expected = f"a finite number {'above' if strict else 'of at least'} {low:g}"
    if high is not None:
        expected += f" and at most {high:g}"
    if isinstance(value, Tensor | Traced):
        given = tuple(value.shape)
        if given != tuple(shape)[: len(given)]:
            raise ValueError(
                f"{name} has shape {given}; expected leading axes of the losses' shape {tuple(shape)}"
            )
    elif isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; expected a number or a Tensor")
    values = _values(value)
    if values is None:
        return
    wrong = ~np.isfinite(values) | (values < low)
    if strict:
        wrong |= values == low
    if high is not None:
        wrong |= values > high
    if wrong.any():
        raise ValueError(f"{name} is {np.atleast_1d(values)[np.atleast_1d(wrong)][0]:g}; expected {expected}")


@Check
def check_class_weight(class_weight: Any, shape: tuple[int, ...]) -> None:
    """Weights (C,) or (N, C) for logits of the shape (N, C, ...)."""
    if class_weight is None:
        return
    _check_tensor("class_weight", class_weight)
    given = tuple(class_weight.shape)
    if given not in ((shape[1],), tuple(shape[:2])):
        raise ValueError(
            f"class_weight has shape {given}; expected ({shape[1]},), one weight for each class, or {tuple(shape[:2])}"
        )
    values = _values(class_weight)
    if values is not None and not (np.isfinite(values) & (values >= 0)).all():
        wrong = values[~(np.isfinite(values) & (values >= 0))][0]
        raise ValueError(f"class_weight contains {wrong:g}; expected finite numbers of at least 0")


@Check
def check_class_counts(name: str, values: Any, shape: tuple[int, ...]) -> None:
    """Numbers (C,) or (N, C), above 0, of the classes of logits (N, C, ...)."""
    _check_tensor(name, values)
    given = tuple(values.shape)
    if given not in ((shape[1],), tuple(shape[:2])):
        raise ValueError(
            f"{name} has shape {given}; expected ({shape[1]},), one number for each class, or {tuple(shape[:2])}"
        )
    numbers = _values(values)
    if numbers is not None and not (np.isfinite(numbers) & (numbers > 0)).all():
        wrong = numbers[~(np.isfinite(numbers) & (numbers > 0))][0]
        raise ValueError(f"{name} contains {wrong:g}; expected finite numbers above 0")


@Check
def check_index_labels(labels: Any, logits: Any) -> None:
    """Labels that are class indices: what depends on the label has no meaning for a distribution."""
    if tuple(labels.shape) == tuple(logits.shape):
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}, that of logits; expected class indices "
            f"{tuple(logits.shape[:1] + logits.shape[2:])}"
        )


@Check
def check_same_shape(name: str, value: Any, losses: Any) -> None:
    """An argument that goes with each loss, losses being (..., B)."""
    _check_floats("losses", losses)
    if not losses.shape:
        raise ValueError("losses has shape (); expected (..., B), the examples on the last axis")
    if value is None:
        return
    _check_tensor(name, value)
    if tuple(value.shape) != tuple(losses.shape):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}; expected that of losses, {tuple(losses.shape)}"
        )


@Check
def check_boxes(boxes: Any, losses_shape: tuple[int, ...] | None) -> None:
    """Boxes (..., N, 4) with x1 <= x2 and y1 <= y2."""
    _check_floats("boxes", boxes)
    shape = tuple(boxes.shape)
    if len(shape) < 2 or shape[-1] != 4:
        raise ValueError(f"boxes has shape {shape}; expected (..., N, 4), each box (x1, y1, x2, y2)")
    if losses_shape is not None and shape[:-1] != tuple(losses_shape):
        raise ValueError(f"boxes has shape {shape}; expected {(*losses_shape, 4)}, one box for each loss")
    values = _values(boxes)
    if values is not None:
        wrong = ~((values[..., 2:] >= values[..., :2]).all(-1) & np.isfinite(values).all(-1))
        if wrong.any():
            raise ValueError(
                f"boxes contains {values[wrong][0].tolist()}; expected x1 <= x2 and y1 <= y2, finite"
            )


@Check
def check_reduction(reduction: Any) -> None:
    """The name of a reduction."""
    if not isinstance(reduction, str):
        raise TypeError(f"reduction is {reduction!r}; expected one of {', '.join(map(repr, REDUCTIONS))}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; expected one of {', '.join(map(repr, REDUCTIONS))}")


def _values(value: Any) -> np.ndarray | None:
    """The values of a number or a Tensor, None for a Tensor of a graph being compiled."""
    if isinstance(value, Traced):
        return None
    if not isinstance(value, Tensor):
        return np.asarray(value, np.float64)
    return (value.float() if value.dtype == ms.bfloat16 else value).asnumpy()


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor | Traced):
        raise TypeError(f"{name} is of type {type(value).__name__}; expected a Tensor")


def _check_floats(name: str, value: Any) -> None:
    _check_tensor(name, value)
    if value.dtype not in _FLOATS:
        raise TypeError(f"{name} has dtype {value.dtype}; expected a floating point type")


def _check_indices(labels: Any, classes: int, ignore_index: int | None) -> None:
    if labels.dtype not in _INTEGERS:
        raise TypeError(f"labels has dtype {labels.dtype}; expected integers, since labels are class indices")
    values = _values(labels)
    if values is None or not values.size:
        return
    if values.min() >= 0 and values.max() < classes:
        return
    wrong = (values < 0) | (values >= classes)
    if ignore_index is not None:
        wrong &= values != ignore_index
    if wrong.any():
        ignored = "" if ignore_index is None else f" or {ignore_index} to ignore"
        raise ValueError(f"labels contains {values[wrong][0]}; expected 0 to {classes - 1}{ignored}")


def _check_distribution(labels: Any) -> None:
    values = _values(labels)
    if values is None:
        return
    if not (values >= 0).all():
        raise ValueError(f"labels contains {values[~(values >= 0)][0]:g}; expected probabilities, at least 0")
    total = values.sum(1, dtype=np.float32)
    wrong = ~(np.abs(total - 1) <= 1e-2)
    if wrong.any():
        raise ValueError(
            f"labels sum to {total[wrong][0]:g} over the classes; expected 1, one-hot or soft labels"
        )
