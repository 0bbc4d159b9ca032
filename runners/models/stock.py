"""Models on MindSpore's own layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.runners.models.layers import Dropout, Layer
from lossfleet.runners.models.shortcuts import sources


class StockModel(nn.SequentialCell):
    """The stock form of a list of layers: logits (B, C) of examples (B, F)."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__([layer.stock() for layer in layers])
        self.drops = [isinstance(layer, Dropout) for layer in layers]
        self.sources = sources(layers)

    def construct(self, examples: Tensor, masks: tuple[Tensor, ...] = ()) -> Tensor:
        """Logits; `masks`, a mask (B, units) for each dropout, drops units."""
        outputs = examples
        inputs: tuple[Tensor, ...] = ()
        dropouts = 0
        for index, cell in enumerate(self.cell_list):
            inputs += (outputs,)
            source = self.sources[index]
            outputs = cell(outputs) if source is None else cell(outputs, inputs[source])
            if masks and self.drops[index]:
                outputs = outputs * ops.reshape(masks[dropouts], outputs.shape)
                dropouts += 1
        return outputs

    def load(self, parameters: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Set the parameters of all layers, in the order in which each has them."""
        for cell, arrays in zip(self.cell_list, parameters, strict=True):
            for parameter, values in zip(cell.trainable_params(), arrays, strict=True):
                parameter.set_data(Tensor(values))

    def parameters_by_layer(self) -> list[tuple[np.ndarray, ...]]:
        """What `load` sets."""
        return [tuple(each.asnumpy() for each in cell.trainable_params()) for cell in self.cell_list]
