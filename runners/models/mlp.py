"""The multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Interval

from lossfleet.runners.models.layers import Dense, Dropout, Layer, ReLU


def mlp(
    features: int,
    classes: int,
    *,
    widths: tuple[Annotated[int, Ge(1)], ...] = (32, 32),
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
) -> list[Layer]:
    """A multilayer perceptron with ReLU; without widths it is a logistic regression.

    Args:
        features, classes: inputs and outputs, at least 1.
        widths: units of the hidden layers.
        dropout: the share of the hidden units that are dropped in training.

    Returns:
        Its layers.
    """
    layers: list[Layer] = []
    for inputs, outputs in pairwise((features, *widths)):
        layers += [Dense(inputs, outputs), ReLU()]
        if dropout > 0:
            layers.append(Dropout(dropout))
    return [*layers, Dense((features, *widths)[-1], classes, "glorot")]
