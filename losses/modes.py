"""Focal losses in either mode of MindSpore: PyNative calls the cells of `lossfleet.losses.numerics` as compiled graphs.

PyNative launches each kernel by itself, which takes longer than the kernels of some thousand losses do. A graph
launches them together; to compile it takes as long as some ten calls, so it is done for shapes that come again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import mindspore as ms
from mindspore import Tensor, ops

from lossfleet.losses.numerics import (
    Focal,
    LabelFocal,
    focal,
    focal_gradient,
    label_focal,
    label_focal_gradient,
)

# Calls with arguments of the same shapes and types before a function is compiled for them.
CALLS_BEFORE_A_GRAPH = 10
# Shapes whose calls are counted; the one that has not come for the longest time is forgotten.
_COUNTED_SHAPES = 256


class Repeated:
    """A function of Tensors and numbers that is compiled for the shapes that it is called with again and again."""

    def __init__(self, function: Callable[..., Any]) -> None:
        def graph(*arguments: Tensor) -> Any:
            return function(*arguments)

        self._function = function
        self._graph = ms.jit(graph)
        self._calls: Callable[[Any], Iterator[int]] = lru_cache(_COUNTED_SHAPES)(lambda _: itertools.count())

    def __call__(self, first: Tensor, *others: Tensor | float) -> Any:
        """Numbers become Tensors of the first argument's type, since graphs are compiled for each number anew."""
        arguments = (
            first,
            *(each if isinstance(each, Tensor) else Tensor(each, first.dtype) for each in others),
        )
        calls = next(self._calls(tuple((each.shape, each.dtype) for each in arguments)))
        return (self._function if calls < CALLS_BEFORE_A_GRAPH else self._graph)(*arguments)


class PynativeFocal(Focal):
    """`lossfleet.losses.numerics.focal` for PyNative."""

    def __init__(self) -> None:
        super().__init__(Repeated(focal_gradient))
        self.forward = Repeated(focal)

    def construct(self, log_odds: Tensor, gamma: float | Tensor) -> Tensor:
        return self.forward(log_odds, gamma)


class PynativeLabelFocal(LabelFocal):
    """`lossfleet.losses.numerics.label_focal` for PyNative."""

    def __init__(self) -> None:
        super().__init__(Repeated(label_focal_gradient))
        self.forward = Repeated(label_focal)

    def construct(
        self, logits: Tensor, labels: Tensor, gamma: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.forward(logits, labels, gamma)


_focal_in_pynative = PynativeFocal()
_label_focal_in_pynative = PynativeLabelFocal()


def focal_losses(log_odds: Tensor, gamma: float | Tensor) -> Tensor:
    """The focal loss of log-odds; gamma is a number or broadcasts to their shape."""
    cell = focal if is_graph() else _focal_in_pynative
    return cell(log_odds, _of_each(gamma, log_odds.shape, log_odds.dtype))


def label_focal_losses(logits: Tensor, labels: Tensor, gamma: float | Tensor) -> Tensor:
    """The focal loss (N, ...) of int32 labels (N, ...) in C classes; gamma is a number or broadcasts to (N, ...)."""
    cell = label_focal if is_graph() else _label_focal_in_pynative
    return cell(logits, labels, _of_each(gamma, labels.shape, logits.dtype))[0]


def is_graph() -> bool:
    """Whether a graph is being compiled, in which `_is_unknown` is given no function, or graphs are the mode."""
    return _is_unknown(is_graph) or ms.get_context("mode") == ms.GRAPH_MODE


@ops.constexpr(check=False)
def _is_unknown(function: Callable[..., Any] | None) -> bool:
    return function is None


def _of_each(gamma: float | Tensor, shape: tuple[int, ...], dtype: Any) -> float | Tensor:
    """One gamma a loss, since the derivative by it has the shape of what a cell is given; a number stays one."""
    return gamma * ops.ones(shape, dtype) if isinstance(gamma, Tensor) else gamma
