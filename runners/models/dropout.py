"""Dropout of cells, drawn from seeds that come as data: MindSpore's own numbers depend on all that was drawn before."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class SeededDropout(nn.Cell):
    """Takes the place of `ops.Dropout` in an `nn.Dropout`: the same seed drops the same places of the same shape.

    A place is dropped by a hash of its number and the seed, the mixing of MurmurHash3, in integers that wrap.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.scale = 1 / (1 - rate)
        # The hash is a number from -2^31 to 2^31 - 1.
        self.threshold = round(rate * 2**32) - 2**31
        self.seed = Parameter(Tensor(0, ms.int32), name="seed", requires_grad=False)
        self.weyl, self.first, self.second = (
            Tensor(np.array(each, np.uint32).astype(np.int32))
            for each in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35)
        )

    def construct(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The values and the mask, 0 or 1 / (1 - rate)."""
        places = ops.reshape(ops.arange(values.size, dtype=ms.int32), values.shape)
        mixed = places * self.weyl + self.seed
        mixed = self.shifted(mixed, 16) * self.first
        mixed = self.shifted(mixed, 13) * self.second
        mixed = self.shifted(mixed, 16)
        mask = ops.cast(mixed >= self.threshold, values.dtype) * self.scale
        return values * mask, mask

    def shifted(self, numbers: Tensor, bits: int) -> Tensor:
        """Numbers xor themselves shifted right, without sign."""
        kept = 2 ** (32 - bits) - 1
        return ops.bitwise_xor(numbers, ops.bitwise_and(ops.bitwise_right_shift(numbers, bits), kept))


def seed_dropouts(cell: nn.Cell) -> None:
    """Lets each `nn.Dropout` of a cell draw from a seed, for whoever trains it to set."""
    for name, each in list(cell.cells_and_names()):
        if isinstance(each, nn.Dropout):
            rate = each.p if each.p is not None else 1 - each.keep_prob
            del each.dropout
            each.dropout = SeededDropout(rate)
            each.dropout.seed.name = f"{name}.seed"


def dropout_seeds(cell: nn.Cell) -> tuple[Parameter, ...]:
    """The seeds of a cell's dropouts, int32."""
    return tuple(each.seed for _, each in cell.cells_and_names() if isinstance(each, SeededDropout))
