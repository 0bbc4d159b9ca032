"""Stacked layers: K small models as one batched model, in the layout that CPU kernels are fast at.

Activations are (K, width, B), the batch last; weights are (K, out, in + 1), the last column being the bias,
met by a row of ones under the activations. Adding a bias by broadcasting costs three times as much as the
longer matrix product (measured: 0.22 ms against 0.01 ms at 256 x 32 x 64).
"""

from __future__ import annotations

from itertools import pairwise

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from conf.schema import Model
from runners.initial import Parameters


class StackedInputLayer(nn.Cell):
    """weight (K, out, in + 1) times examples (K, B, in + 1), rows as they lie in the data: (K, out, B)."""

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, weight: Tensor, examples: Tensor) -> Tensor:
        return self.product_transposed(weight, examples)

    # The built-in gradient of BatchMatMul transposes in memory, which takes ten times the product.
    def bprop(self, weight: Tensor, examples: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return self.product(dout, examples), examples


class StackedLayer(nn.Cell):
    """weight (K, out, in + 1) times activations (K, in + 1, B): (K, out, B)."""

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()
        self.product_first_transposed = ops.BatchMatMul(transpose_a=True)
        self.product_second_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, weight: Tensor, activations: Tensor) -> Tensor:
        return self.product(weight, activations)

    def bprop(self, weight: Tensor, activations: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        return (
            self.product_second_transposed(dout, activations),
            self.product_first_transposed(weight, dout),
        )


class StackedMLP(nn.Cell):
    """K multilayer perceptrons with ReLU and, if asked, dropout by masks that come as data.

    All parameters of a member lie in one row of a (K, P) buffer, so that the optimizer is one update.
    """

    def __init__(self, model: Model, features: int, classes: int, members: int) -> None:
        super().__init__()
        sizes = (features, *model.widths, classes)
        self.shapes = tuple((members, out, inputs + 1) for inputs, out in pairwise(sizes))
        ends = np.cumsum([out * inputs for _, out, inputs in self.shapes]).tolist()
        self.slices = tuple(pairwise([0, *ends]))
        self.members = members
        self.layers = len(self.shapes)
        self.mask_slices = tuple(pairwise([0, *np.cumsum(model.widths).tolist()]))
        self.has_dropout = model.dropout > 0
        self.input_layer = StackedInputLayer()
        self.layer = StackedLayer()

    @property
    def size(self) -> int:
        """P, the number of parameters of a member."""
        return self.slices[-1][1]

    def split(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """The weights (K, out, in + 1) of the layers in a buffer (K, P)."""
        weights: tuple[Tensor, ...] = ()
        for index in range(self.layers):
            start, end = self.slices[index]
            weights += (ops.reshape(parameters[:, start:end], self.shapes[index]),)
        return weights

    def join(self, weights: tuple[Tensor, ...]) -> Tensor:
        """The buffer (K, P) of the layers' weights, the inverse of `split`."""
        rows: tuple[Tensor, ...] = ()
        for index in range(self.layers):
            rows += (ops.reshape(weights[index], (self.members, -1)),)
        return ops.concat(rows, 1)

    def construct(self, weights: tuple[Tensor, ...], examples: Tensor, ones: Tensor, masks: Tensor) -> Tensor:
        """Logits (K, C, B).

        Args:
            weights: as `split` gives them.
            examples: (K, B, features + 1), the last feature 1.
            ones: (K, 1, B) of ones.
            masks: (K, sum of widths, B), 0 or 1 / (1 - dropout); not read without dropout.
        """
        outputs = self.input_layer(weights[0], examples)
        for index in range(1, self.layers):
            hidden = ops.relu(outputs)
            if self.has_dropout:
                start, end = self.mask_slices[index - 1]
                hidden = hidden * masks[:, start:end]
            outputs = self.layer(weights[index], ops.concat((hidden, ones), 1))
        return outputs


def log1p(x: Tensor) -> Tensor:
    """log(1 + x) for x > -1 to the last digits: MindSpore's own is log of the rounded 1 + x on a CPU.

    Reference: Kahan, as in Goldberg 1991, What every computer scientist should know (theorem 4).
    """
    rounded = 1.0 + x
    return ops.select(rounded == 1.0, x, ops.log(rounded) * x / (rounded - 1.0))


def flatten_parameters(parameters: Parameters) -> np.ndarray:
    """A member's row (P,) of the buffer, from weights (out, in) and biases (out,)."""
    return np.concatenate([np.column_stack([weight, bias]).ravel() for weight, bias in parameters])


def with_ones(features: np.ndarray) -> np.ndarray:
    """Features (N, F) with a last column of ones, float32."""
    return np.column_stack([features, np.ones(len(features))]).astype(np.float32)


class StackedSlope(nn.Cell):
    """Loss and slope of K members' weighted focal loss in closed form, gamma 0 being cross-entropy.

    loss = -q^gamma log p_t, slope_j = d loss / d logit_j = q^gamma (1 - gamma p_t log(p_t) / q) (p_j - y_j)
    with q = 1 - p_t summed from the other classes, so that it is exact where p_t rounds to 1.
    `losses.softmax_focal_loss` is the definition and the test's oracle; the closed form spares the backward
    graph, and sums over classes are matrix products, since reductions cost ten times as much.
    """

    def __init__(self, members: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.ones = Tensor(np.ones((members, 1, classes), np.float32))
        self.product = ops.BatchMatMul()
        self.smallest = float(np.finfo(np.float32).tiny)

    def construct(self, logits: Tensor, one_hot: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (K, 1, B) and slopes (K, C, B).

        Args:
            logits: (K, C, B).
            one_hot: (K, C, B), 1 at the label.
            gamma: (K, 1, B).
        """
        largest = ops.expand_dims(ops.reduce_max(logits, 1), 1)
        shifted = logits - ops.tile(largest, (1, self.classes, 1))
        exponentials = ops.exp(shifted)
        of_label = self.product(self.ones, exponentials * one_hot)
        of_others = self.product(self.ones, exponentials * (1.0 - one_hot))
        shifted_of_label = self.product(self.ones, shifted * one_hot)
        # of_label is 1 where the label has the largest logit: log1p keeps the digits of small others.
        surprise = log1p((of_label - 1.0) + of_others) - shifted_of_label
        reciprocal = 1.0 / (of_label + of_others)
        # Below the smallest normal number the logarithm would be -inf, and gamma 0 times it NaN.
        rest = ops.maximum(of_others * reciprocal, self.smallest)
        modulation = ops.exp(gamma * ops.log(rest))
        coefficient = modulation * (1.0 + gamma * of_label * reciprocal * surprise / rest)
        probabilities = exponentials * ops.tile(reciprocal, (1, self.classes, 1))
        # p_t - 1 is taken as -q: the difference would round to 0 for confident predictions.
        distance = probabilities * (1.0 - one_hot) - one_hot * ops.tile(
            of_others * reciprocal, (1, self.classes, 1)
        )
        return modulation * surprise, ops.tile(coefficient, (1, self.classes, 1)) * distance


def to_tensor(values: np.ndarray) -> Tensor:
    """A float32 or int32 Tensor of the values."""
    values = np.ascontiguousarray(values)
    return Tensor(values, ms.int32 if values.dtype.kind == "i" else ms.float32)
