from dataclasses import dataclass

from mindspore import nn

from lossfleet.runners.models.layers import Dense, Layer


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """max(x, slope x)."""

    slope: float = 0.1

    def shape(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        return inputs

    def stock(self) -> nn.Cell:
        return nn.LeakyReLU(self.slope)

    def stacked(self, *, is_first: bool) -> nn.Cell:
        return nn.LeakyReLU(self.slope)


def leaky(features: int, classes: int, *, width: int = 16) -> list[Layer]:
    """One hidden layer."""
    return [Dense(features, width), LeakyReLU(), Dense(width, classes, "glorot")]
