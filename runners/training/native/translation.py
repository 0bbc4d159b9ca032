"""From shapes and replicates to the arrays that the core takes; what the core does not know has no translation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from lossfleet.losses.mining import hard_example_mask, hard_example_mask_ratio
from lossfleet.losses.poly import poly1_loss
from lossfleet.losses.stacked import Adjustment, stacked_focal
from lossfleet.runners.models.images import (
    AveragePool,
    Convolution,
    Flatten,
    GlobalAverage,
    GroupNorm,
    Image,
    MaxPool,
)
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.models.layers import GELU, Dense, Dropout, Layer, LayerNorm, ReLU, Scale, shapes
from lossfleet.runners.models.shortcuts import Shortcut
from lossfleet.runners.optimizers.adam import Adam
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.optimizers.optimizer import Optimizer
from lossfleet.runners.optimizers.sgd import SGD
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import Replicate, dropout_masks, learning_rates
from lossfleet.runners.training.shape import FleetShape

# The numbers of network.h and objective.h. A class of the user's that derives from one of these is another one.
LAYERS: dict[type[Layer], int] = {
    **{Dense: 0, ReLU: 1, GELU: 2, LayerNorm: 3, Dropout: 4, Image: 5, Convolution: 6, MaxPool: 7},
    **{AveragePool: 8, GroupNorm: 9, GlobalAverage: 10, Flatten: 11, Scale: 12, Shortcut: 13},
}
# With the numbers that a member may have of its own: the core computes the most general one.
LOSSES = {stacked_focal: {"gamma"}, poly1_loss: {"gamma", "epsilon", "label_smoothing"}}
MININGS = {None: 0, hard_example_mask: 1, hard_example_mask_ratio: 2}
# In the place of the masks of dropouts where there are none.
NO_MASKS = np.ones((1, 1, 1), np.float32)


def unknown(shape: FleetShape) -> str | None:
    """What of a shape the core does not know, or None if it can train it."""
    for layer in shape.layers:
        if type(layer) not in LAYERS:
            return f"the layer {type(layer).__name__}"
    if type(shape.optimizer) not in (AdamW, Adam, SGD):
        return f"the optimizer {type(shape.optimizer).__name__}"
    return _unknown_objective(shape.objective)


def _unknown_objective(objective: Objective) -> str | None:
    loss, mining = objective.loss, objective.mining
    known = LOSSES.get(loss.function)
    constants = dict(loss.constants)
    if constants.pop("label_smoothing", 0.0) or constants or known is None or not set(loss.numbers) <= known:
        return f"the loss {_name(loss.function).removesuffix('_loss')}"
    if mining is not None and (
        mining.function not in MININGS or mining.constants or len(mining.numbers) != 1
    ):
        return f"the mining {_name(mining.function)}"
    return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def layer_rows(layers: Sequence[Layer], features: int) -> np.ndarray:
    """What the core is told of each layer, (L, 10) int32: LayerRow in network.h."""
    rows = []
    for layer, (inputs, outputs) in zip(layers, pairwise(shapes(layers, features)), strict=True):
        image = inputs if len(inputs) == 3 else (0, 0, 0)
        kernel, stride = (layer.kernel, layer.stride) if isinstance(layer, Convolution) else (0, 0)
        groups = layer.groups if isinstance(layer, GroupNorm) else 0
        past = layer.layers if isinstance(layer, Shortcut) else 0
        rows.append((LAYERS[type(layer)], prod(inputs), prod(outputs), *image, kernel, stride, groups, past))
    return np.array(rows, np.int32)


def flat_parameters(parameters: Sequence[Parameters]) -> np.ndarray:
    """The parameters (P,) of all layers in the core's order, from those of their stock forms.

    A layer's are rows of vectors: a dense layer's weight (inputs, outputs) and bias, a convolution's weight (inputs
    kernel^2, outputs) and bias, a normalisation's gain and shift.
    """
    return np.concatenate([each.reshape(len(each), -1).T.ravel() for arrays in parameters for each in arrays])


def stock_parameters(flat: np.ndarray, like: Sequence[Parameters]) -> list[Parameters]:
    """The parameters of all layers in their stock forms, from those (P,) in the core's order.

    Args:
        flat: what `flat_parameters` gives.
        like: has the shapes.
    """
    found: list[Parameters] = []
    start = 0
    for arrays in like:
        own = []
        for each in arrays:
            own.append(flat[start : start + each.size].reshape(-1, len(each)).T.reshape(each.shape))
            start += each.size
        found.append(tuple(own))
    return found


def choices(shape: FleetShape) -> np.ndarray:
    """Batch size, mining, optimizer, and 1 where examples are mixed, (4,) int32."""
    mining = shape.objective.mining
    kind, _ = of_optimizer(shape.optimizer)
    of_mining = MININGS[mining.function if mining else None]
    return np.array([shape.batch_size, of_mining, kind, shape.mixes], np.int32)


def numbers(shape: FleetShape, replicate: Replicate) -> np.ndarray:
    """gamma, epsilon and smoothing, what the mining keeps, two numbers of the optimizer, and clip_norm, (7,) float32.

    A clip_norm of 0 is none.
    """
    objective = shape.objective
    own = objective.numbers(replicate.config.loss, replicate.config.mining)
    of_loss = dict(zip(objective.loss.numbers, own, strict=False))
    kept = own[len(of_loss)] if objective.mining else 0.0
    _, own_of_optimizer = of_optimizer(shape.optimizer)
    named = [of_loss.get(name, 0.0) for name in ("gamma", "epsilon", "label_smoothing")]
    return np.array([*named, kept, *own_of_optimizer, replicate.config.clip_norm or 0.0], np.float32)


def adjustment(shape: FleetShape, replicate: Replicate) -> np.ndarray:
    """Scale, offset and margin of each class's logit, (3, C) float32."""
    if shape.objective.adjusts:
        return replicate.given["adjustment"]
    return Adjustment().rows(shape.classes)


def of_optimizer(optimizer: Optimizer) -> tuple[int, tuple[float, float]]:
    """Its number in optimizers.h and its numbers there."""
    if isinstance(optimizer, SGD):
        return 1 + optimizer.nesterov, (optimizer.momentum, 0.0)
    assert isinstance(optimizer, AdamW | Adam)
    return 0 if isinstance(optimizer, AdamW) else 3, (optimizer.beta1, optimizer.beta2)


def coefficients(shape: FleetShape, replicate: Replicate) -> np.ndarray:
    """What the optimizer needs at each step of the whole training, (epochs, N, S) float32."""
    rates = learning_rates(replicate)
    step = np.arange(1, rates.size + 1)[:, None]
    decay = np.array([replicate.config.optimizer["weight_decay"]])
    packed = shape.optimizer.packed(rates.reshape(-1, 1), decay, step)
    return np.ascontiguousarray(packed.reshape(-1, *rates.shape).transpose(1, 0, 2))


def masks(shape: FleetShape, replicate: Replicate, epoch: int) -> np.ndarray:
    """The masks (S, units, B) of all dropouts in an epoch; without any, a 1."""
    if not any(isinstance(layer, Dropout) for layer in shape.layers):
        return NO_MASKS
    return np.concatenate(dropout_masks(replicate, epoch), axis=1)
