"""The weights of stacked members, layer by layer, for whoever computes with them without MindSpore."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lossfleet.runners.models.initial import initial_parameters
from lossfleet.runners.models.layers import Dense, Dropout, Layer, ReLU
from lossfleet.runners.models.stacked import stacked_blocks

KINDS = {Dense: "dense", ReLU: "relu"}


def layer_kinds(layers: Sequence[Layer]) -> list[str] | None:
    """The layers that predict, `dense` or `relu`, Dropout left out; None where one is of another class."""
    used = [type(layer) for layer in layers if not isinstance(layer, Dropout)]
    return [KINDS[kind] for kind in used] if set(used) <= KINDS.keys() else None


def layer_weights(layers: Sequence[Layer], features: int, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The weights and biases of the dense layers of K members.

    Args:
        layers: of classes that `layer_kinds` knows.
        features: inputs of the first one.
        rows: (K, P), a member each, in the layout of StackedModel.

    Returns:
        `<n>.weight` (K, outputs, inputs) and `<n>.bias` (K, outputs) of layer n among those that predict.
    """
    blocks = stacked_blocks(layers, initial_parameters(layers, features, seed=0))
    sizes = [0 if block is None else block.size for block in blocks]
    predicting = [layer for layer in layers if not isinstance(layer, Dropout)]
    weights = {}
    for layer, block, ends in zip(layers, blocks, pairwise(np.cumsum([0, *sizes])), strict=True):
        if isinstance(layer, Dense) and block is not None:
            # Below the outputs may be a row that hands on the ones.
            own = rows[:, slice(*ends)].reshape(-1, *block.shape)[:, : layer.outputs]
            place = next(n for n, other in enumerate(predicting) if other is layer)
            weights[f"{place}.weight"] = np.ascontiguousarray(own[:, :, :-1])
            weights[f"{place}.bias"] = np.ascontiguousarray(own[:, :, -1])
    return weights
