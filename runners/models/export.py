"""A kept model as MindSpore's own: stock layers whose logits are averaged, as a checkpoint or as a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn


class MeanOfMembers(nn.Cell):
    """The mean of the logits (B, C) of members that take the same features (B, F)."""

    def __init__(self, members: Sequence[nn.Cell]) -> None:
        super().__init__()
        self.members = nn.CellList(members)

    def construct(self, features: Tensor) -> Tensor:
        total = self.members[0](features)
        for member in self.members[1:]:
            total = total + member(features)
        return total / len(self.members)


def stock_members(kinds: Sequence[str], weights: Mapping[str, np.ndarray]) -> list[nn.SequentialCell]:
    """The members on stock layers, `nn.Dense` and `nn.ReLU` in an `nn.SequentialCell`.

    Args:
        kinds, weights: as `lossfleet.runners.models.weights` has them.
    """
    members = []
    for member in range(len(next(iter(weights.values())))):
        layers: list[nn.Cell] = []
        for place, kind in enumerate(kinds):
            if kind == "relu":
                layers.append(nn.ReLU())
                continue
            weight, bias = weights[f"{place}.weight"][member], weights[f"{place}.bias"][member]
            layer = nn.Dense(weight.shape[1], weight.shape[0])
            layer.weight.set_data(Tensor(weight))
            layer.bias.set_data(Tensor(bias))
            layers.append(layer)
        members.append(nn.SequentialCell(layers))
    return members


def export_members(kinds: Sequence[str], weights: Mapping[str, np.ndarray], file: Path) -> None:
    """Write the mean of the members.

    Args:
        kinds, weights: see `stock_members`.
        file: ends in .ckpt, for a checkpoint of `MeanOfMembers`, whose parameters are named
            `members.<member>.<layer>.weight` and `.bias`; or in .mindir, for a graph that takes any number of rows.
    """
    cell = MeanOfMembers(stock_members(kinds, weights))
    if file.suffix == ".ckpt":
        ms.save_checkpoint(cell, str(file))
        return
    first = min(
        (name for name in weights if name.endswith(".weight")), key=lambda name: int(name.split(".")[0])
    )
    features = weights[first].shape[2]
    cell.set_train(False)
    rows = Tensor(shape=[None, features], dtype=ms.float32)
    ms.export(cell, rows, file_name=str(file.with_suffix("")), file_format="MINDIR")
