"""Layers, each written once: the shapes of its parameters, their first values, its stock and its stacked form.

A model is a list of layers. Its stock form is MindSpore's own layer, on examples (B, F). In its stacked form K
models are one: activations are (K, width + 1, B), the batch last; the last row is ones, so that a bias is a column of
the weights. Adding a bias by broadcasting costs three times as much as the longer matrix product (measured: 0.22 ms
against 0.01 ms at 256 x 32 x 64). A dense layer hands the row of ones on by a last row of weights (0, ..., 0, 1),
which is never trained: joining a row to the activations would copy them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Literal

import numpy as np
from mindspore import nn

from lossfleet.runners.models.stacked_layers import (
    LAYER_NORM_EPSILON,
    Product,
    StackedDense,
    StackedDenseOfExamples,
    StackedGELU,
    StackedLayerNorm,
    StackedScale,
    StockScale,
)

Arrays = tuple[np.ndarray, ...]


class Layer(ABC):
    """A layer; what differs between the members of a fleet, such as a dropout rate, is not compared.

    A layer of yours is a frozen dataclass of this class: two layers that are equal can share a compiled graph.
    """

    @abstractmethod
    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of its outputs for an example of this shape: (features,), or (channels, height, width).

        Raises:
            ValueError: it cannot take this one.
        """

    @abstractmethod
    def stock(self) -> nn.Cell:
        """The layer of MindSpore that it is: from (B, *inputs) to (B, *outputs), which are shapes."""

    @abstractmethod
    def stacked(self, *, is_first: bool) -> nn.Cell:
        """The layer of K members: from (K, inputs + 1, B) to (K, outputs + 1, B), the last row of both ones.

        Images are (B, K, channels, height, width). Its inputs are the block of weights if it has any, the activations,
        and the masks if it is a dropout.

        Args:
            is_first: it has weights, and its activations are the examples, (K, B, inputs + 1).
        """

    def initial(self, inputs: tuple[int, ...], random: np.random.Generator) -> Arrays:
        """The first values of its parameters, float32, in the order and shapes of the stock form; () without any."""
        return ()

    def block(self, parameters: Arrays, *, is_last: bool) -> np.ndarray | None:
        """One member's weights in the stacked form, (rows, columns), from those of the stock form; None without any.

        Args:
            parameters: of its stock form.
            is_last: its outputs are the logits, without a row of ones.
        """
        return None

    def parameters(self, blocks: np.ndarray) -> Arrays:
        """The parameters of K members from their blocks (K, rows, columns), which `block` makes of them.

        Returns:
            Each (K, ...), in the order of the stock form; axes behind K may still be one.
        """
        return ()

    def trainable(self, block: np.ndarray, *, is_last: bool) -> np.ndarray:
        """1 where a weight of the block is trained, 0 where it only hands on the ones."""
        return np.ones_like(block)


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer: weight (outputs, inputs) and bias (outputs,).

    Weights begin in U(-a, a). `he`, before a ReLU: a = sqrt(6 / inputs), which keeps the variance through it; `glorot`:
    a = sqrt(6 / (inputs + outputs)). Biases begin at 0. Frameworks disagree on their defaults, so none is followed.

    Reference: He et al. 2015, arXiv 1502.01852; Glorot and Bengio 2010 (AISTATS).
    """

    inputs: int
    outputs: int
    initialisation: Literal["he", "glorot"] = "he"

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """(outputs,); see Layer."""
        if inputs != (self.inputs,):
            raise ValueError(
                f"Dense({self.inputs}, {self.outputs}) comes after {told(inputs)}; expected {self.inputs}"
            )
        return (self.outputs,)

    def stock(self) -> nn.Cell:
        """`nn.Dense`."""
        return nn.Dense(self.inputs, self.outputs)

    def initial(self, inputs: tuple[int, ...], random: np.random.Generator) -> Arrays:
        """Weight and bias; see Layer."""
        fans = self.inputs if self.initialisation == "he" else self.inputs + self.outputs
        bound = np.sqrt(6 / fans)
        weight = random.uniform(-bound, bound, (self.outputs, self.inputs)).astype(np.float32)
        return weight, np.zeros(self.outputs, np.float32)

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedDenseOfExamples() if is_first else StackedDense()

    def block(self, parameters: Arrays, *, is_last: bool) -> np.ndarray | None:
        """(outputs, inputs + 1), and where it is not the last a row (0, ..., 0, 1); see Layer."""
        block = np.column_stack(parameters)
        if is_last:
            return block
        return np.vstack([block, np.eye(1, block.shape[1], block.shape[1] - 1, dtype=np.float32)])

    def parameters(self, blocks: np.ndarray) -> Arrays:
        """See Layer."""
        own = blocks[:, : self.outputs]
        return own[:, :, :-1], own[:, :, -1]

    def trainable(self, block: np.ndarray, *, is_last: bool) -> np.ndarray:
        """See Layer."""
        trainable = np.ones_like(block)
        if not is_last:
            trainable[-1] = 0
        return trainable


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0)."""

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """As its inputs."""
        return inputs

    def stock(self) -> nn.Cell:
        """`nn.ReLU`."""
        return nn.ReLU()

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """`nn.ReLU`, which leaves the ones as they are."""
        return nn.ReLU()


@dataclass(frozen=True)
class GELU(Layer):
    """About x times the share of a normal distribution below x, in the form with the hyperbolic tangent.

        x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2

    Reference: Hendrycks and Gimpel 2016, arXiv 1606.08415.
    """

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """As its inputs."""
        return inputs

    def stock(self) -> nn.Cell:
        """`nn.GELU`."""
        return nn.GELU()

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """`nn.GELU` of all rows but the ones."""
        return StackedGELU()


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Brings the units of an example to mean 0 and variance 1, then scales and shifts each.

        gain (x - mean) / sqrt(variance + 1e-5) + shift

    Parameters: gain and shift, both (units,), which begin at 1 and 0.

    Reference: Ba et al. 2016, arXiv 1607.06450.
    """

    units: int

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """(units,); see Layer."""
        if inputs != (self.units,):
            raise ValueError(f"LayerNorm({self.units}) comes after {told(inputs)}; expected {self.units}")
        return inputs

    def stock(self) -> nn.Cell:
        """`nn.LayerNorm`."""
        return nn.LayerNorm((self.units,), epsilon=LAYER_NORM_EPSILON)

    def initial(self, inputs: tuple[int, ...], random: np.random.Generator) -> Arrays:
        """Gain and shift; see Layer."""
        return np.ones(self.units, np.float32), np.zeros(self.units, np.float32)

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedLayerNorm(is_first)

    def block(self, parameters: Arrays, *, is_last: bool) -> np.ndarray | None:
        """(2, units), and where it is not the last a column (0, 1), which makes the row of ones; see Layer."""
        block = np.stack(parameters)
        return block if is_last else np.column_stack([block, np.array([0, 1], np.float32)])

    def parameters(self, blocks: np.ndarray) -> Arrays:
        """See Layer."""
        return blocks[:, 0, : self.units], blocks[:, 1, : self.units]

    def trainable(self, block: np.ndarray, *, is_last: bool) -> np.ndarray:
        """See Layer."""
        trainable = np.ones_like(block)
        if not is_last:
            trainable[:, -1] = 0
        return trainable


@dataclass(frozen=True)
class Scale(Layer):
    """Multiplies each unit by a factor of its own, which begins at 1. Parameters: the factors, (units,)."""

    units: int

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """(units,); see Layer."""
        if inputs != (self.units,):
            raise ValueError(f"Scale({self.units}) comes after {told(inputs)}; expected {self.units}")
        return inputs

    def stock(self) -> nn.Cell:
        """A product, which MindSpore has no layer for."""
        return StockScale(self.units)

    def initial(self, inputs: tuple[int, ...], random: np.random.Generator) -> Arrays:
        """The factors; see Layer."""
        return (np.ones(self.units, np.float32),)

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedScale(is_first)

    def block(self, parameters: Arrays, *, is_last: bool) -> np.ndarray | None:
        """(units, 1), and where it is not the last a 1 for the row of ones; see Layer."""
        (factors,) = parameters
        return (factors if is_last else np.append(factors, np.float32(1)))[:, None]

    def parameters(self, blocks: np.ndarray) -> Arrays:
        """See Layer."""
        return (blocks[:, : self.units, 0],)

    def trainable(self, block: np.ndarray, *, is_last: bool) -> np.ndarray:
        """See Layer."""
        trainable = np.ones_like(block)
        if not is_last:
            trainable[-1] = 0
        return trainable


@dataclass(frozen=True)
class Dropout(Layer):
    """Multiplies by a mask of 0 and 1 / (1 - rate) that comes as data, so that all engines drop the same units.

    The stock form is the identity, and is given the mask by who trains it.
    """

    rate: float = field(compare=False)

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """As its inputs."""
        return inputs

    def stock(self) -> nn.Cell:
        """`nn.Identity`."""
        return nn.Identity()

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """The product of activations and masks, which are (K, inputs + 1, B)."""
        return Product()


def told(shape: tuple[int, ...]) -> str:
    """The outputs of a layer in words: 13 outputs, or an image of 8 x 7 x 5."""
    return f"{shape[0]} outputs" if len(shape) == 1 else f"an image of {' x '.join(map(str, shape))}"


def shapes(layers: Sequence[Layer], features: int) -> list[tuple[int, ...]]:
    """The shape of an example before each layer, and behind the last.

    Raises:
        ValueError: a layer does not fit the one before it.
    """
    found: list[tuple[int, ...]] = [(features,)]
    for layer in layers:
        found.append(layer.shape(found[-1]))
    return found


def dropouts(layers: Sequence[Layer], features: int) -> list[tuple[float, int]]:
    """The rate of each dropout of a model, and the number of units that it drops from."""
    return [
        (layer.rate, prod(shape))
        for layer, shape in zip(layers, shapes(layers, features), strict=False)
        if isinstance(layer, Dropout)
    ]


def trained_widths(layers: Sequence[Layer], features: int) -> list[int]:
    """The number of outputs of each layer, 0 where it has no parameters."""
    return [
        prod(outputs) * bool(layer.initial(inputs, np.random.default_rng(0)))
        for layer, (inputs, outputs) in zip(layers, pairwise(shapes(layers, features)), strict=True)
    ]
