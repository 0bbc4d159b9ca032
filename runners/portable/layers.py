"""What each kind of layer does in prediction, for the members of a model at once, in NumPy.

Outputs are (members, rows, units), of images (members, rows, channels, height, width); before the first layer with
weights they are those of one member for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

NORM_EPSILON = np.float32(1e-5)


def network(
    layers: Sequence[str | Mapping[str, Any]], weights: Mapping[str, np.ndarray], features: np.ndarray
) -> np.ndarray:
    """What all layers make of features (N, F), for each member: (members, N, outputs) float32.

    Args:
        layers: of each its kind, or a mapping with `kind` and its numbers, as `model.json` has it.
        weights: `<n>.weight` and `<n>.bias` of layer n, if it has any.
        features: float32.
    """
    told: list[Mapping[str, Any]] = [{"kind": each} if isinstance(each, str) else each for each in layers]
    sources = {
        place: place - layer["layers"] for place, layer in enumerate(told) if layer["kind"] == "shortcut"
    }
    outputs, kept = features[None], {}
    for place, layer in enumerate(told):
        if place in sources.values():
            kept[place] = outputs
        if place in sources:
            outputs = shortcut(outputs, kept[sources[place]])
        else:
            weight, bias = (weights.get(f"{place}.{name}") for name in ("weight", "bias"))
            outputs = forward(layer, weight, bias, outputs)
    return outputs


def log_of_mean(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the mean probabilities (K, N, C) that networks with logits (K, M, N, C) give, float32."""
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = (powers / powers.sum(axis=-1, keepdims=True)).mean(axis=1)
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)).astype(np.float32)


def forward(
    layer: Mapping[str, Any], weight: np.ndarray | None, bias: np.ndarray | None, outputs: np.ndarray
) -> np.ndarray:
    """What a layer makes of the outputs of the one before it; it is no shortcut.

    Args:
        layer: a mapping with `kind` and its numbers.
        weight, bias: of the members, None where it has none; of a normalisation gain and shift.
        outputs: float32.
    """
    numbers = dict(layer)
    kind = numbers.pop("kind")
    if weight is None:
        return PLAIN[kind](outputs, **numbers)
    return WEIGHTED[kind](outputs, weight, bias, **numbers)


def dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    outputs = np.matmul(x, weight.transpose(0, 2, 1))
    outputs += bias[:, None]
    return outputs


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, stride: int) -> np.ndarray:
    """With so many rows and columns of zeros around that the output has ceil(size / stride)."""
    kernel = weight.shape[-1]
    height, width = (-(-size // stride) for size in x.shape[3:])
    outside = [
        max((size - 1) * stride + kernel - inputs, 0)
        for size, inputs in zip((height, width), x.shape[3:], strict=True)
    ]
    x = np.pad(x, [(0, 0)] * 3 + [(each // 2, each - each // 2) for each in outside])
    outputs = np.zeros((len(weight), x.shape[1], weight.shape[1], height * width), np.float32)
    for row in range(kernel):
        for column in range(kernel):
            rows = slice(row, row + (height - 1) * stride + 1, stride)
            columns = slice(column, column + (width - 1) * stride + 1, stride)
            seen = x[:, :, :, rows, columns].reshape(*x.shape[:3], -1)
            outputs += np.matmul(weight[:, None, :, :, row, column], seen)
    outputs += bias[:, None, :, None]
    return outputs.reshape(*outputs.shape[:3], height, width)


def scale(x: np.ndarray, weight: np.ndarray, bias: None) -> np.ndarray:
    return weight[:, None] * x


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return weight[:, None] * normal(x) + bias[:, None]


def group_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, groups: int) -> np.ndarray:
    grouped = normal(x.reshape(*x.shape[:2], groups, -1)).reshape(x.shape)
    return weight[:, None, :, None, None] * grouped + bias[:, None, :, None, None]


def normal(x: np.ndarray) -> np.ndarray:
    """Brought to mean 0 and variance 1 along the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + NORM_EPSILON)


def gelu(x: np.ndarray) -> np.ndarray:
    root, cubic = np.float32(np.sqrt(2 / np.pi)), np.float32(0.044715)
    return x * (1 + np.tanh(root * (x + cubic * x * x * x))) / 2


def windows(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The four pixels of each 2 x 2; of an odd size the last row or column is left out."""
    x = x[..., : x.shape[3] // 2 * 2, : x.shape[4] // 2 * 2]
    return tuple(x[..., row::2, column::2] for row in (0, 1) for column in (0, 1))


def max_pool(x: np.ndarray) -> np.ndarray:
    a, b, c, d = windows(x)
    return np.maximum(np.maximum(a, b), np.maximum(c, d))


def average_pool(x: np.ndarray) -> np.ndarray:
    a, b, c, d = windows(x)
    return ((a + b) + (c + d)) / 4


def shortcut(x: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """x plus an earlier image, of whose pixels every second one is taken where it has more."""
    step = 1 if earlier.shape[3:] == x.shape[3:] else 2
    channels = earlier.shape[2]
    added = x[:, :, :channels] + earlier[:, :, :, ::step, ::step]
    return np.concatenate([added, x[:, :, channels:]], axis=2)


PLAIN: dict[str, Callable[..., np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": gelu,
    "image": lambda x, *, shape: x.reshape(*x.shape[:2], *shape),
    "flatten": lambda x: x.reshape(*x.shape[:2], -1),
    "global_average": lambda x: x.mean((3, 4)),
    "max_pool": max_pool,
    "average_pool": average_pool,
}
WEIGHTED: dict[str, Callable[..., np.ndarray]] = {
    "dense": dense,
    "convolution": convolution,
    "layer_norm": layer_norm,
    "scale": scale,
    "group_norm": group_norm,
}
