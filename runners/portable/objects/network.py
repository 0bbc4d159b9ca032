"""What a detector says of images in NumPy, for the members of a model at once.

Images and levels of a pyramid are (members, images, channels, rows, columns).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..layers import convolution, dense
from .regions import level_of, shares

Weights = Mapping[str, np.ndarray]


def layer_names(stages: int, levels: int, depth: int, dense: int = 0) -> list[str]:
    """The names of a detector's layers, of which weights have `<name>.weight` and `<name>.bias`, in their order.

    Args:
        stages: of the body, each of which halves the image.
        levels: of the pyramid.
        depth: the convolutions of a head before its last.
        dense: the layers of the second stage, 0 without one.
    """
    counts = {"body": stages, "lateral": levels, "classes": depth + 1, "boxes": depth + 1, "dense": dense}
    return [f"{name}.{number}" for name, count in counts.items() for number in range(count)]


def pyramid(weights: Weights, images: np.ndarray) -> list[np.ndarray]:
    """The levels of the pyramid, the finest first, of standardised images (N, channels, height, width) float32."""
    x, stages = images[None], []
    for weight, bias in _layers(weights, "body"):
        x = np.maximum(convolution(x, weight, bias, stride=2), 0)
        stages.append(x)
    lateral = _layers(weights, "lateral")
    levels: list[np.ndarray] = []
    for (weight, bias), stage in zip(lateral[::-1], stages[::-1], strict=False):
        level = convolution(stage, weight, bias, stride=1)
        if levels:
            level += _doubled(levels[0], level.shape[3:])
        levels.insert(0, level)
    return levels


def head(weights: Weights, name: str, levels: Sequence[np.ndarray], numbers: int) -> np.ndarray:
    """What a head says of every anchor, (members, N, A, numbers), as `Anchors.boxes` orders them.

    Args:
        weights: of the members.
        name: `classes` or `boxes`.
        levels: of the pyramid.
        numbers: of an anchor.
    """
    *hidden, last = _layers(weights, name)
    of_levels = []
    for level in levels:
        for weight, bias in hidden:
            level = np.maximum(convolution(level, weight, bias, stride=1), 0)
        x = convolution(level, *last, stride=1)
        of_levels.append(x.transpose(0, 1, 3, 4, 2).reshape(*x.shape[:2], -1, numbers))
    return np.concatenate(of_levels, axis=2)


def classified(
    weights: Weights,
    levels: Sequence[np.ndarray],
    boxes: np.ndarray,
    *,
    strides: Sequence[int],
    cells: int,
    region_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What the second stage says of regions of one image.

    Args:
        weights: of the members.
        levels: of the image's pyramid, each (members, width, rows, columns).
        boxes: (R, 4), of the regions.
        strides: of the levels, in pixels of the image.
        cells, region_size: as `TwoStage` has them.

    Returns:
        Logits (members, R, C + 1), the last of no object, and deltas (members, R, 4), times `DELTA_SCALES`.
    """
    at = level_of(boxes, region_size, len(levels))
    features = np.empty((len(levels[0]), len(boxes), cells**2 * levels[0].shape[1]), np.float32)
    for number, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        left, top, right, bottom = boxes[at == number].T
        height, width = level.shape[2:]
        rows = shares(top, bottom, stride=stride, pixels=height, cells=cells)
        columns = shares(left, right, stride=stride, pixels=width, cells=cells)
        pooled = rows[None, :, None] @ level[:, None] @ columns[None, :, None].transpose(0, 1, 2, 4, 3)
        features[:, at == number] = pooled.transpose(0, 1, 3, 4, 2).reshape(
            *pooled.shape[:2], features.shape[2]
        )
    *hidden, last = _layers(weights, "dense")
    for weight, bias in hidden:
        features = np.maximum(dense(features, weight, bias), 0)
    x = dense(features, *last)
    return x[..., :-4], x[..., -4:]


def _layers(weights: Weights, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias of each layer that has this name."""
    count = sum(each.startswith(f"{name}.") and each.endswith(".weight") for each in weights)
    return [(weights[f"{name}.{number}.weight"], weights[f"{name}.{number}.bias"]) for number in range(count)]


def _doubled(x: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Each pixel twice in each direction, up to a size."""
    height, width = size
    return x.repeat(2, axis=3).repeat(2, axis=4)[:, :, :, :height, :width]
