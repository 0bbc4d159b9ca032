"""Shortcuts: layers that add what went into earlier ones, so that a list of layers is a residual network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mindspore import nn

from lossfleet.runners.models.images import ImageLayer
from lossfleet.runners.models.layers import Dropout, Layer, told
from lossfleet.runners.models.stacked_images import AddEarlier


@dataclass(frozen=True)
class Shortcut(ImageLayer):
    """Adds to an image the one that the last so many layers were given, so that these learn what to change of it.

        y[c, row, column] = x[c, row, column] + earlier[c, stride row, stride column]

    The stride is that by which these layers have made the image smaller, 1 or 2; channels that the earlier image does
    not have count as 0. It has no parameters.

    Reference: He et al. 2016, Deep residual learning for image recognition, arXiv 1512.03385, option A.
    """

    layers: int

    def shape_of_image(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """As its inputs; `check_shortcuts` compares them with what is added."""
        return channels, height, width

    def stock(self) -> nn.Cell:
        """A sum, of images and of the earlier ones."""
        return AddEarlier()

    def stacked(self, *, is_first: bool) -> nn.Cell:
        """See Layer; its inputs are the images and the earlier ones."""
        return AddEarlier()


def sources(layers: Sequence[Layer]) -> tuple[int | None, ...]:
    """For each layer the number of the one whose inputs it adds to its own; None for all but shortcuts."""
    return tuple(
        place - layer.layers if isinstance(layer, Shortcut) else None for place, layer in enumerate(layers)
    )


def check_shortcuts(layers: Sequence[Layer], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raises ValueError where a shortcut adds what does not fit.

    Args:
        layers: the model.
        shapes: of an example before each layer.
    """
    for place, source in enumerate(sources(layers)):
        if source is None:
            continue
        name = f"Shortcut({place - source})"
        if not 0 <= source < place:
            raise ValueError(f"{name} comes after {place} layers; expected a number from 1 to {place}")
        earlier, (channels, *size) = shapes[source], shapes[place]
        fitting = [[-(-each // stride) for each in earlier[1:]] for stride in (1, 2)]
        if len(earlier) != 3 or earlier[0] > channels or size not in fitting:
            raise ValueError(
                f"{name} adds {told(earlier)} to {told(shapes[place])}; expected at most as many channels, "
                "and as many rows and columns, or twice as many"
            )


def without_dropout(layers: Sequence[Layer]) -> list[Layer]:
    """The layers that predict; a shortcut past a dropout is past one layer less."""
    found: list[Layer] = []
    for place, layer in enumerate(layers):
        if isinstance(layer, Shortcut):
            past = layers[place - layer.layers : place]
            found.append(replace(layer, layers=sum(not isinstance(each, Dropout) for each in past)))
        elif not isinstance(layer, Dropout):
            found.append(layer)
    return found
