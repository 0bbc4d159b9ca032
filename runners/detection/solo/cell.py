"""The network of a dense detector on stock layers."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, nn, ops

from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.models.images import Convolution


class RetinaNetCell(nn.Cell):
    """The network on stock layers: of images (B, channels, height, width) logits (B, A, C) and deltas (B, A, 4)."""

    def __init__(self, network: RetinaNet) -> None:
        super().__init__()
        self.network = network
        self.body = _cells(network.body_convolutions)
        self.lateral = _cells(network.lateral_convolutions)
        self.classes = _cells(network.head_convolutions(network.classes))
        self.boxes = _cells(network.head_convolutions(4))

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        return self.of_levels(self.levels(images))

    def levels(self, images: Tensor) -> list[Tensor]:
        """The pyramid, each level (B, width, rows, columns)."""
        stages = []
        for convolution in self.body:
            images = ops.relu(convolution(images))
            stages.append(images)
        levels: list[Tensor] = []
        for convolution, stage in zip(self.lateral[::-1], stages[::-1], strict=False):
            level = convolution(stage)
            if levels:
                level = level + _doubled(levels[0], level.shape[2:])
            levels.insert(0, level)
        return levels

    def of_levels(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and deltas of a pyramid."""
        logits = [_of_anchors(_head(self.classes, level), self.network.classes) for level in levels]
        deltas = [_of_anchors(_head(self.boxes, level), 4) for level in levels]
        return ops.cat(logits, axis=1), ops.cat(deltas, axis=1)


def _cells(convolutions: Sequence[Convolution]) -> nn.CellList:
    return nn.CellList([each.stock() for each in convolutions])


def _head(convolutions: nn.CellList, x: Tensor) -> Tensor:
    for convolution in convolutions[:-1]:
        x = ops.relu(convolution(x))
    return convolutions[-1](x)


def _doubled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Each pixel twice in each direction, up to a size."""
    doubled = ops.repeat_interleave(ops.repeat_interleave(x, 2, 2), 2, 3)
    return doubled[:, :, : size[0], : size[1]]


def _of_anchors(x: Tensor, numbers: int) -> Tensor:
    """(B, anchors of a place x numbers, rows, columns) as (B, A, numbers)."""
    return ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (x.shape[0], -1, numbers))
