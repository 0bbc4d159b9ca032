"""Layers of images by their definitions in float64, and models of them."""

from __future__ import annotations

import numpy as np

from lossfleet.runners.models.images import (
    AveragePool,
    Convolution,
    Flatten,
    GlobalAverage,
    GroupNorm,
    Image,
    MaxPool,
)
from lossfleet.runners.models.layers import GELU, Dense, Dropout, Layer, LayerNorm, ReLU
from lossfleet.runners.models.shortcuts import Shortcut

CLASSES = 11
# Odd sizes, all kernels and strides, channels that are no multiple of four, what has no weights first and last.
IMAGE_MODELS: dict[str, list[Layer]] = {
    "flattened": [Image(1, 7, 5), Flatten(), Dense(35, CLASSES)],
    "pooled": [
        *(Image(1, 7, 5), Convolution(1, 3), ReLU(), MaxPool(), Dropout(0.3)),
        *(Convolution(3, 5, kernel=5), GELU(), Flatten(), Dense(30, CLASSES)),
    ],
    "strided": [
        *(
            Image(3, 7, 5),
            Convolution(3, 6, stride=2),
            GroupNorm(2, 6),
            ReLU(),
            Convolution(6, 4, 5, stride=2),
        ),
        *(AveragePool(), GlobalAverage(), Dense(4, CLASSES), LayerNorm(CLASSES)),
    ],
    "normalised image": [
        *(Image(3, 4, 6), Dropout(0.2), GroupNorm(3, 3), AveragePool(), Convolution(3, 7, stride=2)),
        *(Convolution(7, 2, kernel=5), GroupNorm(1, 2), Flatten(), Dense(4, CLASSES)),
    ],
    "mixed channels": [
        *(Image(3, 4, 5), Convolution(3, 9, kernel=1), ReLU(), Convolution(9, 2, kernel=1, stride=2)),
        *(Flatten(), Dense(12, CLASSES)),
    ],
    "image of units": [
        *(
            Dense(7, 48),
            Image(2, 4, 6),
            MaxPool(),
            Convolution(2, 5, 5, 2),
            GlobalAverage(),
            Dense(5, CLASSES),
        ),
    ],
    # Within each other, past dropouts, of an odd size, of more channels, of an image that no parameters come before.
    "shortcuts": [
        *(Image(2, 7, 5), Dropout(0.2), Convolution(2, 3), Shortcut(2), ReLU()),
        *(Convolution(3, 5, stride=2), ReLU(), Dropout(0.3), Convolution(5, 5), Shortcut(3), Shortcut(6)),
        *(ReLU(), Flatten(), Dense(60, CLASSES)),
    ],
}


def image_layer(layer: Layer, x: np.ndarray, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """What a layer makes of examples (B, ...) in float64; it is one of images."""
    examples = len(x)
    match layer:
        case Image():
            return x.reshape(examples, layer.channels, layer.height, layer.width)
        case Flatten():
            return x.reshape(examples, -1)
        case Convolution():
            return convolution(x, *arrays, layer.stride)
        case MaxPool():
            return windows(x).max((4, 5))
        case AveragePool():
            return windows(x).mean((4, 5))
        case GlobalAverage():
            return x.mean((2, 3))
        case GroupNorm():
            groups = x.reshape(examples, layer.groups, -1)
            normal = groups - groups.mean(2, keepdims=True)
            normal /= np.sqrt(groups.var(2, keepdims=True) + 1e-5)
            gain, shift = (each.astype(float)[:, None, None] for each in arrays)
            return gain * normal.reshape(x.shape) + shift
    raise AssertionError(f"{layer} has no definition here")


def shortcut(x: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """The sum with every pixel, or every second one, of an earlier image, whose further channels are 0."""
    step = -(-earlier.shape[2] // x.shape[2])
    outside = [(0, 0), (0, x.shape[1] - earlier.shape[1]), (0, 0), (0, 0)]
    return x + np.pad(earlier[:, :, ::step, ::step], outside)


def windows(x: np.ndarray) -> np.ndarray:
    """The 2 x 2 windows of images, (B, C, height // 2, width // 2, 2, 2)."""
    return np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3))[:, :, ::2, ::2]


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """The sum over the window of each output, of an image that is padded with zeros."""
    kernel = weight.shape[2]
    outside = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]]
    padded = np.pad(x, [(0, 0), (0, 0), *((each // 2, each - each // 2) for each in outside)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))[
        :, :, ::stride, ::stride
    ]
    return np.einsum("bircuv,oiuv->borc", seen, weight.astype(float)) + bias.astype(float)[:, None, None]
