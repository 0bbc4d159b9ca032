"""Initial parameters, made in NumPy so that solo and fleet runs of a seed start from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

from lossfleet.runners.models.layers import Arrays, Layer, shapes
from lossfleet.runners.streams import Stream, generator

Parameters = Arrays


def initial_parameters(layers: Sequence[Layer], features: int, *, seed: int) -> list[Parameters]:
    """The first parameters of each layer, in its stock form.

    Each layer that has parameters has a stream of its own, so that a further layer leaves those before it as they
    were.

    Args:
        layers: the model.
        features: its inputs.
        seed: integer of at least 0.

    Returns:
        One tuple a layer, empty where it has no parameters.
    """
    parameters: list[Parameters] = []
    stream = 0
    for layer, inputs in zip(layers, shapes(layers, features), strict=False):
        arrays = layer.initial(inputs, generator(Stream.INITIAL, seed, stream))
        stream += bool(arrays)
        parameters.append(arrays)
    return parameters
