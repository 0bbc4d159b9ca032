"""Cells of a user's, as test_cells.py trains them."""

from __future__ import annotations

from mindspore import Tensor, nn, ops


class Plain(nn.Cell):
    """What `mlp` is with widths 13 and 11."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Dense(features, 13), nn.Dense(13, 11), nn.Dense(11, classes)

    def construct(self, examples: Tensor) -> Tensor:
        return self.last(ops.relu(self.second(ops.relu(self.first(examples)))))


class Mixed(nn.Cell):
    """With a normalisation, and a dropout in a container of its own."""

    def __init__(self, features: int, classes: int, norm: str = "none", rate: float = 0.0) -> None:
        super().__init__()
        norms = {"batch": nn.BatchNorm1d(13), "layer": nn.LayerNorm((13,)), "none": nn.Identity()}
        # Without a bias before the normalisation: its gradient would be nothing but rounding.
        self.layers = nn.SequentialCell(
            nn.Dense(features, 13, has_bias=False), norms[norm], nn.ReLU(), nn.Dropout(p=rate)
        )
        self.last = nn.Dense(13, classes)

    def construct(self, examples: Tensor) -> Tensor:
        return self.last(self.layers(examples))


class Stubborn(Plain):
    """A graph knows comprehensions of one loop alone."""

    def construct(self, examples: Tensor) -> Tensor:
        (one,) = [first * second for first in (1.0,) for second in (1.0,)]
        return super().construct(examples * one)
