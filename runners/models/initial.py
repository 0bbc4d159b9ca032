"""Initial parameters, made in NumPy so that solo and fleet runs of a seed start from the same numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from lossfleet.conf.schema import Model
from lossfleet.runners.streams import Stream, generator

Parameters = list[tuple[np.ndarray, np.ndarray]]


def initial_parameters(model: Model, features: int, classes: int, *, seed: int) -> Parameters:
    """Initial weights and biases of a multilayer perceptron with ReLU.

    Hidden layers: weight ~ U(-a, a), a = sqrt(6 / fan_in), which keeps the variance through a ReLU (He).
    Last layer: a = sqrt(6 / (fan_in + fan_out)) (Glorot). Biases: 0. Frameworks disagree on their defaults,
    so none of them is followed. Each layer has a stream of its own, so that a further layer leaves the hidden
    ones before it as they were.

    Args:
        model: widths of the hidden layers, possibly none.
        features, classes: inputs and outputs, at least 1.
        seed: integer of at least 0.

    Returns:
        A pair for each layer: weight (out, in) float32 and bias (out,) float32.

    Reference: He et al. 2015, arXiv 1502.01852; Glorot and Bengio 2010 (AISTATS).
    """
    sizes = (features, *model.widths, classes)
    last = len(model.widths)
    parameters = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        bound = np.sqrt(6 / (fan_in + fan_out if layer == last else fan_in))
        weight = generator(Stream.INITIAL, seed, layer).uniform(-bound, bound, (fan_out, fan_in))
        parameters.append((weight.astype(np.float32), np.zeros(fan_out, np.float32)))
    return parameters
