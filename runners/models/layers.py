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
from mindspore import Tensor, nn, ops

Arrays = tuple[np.ndarray, ...]
LAYER_NORM_EPSILON = 1e-5


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


class StackedDense(nn.Cell):
    """Dense layers of K members: (K, out, in + 1) times (K, in + 1, B).

    The gradient is written out: MindSpore's transposes in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_of_transposed = ops.BatchMatMul(transpose_a=True)
        self.product_with_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, weight: Tensor, inputs: Tensor) -> Tensor:
        return self.product(weight, inputs)

    def bprop(self, weight: Tensor, inputs: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return self.product_with_transposed(dout, inputs), self.product_of_transposed(weight, dout)


class StackedDenseOfExamples(nn.Cell):
    """The first dense layers of K members: (K, out, in + 1) times examples (K, B, in + 1), which have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_with_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, weight: Tensor, examples: Tensor) -> Tensor:
        return self.product_with_transposed(weight, examples)

    def bprop(self, weight: Tensor, examples: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return self.product(dout, examples), ops.zeros_like(examples)


class Product(nn.Cell):
    """Activations times masks (K, units + 1, B), which have no gradient."""

    def construct(self, activations: Tensor, masks: Tensor) -> Tensor:
        return activations * self.as_activations(masks, activations)

    def bprop(self, activations: Tensor, masks: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return dout * self.as_activations(masks, activations), ops.zeros_like(masks)

    def as_activations(self, masks: Tensor, activations: Tensor) -> Tensor:
        """In the shape of activations, which may be images."""
        if activations.ndim == 3:
            return masks
        return ops.reshape(ops.transpose(masks[:, :-1], (2, 0, 1)), activations.shape)


class StackedGELU(nn.Cell):
    """GELU of images, or of activations (K, width + 1, B), whose last row stays ones."""

    def construct(self, activations: Tensor) -> Tensor:
        if activations.ndim == 5:
            return ops.gelu(activations, approximate="tanh")
        return ops.concat((ops.gelu(activations[:, :-1], approximate="tanh"), activations[:, -1:]), 1)


class StackedLayerNorm(nn.Cell):
    """Layer normalisation of K members: weights (K, 2, units + 1) and activations (K, units + 1, B).

    Weights (K, 2, units) are those of a last layer, whose outputs have no row of ones.
    """

    def __init__(self, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first

    def construct(self, weight: Tensor, activations: Tensor) -> Tensor:
        if self.is_first:
            activations = ops.transpose(activations, (0, 2, 1))
        units = activations[:, :-1]
        mean = units.mean(1, keep_dims=True)
        variance = ((units - mean) ** 2).mean(1, keep_dims=True)
        rows = activations[:, : weight.shape[2]]
        normal = (rows - mean) / ops.sqrt(variance + LAYER_NORM_EPSILON)
        return ops.expand_dims(weight[:, 0], 2) * normal + ops.expand_dims(weight[:, 1], 2)
