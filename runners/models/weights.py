"""The layers and weights of stacked members in plain words, for whoever computes with them without MindSpore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

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
from lossfleet.runners.models.layers import GELU, Dense, Dropout, Layer, LayerNorm, ReLU, Scale
from lossfleet.runners.models.shortcuts import Shortcut, without_dropout

# A kind, or a mapping with it and what its weights do not tell; as JSON has it.
Kind = str | dict[str, Any]
KINDS: dict[type[Layer], Callable[[Any], Kind]] = {
    Dense: lambda layer: "dense",
    ReLU: lambda layer: "relu",
    GELU: lambda layer: "gelu",
    LayerNorm: lambda layer: "layer_norm",
    Scale: lambda layer: "scale",
    Image: lambda layer: {"kind": "image", "shape": [layer.channels, layer.height, layer.width]},
    Convolution: lambda layer: {"kind": "convolution", "stride": layer.stride},
    MaxPool: lambda layer: "max_pool",
    AveragePool: lambda layer: "average_pool",
    GroupNorm: lambda layer: {"kind": "group_norm", "groups": layer.groups},
    GlobalAverage: lambda layer: "global_average",
    Flatten: lambda layer: "flatten",
    Shortcut: lambda layer: {"kind": "shortcut", "layers": layer.layers},
}
# Of a kind, its numbers and its first member's weights.
LAYERS: dict[str, Callable[..., Layer]] = {
    "dense": lambda weight: Dense(weight.shape[1], weight.shape[0]),
    "relu": ReLU,
    "gelu": GELU,
    "layer_norm": lambda weight: LayerNorm(len(weight)),
    "scale": lambda weight: Scale(len(weight)),
    "image": lambda shape: Image(*shape),
    "convolution": lambda weight, stride: Convolution(
        weight.shape[1], weight.shape[0], weight.shape[2], stride
    ),
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "group_norm": lambda weight, groups: GroupNorm(groups, len(weight)),
    "global_average": GlobalAverage,
    "flatten": Flatten,
    "shortcut": Shortcut,
}


def layer_kinds(layers: Sequence[Layer]) -> list[Kind] | None:
    """The layers that predict, Dropout left out; None where one is of a class that is not lossfleet's."""
    used = without_dropout(layers)
    if any(type(layer) not in KINDS for layer in used):
        return None
    return [KINDS[type(layer)](layer) for layer in used]


def layers_of(kinds: Sequence[Kind], weights: Mapping[str, np.ndarray]) -> list[Layer]:
    """The layers that `layer_kinds` and `layer_weights` tell."""
    layers = []
    for place, kind in enumerate(kinds):
        numbers = {"kind": kind} if isinstance(kind, str) else dict(kind)
        if f"{place}.weight" in weights:
            numbers["weight"] = weights[f"{place}.weight"][0]
        layers.append(LAYERS[numbers.pop("kind")](**numbers))
    return layers


def layer_weights(layers: Sequence[Layer], networks: Sequence[Sequence[Parameters]]) -> dict[str, np.ndarray]:
    """The weights and biases of K networks, or of a normalisation gain and shift.

    Args:
        layers: of classes that `layer_kinds` knows.
        networks: the parameters of each layer in its stock form, for each network.

    Returns:
        `<n>.weight` and `<n>.bias` of layer n among those that predict, in the shapes of its stock form behind K.
    """
    weights: dict[str, np.ndarray] = {}
    predicts = [not isinstance(layer, Dropout) for layer in layers]
    for place, of_layer in enumerate(compress(zip(*networks, strict=True), predicts)):
        for name, values in zip(("weight", "bias"), zip(*of_layer, strict=True), strict=False):
            # Safetensors writes the memory as it lies.
            weights[f"{place}.{name}"] = np.ascontiguousarray(np.stack(values))
    return weights
