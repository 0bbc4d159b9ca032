from mindspore import Tensor, nn


class Net(nn.Cell):
    """Two dense layers with batch normalisation."""

    def __init__(self, features: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.SequentialCell(
            nn.Dense(features, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dense(width, classes)
        )

    def construct(self, examples: Tensor) -> Tensor:
        return self.layers(examples)
