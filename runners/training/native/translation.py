"""From shapes and replicates to the arrays that the core takes; what the core does not know has no translation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from lossfleet.losses.mining import hard_example_mask, hard_example_mask_ratio
from lossfleet.losses.stacked import stacked_focal
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
from lossfleet.runners.models.layers import GELU, Dense, Dropout, Layer, LayerNorm, ReLU, shapes
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.optimizers.optimizer import Optimizer
from lossfleet.runners.optimizers.sgd import SGD
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import Replicate, dropout_masks, learning_rates
from lossfleet.runners.training.shape import FleetShape

# The numbers of network.h and objective.h. A class of the user's that derives from one of these is another one.
LAYERS: dict[type[Layer], int] = {
    **{Dense: 0, ReLU: 1, GELU: 2, LayerNorm: 3, Dropout: 4, Image: 5, Convolution: 6, MaxPool: 7},
    **{AveragePool: 8, GroupNorm: 9, GlobalAverage: 10, Flatten: 11},
}
MININGS = {None: 0, hard_example_mask: 1, hard_example_mask_ratio: 2}


def unknown(shape: FleetShape) -> str | None:
    """What of a shape the core does not know, or None if it can train it."""
    for layer in shape.layers:
        if type(layer) not in LAYERS:
            return f"the layer {type(layer).__name__}"
    if type(shape.optimizer) not in (AdamW, SGD):
        return f"the optimizer {type(shape.optimizer).__name__}"
    return _unknown_objective(shape.objective)


def _unknown_objective(objective: Objective) -> str | None:
    loss, mining = objective.loss, objective.mining
    if loss.function is not stacked_focal or loss.constants or loss.numbers != ("gamma",):
        return "the loss"
    if mining is not None and (
        mining.function not in MININGS or mining.constants or len(mining.numbers) != 1
    ):
        return "the mining"
    return None


def layer_rows(layers: Sequence[Layer], features: int) -> np.ndarray:
    """What the core is told of each layer, (L, 9) int32: LayerRow in network.h."""
    rows = []
    for layer, (inputs, outputs) in zip(layers, pairwise(shapes(layers, features)), strict=True):
        image = inputs if len(inputs) == 3 else (0, 0, 0)
        kernel, stride = (layer.kernel, layer.stride) if isinstance(layer, Convolution) else (0, 0)
        groups = layer.groups if isinstance(layer, GroupNorm) else 0
        rows.append((LAYERS[type(layer)], prod(inputs), prod(outputs), *image, kernel, stride, groups))
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
    """Batch size, mining and optimizer, (3,) int32."""
    mining = shape.objective.mining
    kind, _ = _of_optimizer(shape.optimizer)
    return np.array([shape.batch_size, MININGS[mining.function if mining else None], kind], np.int32)


def numbers(shape: FleetShape, replicate: Replicate) -> np.ndarray:
    """gamma, what the mining keeps, and two numbers of the optimizer, (4,) float32."""
    own = shape.objective.numbers(replicate.config.loss, replicate.config.mining)
    _, of_optimizer = _of_optimizer(shape.optimizer)
    return np.array([*np.pad(own, (0, 2 - len(own))), *of_optimizer], np.float32)


def _of_optimizer(optimizer: Optimizer) -> tuple[int, tuple[float, float]]:
    """Its number in optimizers.h and its numbers there."""
    if isinstance(optimizer, AdamW):
        return 0, (optimizer.beta1, optimizer.beta2)
    assert isinstance(optimizer, SGD)
    return 1 + optimizer.nesterov, (optimizer.momentum, 0.0)


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
        return np.ones((1, 1, 1), np.float32)
    return np.concatenate(dropout_masks(replicate, epoch), axis=1)
