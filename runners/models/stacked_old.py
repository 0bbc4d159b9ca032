"""Stacked layers: K small models as one batched model, in the layout that CPU kernels are fast at.

Activations are (K, width + 1, B), the batch last; the last row is ones, so that the bias is a column of the
weights. Adding a bias by broadcasting costs three times as much as the longer matrix product (measured:
0.22 ms against 0.01 ms at 256 x 32 x 64). The row of ones comes from the layer before, whose last row of
weights is (0, ..., 0, 1) and is never updated: joining a row to the activations would copy them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from mindspore import Tensor, ops

from lossfleet.conf.schema import Model
from lossfleet.runners.models.initial import Parameters


class StackedMLP:
    """K multilayer perceptrons with ReLU and, if asked, dropout by masks that come as data.

    All parameters of a member lie in one row of a (K, P) buffer, so that the optimizer is one update. The
    gradient is written out: the built-in one of a batched product transposes in memory, which takes ten
    times the product.
    """

    def __init__(self, model: Model, features: int, classes: int, members: int) -> None:
        sizes = (features, *model.widths, classes)
        self.layers = len(sizes) - 1
        # A hidden layer has a further output, the ones that the next layer's bias meets.
        self.shapes = tuple(
            (members, out + (layer < self.layers - 1), inputs + 1)
            for layer, (inputs, out) in enumerate(pairwise(sizes))
        )
        ends = np.cumsum([out * inputs for _, out, inputs in self.shapes]).tolist()
        self.slices = tuple(pairwise([0, *ends]))
        self.members = members
        self.has_dropout = model.dropout > 0
        self.mask_slices = mask_slices(model)
        self.product = ops.BatchMatMul()
        self.product_of_transposed = ops.BatchMatMul(transpose_a=True)
        self.product_with_transposed = ops.BatchMatMul(transpose_b=True)
        self.relu_gradient = ops.auto_generate.ReluGrad()

    @property
    def size(self) -> int:
        """P, the length of a member's row of the buffer."""
        return self.slices[-1][1]

    def trainable(self) -> np.ndarray:
        """(P,) float32: 1 for parameters, 0 for the rows that only hand on the ones."""
        rows = []
        for layer, (_, out, inputs) in enumerate(self.shapes):
            block = np.ones((out, inputs), np.float32)
            if layer < self.layers - 1:
                block[-1] = 0
            rows.append(block.ravel())
        return np.concatenate(rows)

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

    def forward(
        self, weights: tuple[Tensor, ...], examples: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (K, C, B) and the activations (K, width + 1, B) of the hidden layers.

        Args:
            weights: as `split` gives them.
            examples: (K, B, features + 1), the last feature 1.
            masks: for dropout, (K, sum of widths + 1, B): 0 or 1 / (1 - dropout), and 1 for the rows of ones.
        """
        outputs = self.product_with_transposed(weights[0], examples)
        activations: tuple[Tensor, ...] = ()
        for index in range(1, self.layers):
            hidden = ops.relu(outputs)
            if self.has_dropout and masks is not None:
                start, end = self.mask_slices[index - 1]
                hidden = hidden * masks[:, start:end]
            activations += (hidden,)
            outputs = self.product(weights[index], hidden)
        return outputs, activations

    def gradient(
        self,
        slope: Tensor,
        weights: tuple[Tensor, ...],
        examples: Tensor,
        activations: tuple[Tensor, ...],
        masks: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The gradient (K, out, in + 1) of each layer's weights; that of the rows of ones means nothing.

        Args:
            slope: (K, C, B), the derivative of the loss by the logits.
            weights, examples, masks: as for `forward`.
            activations: what `forward` returned.
        """
        gradients: tuple[Tensor, ...] = ()
        for index in range(self.layers - 1, 0, -1):
            hidden = activations[index - 1]
            gradients = (self.product_with_transposed(slope, hidden), *gradients)
            slope = self.product_of_transposed(weights[index], slope)
            if self.has_dropout and masks is not None:
                start, end = self.mask_slices[index - 1]
                slope = slope * masks[:, start:end]
            slope = self.relu_gradient(slope, hidden)
        return (self.product(slope, examples), *gradients)


def mask_slices(model: Model) -> tuple[tuple[int, int], ...]:
    """Where the mask of each hidden layer lies among the rows of all masks, a row of ones behind each."""
    ends = np.cumsum([width + 1 for width in model.widths]).tolist()
    return tuple(pairwise([0, *ends]))


def flatten_parameters(parameters: Parameters) -> np.ndarray:
    """A member's row (P,) of the buffer, from weights (out, in) and biases (out,)."""
    blocks = [np.column_stack([weight, bias]) for weight, bias in parameters]
    hands_on = [np.eye(1, block.shape[1], block.shape[1] - 1, dtype=np.float32) for block in blocks[:-1]]
    hidden = [np.vstack(pair) for pair in zip(blocks[:-1], hands_on, strict=True)]
    return np.concatenate([block.ravel() for block in (*hidden, blocks[-1])])


def with_ones(features: np.ndarray) -> np.ndarray:
    """Features (N, F) with a last column of ones, float32."""
    return np.column_stack([features, np.ones(len(features), np.float32)]).astype(np.float32, copy=False)


def to_tensor(values: np.ndarray) -> Tensor:
    """A float32 or int32 Tensor of the values, which shares their memory where they are such an array."""
    kind = np.int32 if values.dtype.kind == "i" else np.float32
    return Tensor.from_numpy(np.ascontiguousarray(values, kind))


class StackedSlope:
    """Loss and slope of K members' weighted focal loss in closed form, gamma 0 being cross-entropy.

    loss = -q^gamma log p_t, slope_j = d loss / d logit_j = q^gamma (1 - gamma p_t log(p_t) / q) (p_j - y_j)
    with q = 1 - p_t summed from the other classes, so that it is exact where p_t rounds to 1.
    `losses.softmax_focal_loss` is the definition and the test's oracle; the closed form spares the backward
    graph, and sums over classes are matrix products, since reductions cost ten times as much.
    """

    def __init__(self, members: int, classes: int) -> None:
        self.ones = Tensor(np.ones((members, 1, classes), np.float32))
        self.product = ops.BatchMatMul()
        self.reciprocal = ops.Reciprocal()
        self.divide = ops.RealDiv()
        self.largest = ops.ReduceMax(keep_dims=True)
        self.smallest = float(np.finfo(np.float32).tiny)

    def losses(self, logits: Tensor, one_hot: Tensor, gamma: Tensor) -> tuple[Tensor, ...]:
        """Losses (K, 1, B), and what `slope` needs of the way there.

        Args:
            logits: (K, C, B).
            one_hot: (K, C, B), 1 at the label.
            gamma: (K, 1, B).
        """
        shifted = logits - self.largest(logits, 1)
        exponentials = ops.exp(shifted)
        at_label = exponentials * one_hot
        elsewhere = exponentials - at_label
        of_label = self.product(self.ones, at_label)
        of_others = self.product(self.ones, elsewhere)
        # of_label is 1 where the label has the largest logit: log1p keeps the digits of small others.
        beyond_one = (of_label - 1.0) + of_others
        surprise = log1p(beyond_one) - self.product(self.ones, shifted * one_hot)
        reciprocal = self.reciprocal(beyond_one + 1.0)
        # Below the smallest normal number the logarithm would be -inf, and gamma 0 times it NaN.
        rest = ops.maximum(of_others * reciprocal, self.smallest)
        modulation = ops.exp(gamma * ops.log(rest))
        p_label = of_label * reciprocal
        coefficient = modulation * reciprocal * (1.0 + self.divide(gamma * p_label * surprise, rest))
        return modulation * surprise, coefficient, elsewhere, of_others

    def slope(self, coefficient: Tensor, elsewhere: Tensor, of_others: Tensor, one_hot: Tensor) -> Tensor:
        """The slope (K, C, B), times whatever the coefficient (K, 1, B) was multiplied by."""
        # p_t - 1 is taken as -q: the difference would round to 0 for confident predictions.
        return coefficient * (elsewhere - one_hot * of_others)


def log1p(x: Tensor) -> Tensor:
    """log(1 + x) = 2 atanh(x / (2 + x)) for x > -1, which no compiler simplifies to the log of the rounded 1 + x."""
    return 2.0 * ops.atanh(ops.RealDiv()(x, 2.0 + x))
