"""The core's functions as custom operators of MindSpore, for graphs: the same code, and so the same bits, as a Call."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import ops

from lossfleet.runners.training.native.build import library
from lossfleet.runners.training.native.libraries import ROWS

Shape = tuple[int, ...]


def train_epoch_operator() -> ops.Custom:
    """An epoch of one member: of the Tensors that core.cpp names, the new parameters, two moments and the loss (1,)."""

    def shapes(layers: Shape, parameters: Shape, first: Shape, second: Shape, *others: Shape) -> Any:
        return parameters, first, second, (1,)

    def types(*inputs: Any) -> Any:
        return ms.float32, ms.float32, ms.float32, ms.float32

    return ops.Custom(f"{library(ROWS)}:train_epoch", shapes, types, "aot")


def predict_logits_operator(classes: int) -> ops.Custom:
    """The logits (C, rows) of layers, parameters and features (rows, F), as core.cpp names them."""

    def shapes(layers: Shape, parameters: Shape, features: Shape) -> Shape:
        return classes, features[0]

    def types(*inputs: Any) -> Any:
        return ms.float32

    return ops.Custom(f"{library(ROWS)}:predict_logits", shapes, types, "aot")
