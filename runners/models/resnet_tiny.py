"""The small residual network."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Interval

from lossfleet.conf.errors import UserError
from lossfleet.runners.models.cnn import normalising, refuse_rows
from lossfleet.runners.models.images import Convolution, GlobalAverage, Image
from lossfleet.runners.models.layers import Dense, Dropout, Layer, ReLU
from lossfleet.runners.models.shortcuts import Shortcut


def resnet_tiny(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    channels: tuple[Annotated[int, Ge(1)], ...] = (8, 16, 32),
    blocks: Annotated[int, Ge(1)] = 1,
    normalisation: Literal["none", "group"] = "group",
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
) -> list[Layer]:
    """A convolution, stages of residual blocks, and a dense layer on the mean of each channel.

    A block is two convolutions of 3 x 3 with a ReLU between, a shortcut past them and a ReLU; the first block of each
    stage but the first halves the image by the stride of its first convolution.

    Args:
        input_shape: (channels, height, width) of an image; its rows of numbers are in this order.
        classes: outputs, at least 1.
        channels: of each stage; none has fewer than the one before it.
        blocks: of each stage.
        normalisation: of the outputs of each convolution; `group` as in `cnn`.
        dropout: the share of what the dense layer takes that is dropped in training.

    Returns:
        Its layers.

    Raises:
        UserError: examples are no images, or channels are none or become fewer.

    Reference: He et al. 2016, Deep residual learning for image recognition, arXiv 1512.03385, section 4.2, with
        normalisation by groups (Wu and He 2018, arXiv 1803.08494) in the place of batches.
    """
    refuse_rows("resnet_tiny", input_shape)
    if not channels or list(channels) != sorted(channels):
        raise UserError(
            what=f"model.channels is {list(channels)}",
            expected="the channels of each stage, none with fewer than the one before it",
            hint=f"write model.channels={sorted(channels) or [8, 16]}".replace(" [", "[").replace(", ", ","),
        )
    inputs = channels[0]
    layers: list[Layer] = [
        *(
            Image(*input_shape),
            Convolution(input_shape[0], inputs),
            *normalising(normalisation, inputs),
            ReLU(),
        )
    ]
    for stage, outputs in enumerate(channels):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            body = [
                *(Convolution(inputs, outputs, stride=stride), *normalising(normalisation, outputs), ReLU()),
                *(Convolution(outputs, outputs), *normalising(normalisation, outputs)),
            ]
            layers += [*body, Shortcut(len(body)), ReLU()]
            inputs = outputs
    layers.append(GlobalAverage())
    if dropout > 0:
        layers.append(Dropout(dropout))
    return [*layers, Dense(inputs, classes, "glorot")]
