"""The multilayer perceptron as a list of layers."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Lt


def mlp(
    features: int,
    classes: int,
    *,
    widths: tuple[Annotated[int, Ge(1)], ...] = (32, 32),
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> list[Any]:
    """The layers of a multilayer perceptron."""
    raise NotImplementedError
