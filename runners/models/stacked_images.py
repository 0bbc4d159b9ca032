"""The stacked forms of layers of images, see images.py: activations are (B, K, channels, height, width)."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

GROUP_NORM_EPSILON = 1e-5


class StackedImage(nn.Cell):
    """Images (B, K, channels, height, width) of activations (K, units + 1, B)."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def construct(self, activations: Tensor) -> Tensor:
        members, _, examples = activations.shape
        rows = ops.transpose(activations[:, :-1], (2, 0, 1))
        return ops.reshape(rows, (examples, members) + self.shape)


class StackedConvolution(nn.Cell):
    """Convolutions of K members: weights and biases (K, out, in kernel^2 + 1), images (B, K, in, height, width)."""

    def __init__(self, inputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.inputs, self.kernel, self.stride = inputs, kernel, stride

    def construct(self, block: Tensor, images: Tensor) -> Tensor:
        members, outputs, _ = block.shape
        examples, _, _, height, width = images.shape
        weight = ops.reshape(block[:, :, :-1], (members * outputs, self.inputs, self.kernel, self.kernel))
        bias = ops.reshape(block[:, :, -1], (-1,))
        side_by_side = ops.reshape(images, (examples, members * self.inputs, height, width))
        found = ops.conv2d(side_by_side, weight, bias, self.stride, pad_mode="same", groups=members)
        return ops.reshape(found, (examples, members, outputs, found.shape[2], found.shape[3]))


class StackedPooling(nn.Cell):
    """A pooling of images (B, K, channels, height, width), by its stock form."""

    def __init__(self, stock: nn.Cell) -> None:
        super().__init__()
        self.stock = stock

    def construct(self, images: Tensor) -> Tensor:
        examples, members, channels, height, width = images.shape
        found = self.stock(ops.reshape(images, (examples, members * channels, height, width)))
        return ops.reshape(found, (examples, members, channels, found.shape[2], found.shape[3]))


class StackedGroupNorm(nn.Cell):
    """Group normalisation of K members: gain and shift (K, 2, channels), images (B, K, channels, height, width)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def construct(self, block: Tensor, images: Tensor) -> Tensor:
        examples, members, channels, _, _ = images.shape
        grouped = ops.reshape(images, (examples, members, self.groups, -1))
        mean = grouped.mean(3, keep_dims=True)
        variance = ((grouped - mean) ** 2).mean(3, keep_dims=True)
        normal = ops.reshape((grouped - mean) / ops.sqrt(variance + GROUP_NORM_EPSILON), images.shape)
        gain = ops.reshape(block[:, 0], (1, members, channels, 1, 1))
        shift = ops.reshape(block[:, 1], (1, members, channels, 1, 1))
        return gain * normal + shift


class AddEarlier(nn.Cell):
    """Images plus earlier ones, which may have fewer channels, and twice as many rows and columns.

    Both are (B, channels, height, width), or with K behind B.
    """

    def __init__(self) -> None:
        super().__init__()
        # A slice with a stride has no gradient on a CPU.
        self.every_second = nn.AvgPool2d(1, 2)

    def construct(self, images: Tensor, earlier: Tensor) -> Tensor:
        total, added = (
            ops.reshape(images, (-1,) + images.shape[-3:]),
            ops.reshape(earlier, (-1,) + earlier.shape[-3:]),
        )
        if earlier.shape[-2:] != images.shape[-2:]:
            added = self.every_second(added)
        channels = earlier.shape[-3]
        if channels < images.shape[-3]:
            # Filling up by ops.pad has a wrong gradient within a loop (MindSpore 2.10).
            total = ops.concat((total[:, :channels] + added, total[:, channels:]), 1)
        else:
            total = total + added
        return ops.reshape(total, (-1,) + images.shape[1:])


class StackedGlobalAverage(nn.Cell):
    """The mean of each channel of images (B, K, channels, height, width), (K, channels + 1, B), the last row ones."""

    def construct(self, images: Tensor) -> Tensor:
        return with_row_of_ones(images.mean((3, 4)))


class StackedFlatten(nn.Cell):
    """Images (B, K, channels, height, width) as (K, units + 1, B), the last row ones."""

    def construct(self, images: Tensor) -> Tensor:
        return with_row_of_ones(ops.reshape(images, images.shape[:2] + (-1,)))


def with_row_of_ones(units: Tensor) -> Tensor:
    """Units (B, K, n) as (K, n + 1, B)."""
    rows = ops.transpose(units, (1, 2, 0))
    return ops.concat((rows, ops.ones((rows.shape[0], 1, rows.shape[2]), rows.dtype)), 1)
