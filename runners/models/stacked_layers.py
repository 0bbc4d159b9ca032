"""The stacked forms of layers: what K members compute as one, see layers.py."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

LAYER_NORM_EPSILON = 1e-5


class StackedDense(nn.Cell):
    """Dense layers of K members: (K, out, in + 1) times (K, in + 1, B).

    The gradient is written out: MindSpore's transposes in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_of_transposed = ops.BatchMatMul(transpose_a=True)
        self.product_with_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, weight: Tensor, inputs: Tensor) -> Tensor:
        return self.product(weight, inputs)

    def bprop(self, weight: Tensor, inputs: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return self.product_with_transposed(dout, inputs), self.product_of_transposed(weight, dout)


class StackedDenseOfExamples(nn.Cell):
    """The first dense layers of K members: (K, out, in + 1) times examples (K, B, in + 1), which have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_with_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, weight: Tensor, examples: Tensor) -> Tensor:
        return self.product_with_transposed(weight, examples)

    def bprop(self, weight: Tensor, examples: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return self.product(dout, examples), ops.zeros_like(examples)


class Product(nn.Cell):
    """Activations times masks (K, units + 1, B), which have no gradient."""

    def construct(self, activations: Tensor, masks: Tensor) -> Tensor:
        return activations * self.as_activations(masks, activations)

    def bprop(self, activations: Tensor, masks: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return dout * self.as_activations(masks, activations), ops.zeros_like(masks)

    def as_activations(self, masks: Tensor, activations: Tensor) -> Tensor:
        """In the shape of activations, which may be images."""
        if activations.ndim == 3:
            return masks
        return ops.reshape(ops.transpose(masks[:, :-1], (2, 0, 1)), activations.shape)


class StackedGELU(nn.Cell):
    """GELU of images, or of activations (K, width + 1, B), whose last row stays ones."""

    def construct(self, activations: Tensor) -> Tensor:
        if activations.ndim == 5:
            return ops.gelu(activations, approximate="tanh")
        return ops.concat((ops.gelu(activations[:, :-1], approximate="tanh"), activations[:, -1:]), 1)


class StackedLayerNorm(nn.Cell):
    """Layer normalisation of K members: weights (K, 2, units + 1) and activations (K, units + 1, B).

    Weights (K, 2, units) are those of a last layer, whose outputs have no row of ones.
    """

    def __init__(self, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first

    def construct(self, weight: Tensor, activations: Tensor) -> Tensor:
        if self.is_first:
            activations = ops.transpose(activations, (0, 2, 1))
        units = activations[:, :-1]
        mean = units.mean(1, keep_dims=True)
        variance = ((units - mean) ** 2).mean(1, keep_dims=True)
        rows = activations[:, : weight.shape[2]]
        normal = (rows - mean) / ops.sqrt(variance + LAYER_NORM_EPSILON)
        return ops.expand_dims(weight[:, 0], 2) * normal + ops.expand_dims(weight[:, 1], 2)


class StackedScale(nn.Cell):
    """Factors of K members, (K, units + 1, 1) or of a last layer (K, units, 1), times activations (K, units + 1, B)."""

    def __init__(self, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first

    def construct(self, weight: Tensor, activations: Tensor) -> Tensor:
        if self.is_first:
            activations = ops.transpose(activations, (0, 2, 1))
        return weight * activations[:, : weight.shape[1]]


class StockScale(nn.Cell):
    """A factor for each unit of examples (B, units)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.weight = Parameter(ops.ones((units,), ms.float32), name="weight")

    def construct(self, examples: Tensor) -> Tensor:
        return examples * self.weight
