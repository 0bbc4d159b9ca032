"""Layers of images; between `Image` and `Flatten` or `GlobalAverage` an example is (channels, height, width).

In the stacked form activations are (B, K, channels, height, width), so that the convolutions of K members are one
in K groups.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod

import numpy as np
from mindspore import nn

from lossfleet.runners.models.layers import Arrays, Layer, told
from lossfleet.runners.models.stacked_images import (
    GROUP_NORM_EPSILON,
    StackedConvolution,
    StackedFlatten,
    StackedGlobalAverage,
    StackedGroupNorm,
    StackedImage,
    StackedPooling,
)


@dataclass(frozen=True)
class Image(Layer):
    """Takes a row of numbers as an image, in the order channel, row, column."""

    channels: int
    height: int
    width: int

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """(channels, height, width); see Layer."""
        outputs = (self.channels, self.height, self.width)
        if inputs != (prod(outputs),):
            raise ValueError(f"Image{outputs} comes after {told(inputs)}; expected {prod(outputs)}")
        return outputs

    def stock(self) -> nn.Cell:
        """`nn.Unflatten`."""
        return nn.Unflatten(1, (self.channels, self.height, self.width))

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedImage((self.channels, self.height, self.width))


class ImageLayer(Layer):
    """A layer that takes images."""

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """See Layer."""
        if len(inputs) != 3:
            raise ValueError(
                f"{type(self).__name__} comes after {told(inputs)}; expected an image, as of Image"
            )
        return self.shape_of_image(*inputs)

    @abstractmethod
    def shape_of_image(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """The shape of its outputs.

        Raises:
            ValueError: it cannot take this one.
        """


@dataclass(frozen=True)
class Convolution(ImageLayer):
    """Slides a kernel over an image: weight (outputs, inputs, kernel, kernel) and bias (outputs,), both of channels.

        y[o, r, c] = bias[o] + sum_i,u,v weight[o, i, u, v] x[i, stride r + u - top, stride c + v - left]

    What lies outside counts as 0. The output has ceil(height / stride) rows; of the rows that lie outside, half,
    rounded down, are above (the padding `same` of MindSpore and TensorFlow), and likewise for columns.

    The kernel is 1, 3 or 5, the stride 1 or 2. Weights begin in U(-a, a) with a = sqrt(6 / (inputs kernel^2)), see
    Dense; biases at 0.
    """

    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        if self.kernel not in (1, 3, 5) or self.stride not in (1, 2):
            raise ValueError(
                f"Convolution has kernel {self.kernel} and stride {self.stride}; expected 1, 3 or 5, and 1 or 2"
            )

    def shape_of_image(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """See ImageLayer."""
        if channels != self.inputs:
            raise ValueError(
                f"Convolution({self.inputs}, {self.outputs}) comes after {channels} channels; "
                f"expected {self.inputs}"
            )
        return self.outputs, -(-height // self.stride), -(-width // self.stride)

    def initial(self, inputs: tuple[int, ...], random: np.random.Generator) -> Arrays:
        """Weight and bias; see Layer."""
        bound = np.sqrt(6 / (self.inputs * self.kernel**2))
        weight = random.uniform(-bound, bound, (self.outputs, self.inputs, self.kernel, self.kernel))
        return weight.astype(np.float32), np.zeros(self.outputs, np.float32)

    def stock(self) -> nn.Cell:
        """`nn.Conv2d`."""
        return nn.Conv2d(self.inputs, self.outputs, self.kernel, self.stride, pad_mode="same", has_bias=True)

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedConvolution(self.inputs, self.kernel, self.stride)

    def block(self, parameters: Arrays, *, is_last: bool) -> np.ndarray | None:
        """(outputs, inputs kernel^2 + 1); see Layer."""
        weight, bias = parameters
        return np.column_stack([weight.reshape(self.outputs, -1), bias])

    def parameters(self, blocks: np.ndarray) -> Arrays:
        """See Layer."""
        return blocks[:, :, :-1], blocks[:, :, -1]


class Pooling(ImageLayer):
    """Takes 2 x 2 pixels together; of an odd size the last row or column is left out."""

    def shape_of_image(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """See ImageLayer."""
        if min(height, width) < 2:
            raise ValueError(
                f"{type(self).__name__} comes after {told((channels, height, width))}; "
                "expected at least 2 rows and columns"
            )
        return channels, height // 2, width // 2

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedPooling(self.stock())


@dataclass(frozen=True)
class MaxPool(Pooling):
    """The largest of each 2 x 2 pixels; of equal ones the first has the gradient."""

    def stock(self) -> nn.Cell:
        """`nn.MaxPool2d`."""
        return nn.MaxPool2d(2, 2)


@dataclass(frozen=True)
class AveragePool(Pooling):
    """The mean of each 2 x 2 pixels."""

    def stock(self) -> nn.Cell:
        """`nn.AvgPool2d`."""
        return nn.AvgPool2d(2, 2)


@dataclass(frozen=True)
class GroupNorm(ImageLayer):
    """Brings each group of channels of an example to mean 0 and variance 1, then scales and shifts each channel.

        gain (x - mean) / sqrt(variance + 1e-5) + shift

    Parameters: gain and shift, both (channels,), which begin at 1 and 0.

    Reference: Wu and He 2018, arXiv 1803.08494.
    """

    groups: int
    channels: int

    def __post_init__(self) -> None:
        if self.channels % self.groups:
            raise ValueError(
                f"GroupNorm has {self.groups} groups of {self.channels} channels; expected a number that divides them"
            )

    def shape_of_image(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """See ImageLayer."""
        if channels != self.channels:
            raise ValueError(
                f"GroupNorm({self.groups}, {self.channels}) comes after {channels} channels; "
                f"expected {self.channels}"
            )
        return channels, height, width

    def initial(self, inputs: tuple[int, ...], random: np.random.Generator) -> Arrays:
        """Gain and shift; see Layer."""
        return np.ones(self.channels, np.float32), np.zeros(self.channels, np.float32)

    def stock(self) -> nn.Cell:
        """`nn.GroupNorm`."""
        return nn.GroupNorm(self.groups, self.channels, eps=GROUP_NORM_EPSILON)

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedGroupNorm(self.groups)

    def block(self, parameters: Arrays, *, is_last: bool) -> np.ndarray | None:
        """(2, channels); see Layer."""
        return np.stack(parameters)

    def parameters(self, blocks: np.ndarray) -> Arrays:
        """See Layer."""
        return blocks[:, 0], blocks[:, 1]


@dataclass(frozen=True)
class GlobalAverage(ImageLayer):
    """The mean of each channel over all pixels."""

    def shape_of_image(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """See ImageLayer."""
        return (channels,)

    def stock(self) -> nn.Cell:
        """`nn.AdaptiveAvgPool2d` of one pixel, and `nn.Flatten`."""
        return nn.SequentialCell(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedGlobalAverage()


@dataclass(frozen=True)
class Flatten(ImageLayer):
    """Takes an image as a row of numbers, in the order channel, row, column."""

    def shape_of_image(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """See ImageLayer."""
        return (channels * height * width,)

    def stock(self) -> nn.Cell:
        """`nn.Flatten`."""
        return nn.Flatten()

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer."""
        return StackedFlatten()
