"""The small convolutional network."""

from __future__ import annotations

from itertools import pairwise
from math import gcd, prod
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from lossfleet.conf.errors import UserError
from lossfleet.runners.models.images import (
    AveragePool,
    Convolution,
    Flatten,
    GlobalAverage,
    GroupNorm,
    Image,
    MaxPool,
)
from lossfleet.runners.models.layers import Dense, Dropout, Layer, ReLU, shapes

# Channels that are normalised together, where so many divide them.
CHANNELS_OF_A_GROUP = 4


def cnn(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    channels: tuple[Annotated[int, Ge(1)], ...] = (8, 16),
    kernel: Annotated[int, Interval(ge=3, le=5)] = 3,
    halving: Literal["max_pool", "average_pool", "stride"] = "max_pool",
    normalisation: Literal["none", "group"] = "none",
    head: Literal["flatten", "global_average"] = "flatten",
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
) -> list[Layer]:
    """A convolution with ReLU for each number of channels, each of which halves the image, and a dense layer.

    Args:
        input_shape: (channels, height, width) of an image; its rows of numbers are in this order.
        classes: outputs, at least 1.
        channels: of the outputs of each convolution.
        kernel: rows and columns of each convolution's, 3 or 5.
        halving: what halves the image behind each convolution; a stride is the convolution's own, and the cheapest.
        normalisation: of the outputs of each convolution; `group` takes 4 channels together where 4 divides them,
            else as many as divide both.
        head: the dense layer takes all pixels, or the mean of each channel.
        dropout: the share of what the dense layer takes that is dropped in training.

    Returns:
        Its layers.

    Raises:
        UserError: examples are no images, the images are too small to be halved so often, or the kernel is even.
    """
    refuse_rows("cnn", input_shape)
    if kernel == 4:
        raise UserError(
            what="model.kernel is 4",
            expected="3 or 5",
            hint="an odd kernel has a middle: write model.kernel=3",
        )
    if halving != "stride" and min(input_shape[1:]) < 2 ** len(channels):
        raise UserError(
            what=f"model.channels={list(channels)} halves images of {input_shape[1]} x {input_shape[2]} "
            f"{len(channels)} times",
            expected=f"at least {2 ** len(channels)} rows and columns",
            hint="choose fewer channels, or model.halving=stride",
        )
    layers: list[Layer] = [Image(*input_shape)]
    for inputs, outputs in pairwise((input_shape[0], *channels)):
        layers.append(Convolution(inputs, outputs, kernel, 2 if halving == "stride" else 1))
        layers += [*normalising(normalisation, outputs), ReLU()]
        if halving != "stride":
            layers.append(MaxPool() if halving == "max_pool" else AveragePool())
    layers.append(Flatten() if head == "flatten" else GlobalAverage())
    *_, (units,) = shapes(layers, prod(input_shape))
    if dropout > 0:
        layers.append(Dropout(dropout))
    return [*layers, Dense(units, classes, "glorot")]


def refuse_rows(model: str, input_shape: tuple[int, ...]) -> None:
    """Raises UserError where the examples of a model of images are rows of numbers."""
    if len(input_shape) != 3:
        raise UserError(
            what=f"model={model} is given examples of {prod(input_shape)} features",
            expected="images: data whose image_shape says (channels, height, width)",
            hint="choose model=mlp",
        )


def normalising(normalisation: Literal["none", "group"], channels: int) -> list[Layer]:
    """The layer that normalises images of so many channels, in a list, which `none` leaves empty.

    Batch normalisation is none of them: a member would depend on which examples are in a batch with it, and its
    running statistics on the order in which it is evaluated.
    """
    if normalisation == "none":
        return []
    return [GroupNorm(channels // gcd(channels, CHANNELS_OF_A_GROUP), channels)]
