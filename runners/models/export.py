"""A kept model as MindSpore's own: stock layers whose logits are averaged, as a checkpoint or as a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.runners.models.images import Image
from lossfleet.runners.models.layers import Dense, Layer, LayerNorm
from lossfleet.runners.models.stock import StockModel
from lossfleet.runners.models.weights import Kind, layers_of


class MeanOfMembers(nn.Cell):
    """The mean of the logits (B, C) of members that take the same features (B, F).

    Args:
        members: all networks.
        networks: of so many, one after the other, the probabilities are averaged first.
    """

    def __init__(self, members: Sequence[nn.Cell], networks: int = 1) -> None:
        super().__init__()
        self.members = nn.CellList(members)
        self.networks = networks

    def construct(self, features: Tensor) -> Tensor:
        total = self.of_ensemble(features, 0)
        for first in range(self.networks, len(self.members), self.networks):
            total = total + self.of_ensemble(features, first)
        return total / (len(self.members) // self.networks)

    def of_ensemble(self, features: Tensor, first: int) -> Tensor:
        """The logits of the networks from this one on, which are one member."""
        if self.networks == 1:
            return self.members[first](features)
        total = ops.softmax(self.members[first](features))
        for member in self.members[first + 1 : first + self.networks]:
            total = total + ops.softmax(member(features))
        return ops.log(total / self.networks)


def stock_members(kinds: Sequence[Kind], weights: Mapping[str, np.ndarray]) -> list[StockModel]:
    """The members on stock layers, such as `nn.Dense` and `nn.ReLU`.

    Args:
        kinds, weights: as `lossfleet.runners.models.weights` has them.
    """
    members = []
    for member in range(len(next(iter(weights.values())))):
        model = StockModel(layers_of(kinds, weights))
        for place, cell in enumerate(model.cell_list):
            for name, parameter in zip(("weight", "bias"), cell.trainable_params(), strict=False):
                parameter.set_data(Tensor(weights[f"{place}.{name}"][member]))
        members.append(model)
    return members


def export_members(
    kinds: Sequence[Kind], weights: Mapping[str, np.ndarray], file: Path, networks: int = 1
) -> None:
    """Write the mean of the members.

    Args:
        kinds, weights: see `stock_members`.
        file: ends in .ckpt, for a checkpoint of `MeanOfMembers`, whose parameters are named
            `members.<member>.<layer>.weight` and `.bias`, of a normalisation `.gamma` and `.beta`; or in .mindir, for a
            graph that takes any number of rows.
        networks: of a member.
    """
    cell = MeanOfMembers(stock_members(kinds, weights), networks)
    if file.suffix == ".ckpt":
        ms.save_checkpoint(cell, str(file))
        return
    cell.set_train(False)
    rows = Tensor(shape=[None, features_of(layers_of(kinds, weights))], dtype=ms.float32)
    ms.export(cell, rows, file_name=str(file.with_suffix("")), file_format="MINDIR")


def features_of(layers: Sequence[Layer]) -> int:
    """How many features a model takes: what the first layer says that knows."""
    for layer in layers:
        if isinstance(layer, Dense):
            return layer.inputs
        if isinstance(layer, LayerNorm):
            return layer.units
        if isinstance(layer, Image):
            return layer.channels * layer.height * layer.width
    raise AssertionError("no layer has parameters")
