"""Softmax losses: cross-entropy and focal loss, one loss an example, class on axis 1."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

SMALLEST = float(np.finfo(np.float32).tiny)


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, -log p_t.

    Args:
        logits: (N, C, ...).
        labels: (N, ...) integers in 0..C-1.

    Returns:
        (N, ...) float32, one loss an example.
    """
    return _surprise_and_rest(logits, labels)[0]


def softmax_focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: Tensor | float, class_weight: Tensor | None = None
) -> Tensor:
    """Focal loss, -w_y (1 - p_t)^gamma log p_t.

    Args:
        logits: (N, C, ...).
        labels: (N, ...) integers in 0..C-1.
        gamma: at least 0.
        class_weight: (C,).

    Returns:
        (N, ...) float32, one loss an example.

    Reference:
        Lin et al., Focal loss for dense object detection, 2017, arXiv 1708.02002.
    """
    surprise, log_rest = _surprise_and_rest(logits, labels)
    losses = ops.exp(gamma * log_rest) * surprise
    return losses if class_weight is None else losses * class_weight[labels]


def _surprise_and_rest(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """-log p_t, and log(1 - p_t) summed from the other classes."""
    one_hot = ops.one_hot(labels, logits.shape[1], 1.0, 0.0, 1)
    largest = ops.stop_gradient(ops.amax(logits, 1, True))
    shifted = logits - largest
    exponentials = ops.exp(shifted)
    of_label = (exponentials * one_hot).sum(1)
    of_others = (exponentials * (1.0 - one_hot)).sum(1)
    total = of_label + of_others
    surprise = ops.log(total) - (shifted * one_hot).sum(1)
    return surprise, ops.log(ops.maximum(of_others, ms.Tensor(SMALLEST, ms.float32))) - ops.log(total)
