"""Models on MindSpore's own layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.runners.models.layers import Dropout, Layer


class StockModel(nn.Cell):
    """The stock form of a list of layers: logits (B, C) of examples (B, F)."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.CellList([layer.stock() for layer in layers])
        self.drops = [isinstance(layer, Dropout) for layer in layers]

    def construct(self, examples: Tensor, masks: tuple[Tensor, ...] = ()) -> Tensor:
        """Logits; `masks`, a mask (B, units) for each dropout, drops units."""
        dropouts = 0
        for index, layer in enumerate(self.layers):
            examples = layer(examples)
            if masks and self.drops[index]:
                examples = examples * ops.reshape(masks[dropouts], examples.shape)
                dropouts += 1
        return examples

    def load(self, parameters: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Set the parameters of all layers, in the order in which each has them."""
        for layer, arrays in zip(self.layers, parameters, strict=True):
            for parameter, values in zip(layer.trainable_params(), arrays, strict=True):
                parameter.set_data(Tensor(values))
