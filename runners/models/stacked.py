"""A stacked model: K models of the same layers as one batched model, in the layout that CPU kernels are fast at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.runners.models.initial import Parameters, initial_parameters
from lossfleet.runners.models.layers import Dropout, Layer, dropouts
from lossfleet.runners.models.shortcuts import sources, without_dropout


class StackedModel(nn.Cell):
    """K models of a list of layers; all parameters of a member lie in one row of a buffer (K, P).

    So the optimizer is one update, and the gradient one array.

    Args:
        layers: the model.
        features: inputs of the first layer.
        members: K.
        trains: drop units; without it dropout is left out.
    """

    def __init__(self, layers: Sequence[Layer], features: int, members: int, *, trains: bool = True) -> None:
        super().__init__()
        self.mask_slices = mask_slices(layers, features)
        layers = layers if trains else without_dropout(layers)
        blocks = stacked_blocks(layers, initial_parameters(layers, features, seed=0))
        self.has_weights = tuple(block is not None for block in blocks)
        self.layers = nn.CellList(
            [layer.stacked(is_first=n == 0 and self.has_weights[0]) for n, layer in enumerate(layers)]
        )
        self.drops = tuple(isinstance(layer, Dropout) for layer in layers)
        self.sources = sources(layers)
        shapes = [block.shape for block in blocks if block is not None]
        self.slices = tuple(pairwise([0, *np.cumsum([rows * columns for rows, columns in shapes]).tolist()]))
        self.split = Split(tuple((members, rows, columns) for rows, columns in shapes), self.slices)

    @property
    def size(self) -> int:
        """P, the length of a member's row of the buffer."""
        return self.slices[-1][1]

    def construct(self, parameters: Tensor, examples: Tensor, masks: Tensor | None = None) -> Tensor:
        """Logits (K, C, B).

        Args:
            parameters: (K, P).
            examples: (K, B, features + 1), the last feature 1.
            masks: for dropout, (K, rows, B), as `stacked_masks` has them.
        """
        weights = self.split(parameters)
        # Transposing costs time: a first layer with weights multiplies by the examples as they are.
        outputs = examples if self.has_weights[0] else ops.transpose(examples, (0, 2, 1))
        inputs: tuple[Tensor, ...] = ()
        block, dropout = 0, 0
        for index in range(len(self.layers)):
            inputs += (outputs,)
            source = self.sources[index]
            if source is not None:
                outputs = self.layers[index](outputs, inputs[source])
            elif self.has_weights[index]:
                outputs = self.layers[index](weights[block], outputs)
                block += 1
            elif self.drops[index]:
                start, end = self.mask_slices[dropout]
                outputs = self.layers[index](outputs, masks[:, start:end])  # type: ignore[index]
                dropout += 1
            else:
                outputs = self.layers[index](outputs)
        return outputs


class Split(nn.Cell):
    """The blocks (K, rows, columns) of the layers in a buffer (K, P)."""

    def __init__(self, shapes: tuple[tuple[int, int, int], ...], slices: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.shapes = shapes
        self.slices = slices

    def construct(self, parameters: Tensor) -> tuple[Tensor, ...]:
        blocks: tuple[Tensor, ...] = ()
        for index in range(len(self.shapes)):
            start, end = self.slices[index]
            blocks += (ops.reshape(parameters[:, start:end], self.shapes[index]),)
        return blocks

    def bprop(self, parameters: Tensor, out: tuple[Tensor, ...], dout: tuple[Tensor, ...]) -> tuple[Tensor]:
        rows: tuple[Tensor, ...] = ()
        for index in range(len(self.shapes)):
            rows += (ops.reshape(dout[index], (self.shapes[index][0], -1)),)
        return (ops.concat(rows, 1),)


def stacked_blocks(layers: Sequence[Layer], parameters: Sequence[Parameters]) -> list[np.ndarray | None]:
    """A member's block of each layer in the buffer, from the parameters of its stock form; None without any."""
    last = max((n for n, arrays in enumerate(parameters) if arrays), default=-1)
    return [
        layer.block(arrays, is_last=n == last)
        for n, (layer, arrays) in enumerate(zip(layers, parameters, strict=True))
    ]


def flatten_parameters(layers: Sequence[Layer], parameters: Sequence[Parameters]) -> np.ndarray:
    """A member's row (P,) of the buffer, from the parameters of its stock form."""
    return np.concatenate(
        [block.ravel() for block in stacked_blocks(layers, parameters) if block is not None]
    )


def stock_parameters(layers: Sequence[Layer], features: int, row: np.ndarray) -> list[Parameters]:
    """The parameters of each layer in its stock form, from a member's row (P,) of the buffer."""
    initial = initial_parameters(layers, features, seed=0)
    found: list[Parameters] = []
    start = 0
    for layer, arrays, block in zip(layers, initial, stacked_blocks(layers, initial), strict=True):
        if block is None:
            found.append(())
            continue
        own = layer.parameters(row[start : start + block.size].reshape(1, *block.shape))
        found.append(tuple(each.reshape(like.shape) for each, like in zip(own, arrays, strict=True)))
        start += block.size
    return found


def trainable(layers: Sequence[Layer], features: int) -> np.ndarray:
    """(P,) float32: 1 for what is trained, 0 for what only hands on the ones."""
    blocks = stacked_blocks(layers, initial_parameters(layers, features, seed=0))
    last = max(n for n, block in enumerate(blocks) if block is not None)
    return np.concatenate(
        [
            layer.trainable(block, is_last=n == last).ravel()
            for n, (layer, block) in enumerate(zip(layers, blocks, strict=True))
            if block is not None
        ]
    )


def mask_slices(layers: Sequence[Layer], features: int) -> tuple[tuple[int, int], ...]:
    """Where the mask of each dropout lies among the rows of all masks, a row of ones behind each."""
    return tuple(pairwise([0, *np.cumsum([width + 1 for _, width in dropouts(layers, features)]).tolist()]))


def stacked_masks(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The masks (S, width, B) of a member's dropouts in one array (S, rows, B), a row of ones behind each."""
    rows = [np.pad(mask, ((0, 0), (0, 1), (0, 0)), constant_values=1.0) for mask in masks]
    return np.concatenate(rows, axis=1)


def with_ones(features: np.ndarray) -> np.ndarray:
    """Features (N, F) with a last column of ones, float32."""
    return np.column_stack([features, np.ones(len(features), np.float32)]).astype(np.float32, copy=False)


def to_tensor(values: np.ndarray) -> Tensor:
    """A float32 or int32 Tensor of the values, which shares their memory where they are such an array."""
    kind = np.int32 if values.dtype.kind == "i" else np.float32
    return Tensor.from_numpy(np.ascontiguousarray(values, kind))
