"""The losses of the papers in float64 NumPy: what the tests of losses/ compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def margins(logits: np.ndarray) -> np.ndarray:
    """log((1 - p_c) / p_c) of every class c on axis 1, exact in both tails."""
    logits = logits.astype(np.float64)
    classes = logits.shape[1]
    rivals = [np.delete(logits, c, axis=1) for c in range(classes)]
    return np.stack([np.logaddexp.reduce(rivals[c], axis=1) - logits[:, c] for c in range(classes)], axis=1)


def focal_of_margin(margin: np.ndarray, gamma: float) -> np.ndarray:
    """(1 - p_t)^gamma (-log p_t)."""
    return np.exp(-gamma * np.logaddexp(0, -margin)) * np.logaddexp(0, margin)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Indices (N, ...) as (N, C, ...)."""
    return np.moveaxis(np.eye(classes)[labels], -1, 1)


def softmax_focal(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    gamma: float = 0.0,
    class_weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """sum_c y_c w_c (1 - p_c)^gamma (-log p_c), gamma = 0 being cross-entropy."""
    classes = logits.shape[1]
    soft = labels if labels.ndim == logits.ndim else one_hot(labels, classes)
    soft = soft * (1 - label_smoothing) + label_smoothing / classes
    if class_weight is not None:
        soft = soft * np.asarray(class_weight, np.float64).reshape((1, -1) + (1,) * (logits.ndim - 2))
    return (soft * focal_of_margin(margins(logits), gamma)).sum(1)


def expected_over_labels(
    of_margin: Callable[[np.ndarray], np.ndarray],
    logits: np.ndarray,
    labels: np.ndarray,
    alpha: float | None,
    label_smoothing: float,
) -> np.ndarray:
    """y alpha loss(-x) + (1 - y) (1 - alpha) loss(x), of functions of the margin."""
    logits = logits.astype(np.float64)
    soft = labels * (1 - label_smoothing) + label_smoothing / 2
    one, zero = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return soft * one * of_margin(-logits) + (1 - soft) * zero * of_margin(logits)


def sigmoid_focal(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    gamma: float = 0.0,
    alpha: float | None = None,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """alpha_t (1 - p_t)^gamma (-log p_t), gamma = 0 being cross-entropy."""

    def of_margin(margin: np.ndarray) -> np.ndarray:
        return focal_of_margin(margin, gamma)

    return expected_over_labels(of_margin, logits, labels, alpha, label_smoothing)


def focal_star(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    gamma: float,
    beta: float = 0.0,
    alpha: float | None = None,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """-log sigmoid(gamma x_t + beta) / gamma."""

    def of_margin(margin: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, gamma * margin - beta) / gamma

    return expected_over_labels(of_margin, logits, labels, alpha, label_smoothing)


def derivative(
    function: Callable[[np.ndarray], np.ndarray], point: np.ndarray, direction: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """The derivative of a function of an array in a direction, by central differences of fourth order."""
    near = function(point + step * direction) - function(point - step * direction)
    far = function(point + 2 * step * direction) - function(point - 2 * step * direction)
    return (8 * near - far) / (12 * step)


def gradient(function: Callable[[np.ndarray], np.ndarray], point: np.ndarray) -> np.ndarray:
    """The gradient of the sum of a function, by finite differences."""
    slope = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        direction = np.zeros_like(point)
        direction[index] = 1
        slope[index] = derivative(lambda at: function(at).sum(), point, direction)
    return slope
