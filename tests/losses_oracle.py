"""The losses as their papers write them, in float64 NumPy: the oracle of tests/test_losses_*.py.

Written from the log-probabilities of a plain log-sum-exp over the other classes, not from `lossfleet.losses.numerics`.
"""

from __future__ import annotations

import numpy as np


def logsumexp(values: np.ndarray, axis: int) -> np.ndarray:
    largest = values.max(axis, keepdims=True)
    return np.squeeze(largest, axis) + np.log(np.exp(values - largest).sum(axis))


def focal_of(log_rest: np.ndarray, log_true: np.ndarray, gamma: np.ndarray | float) -> np.ndarray:
    """-(1 - p_t)^gamma log p_t of log(1 - p_t) and log p_t."""
    return -np.exp(gamma * log_rest) * log_true


def softmax_logs(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p_c and log(1 - p_c) of every class, (N, C, ...): the first from the odds, so that both tails are exact."""
    logits = np.asarray(logits, np.float64)
    classes = logits.shape[1]
    odds = [logsumexp(np.delete(logits, c, 1), 1) - logits[:, c] for c in range(classes)]
    odds = np.stack(odds, 1)
    return -np.logaddexp(0, odds), -np.logaddexp(0, -odds)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.moveaxis(np.eye(classes)[labels], -1, 1)


def padded(values: np.ndarray | float, axes: int) -> np.ndarray:
    """Values over leading axes, padded with axes of 1 on the right."""
    values = np.asarray(values, np.float64)
    return values.reshape(values.shape + (1,) * (axes - values.ndim))


def softmax_focal(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    gamma: np.ndarray | float = 0.0,
    class_weight: np.ndarray | None = None,
    label_smoothing: np.ndarray | float = 0.0,
    ignore_index: int | None = None,
) -> np.ndarray:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    classes, ignored = logits.shape[1], None
    if labels.ndim < logits.ndim:
        ignored = labels == ignore_index
        labels = one_hot(np.where(ignored, 0, labels), classes)
    smoothing = np.expand_dims(padded(label_smoothing, logits.ndim - 1), 1)
    labels = labels * (1 - smoothing) + smoothing / classes
    log_true, log_rest = softmax_logs(logits)
    losses = labels * focal_of(log_rest, log_true, np.expand_dims(padded(gamma, logits.ndim - 1), 1))
    if class_weight is not None:
        losses = losses * np.asarray(class_weight).reshape((-1, classes) + (1,) * (logits.ndim - 2))
    losses = losses.sum(1)
    return losses if ignored is None else np.where(ignored, 0.0, losses)


def of_classes(values: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Numbers (C,) or (N, C) as they broadcast with logits (N, C, ...)."""
    values = np.asarray(values, np.float64)
    return values.reshape((-1, logits.shape[1]) + (1,) * (logits.ndim - 2))


def with_class_axis(values: np.ndarray | float, logits: np.ndarray) -> np.ndarray:
    return np.expand_dims(padded(values, logits.ndim - 1), 1)


def vector_scaling(logits, labels, *, class_counts, gamma=0.0, tau=1.0, **others):  # type: ignore[no-untyped-def]
    counts = of_classes(class_counts, logits)
    scale = (counts / counts.max(1, keepdims=True)) ** with_class_axis(gamma, logits)
    offset = with_class_axis(tau, logits) * np.log(counts / counts.sum(1, keepdims=True))
    return softmax_focal(np.asarray(logits, np.float64) * scale + offset, labels, **others)


def ldam(logits, labels, *, class_counts, margin, scale, **others):  # type: ignore[no-untyped-def]
    counts = of_classes(class_counts, logits)
    margins = with_class_axis(margin, logits) * (counts / counts.min(1, keepdims=True)) ** -0.25
    adjusted = np.asarray(logits, np.float64) - margins * one_hot(labels, logits.shape[1])
    return softmax_focal(adjusted * with_class_axis(scale, logits), labels, **others)


def poly1(logits, labels, *, epsilon, gamma=0.0, label_smoothing=0.0, **others):  # type: ignore[no-untyped-def]
    focal = softmax_focal(logits, labels, gamma=gamma, label_smoothing=label_smoothing, **others)
    log_rest = softmax_logs(logits)[1]
    classes = logits.shape[1]
    share = one_hot(labels, classes) * (1 - label_smoothing) + label_smoothing / classes
    weight = of_classes(others["class_weight"], logits) if "class_weight" in others else 1.0
    error = np.exp((with_class_axis(gamma, logits) + 1) * log_rest)
    return focal + padded(epsilon, logits.ndim - 1) * (share * weight * error).sum(1)


def asymmetric(logits, labels, *, gamma_positive, gamma_negative, margin):  # type: ignore[no-untyped-def]
    logits, positive = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    log_p, log_rest = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    margin = padded(margin, logits.ndim)
    q = np.maximum(np.exp(log_p) - margin, 0)
    with np.errstate(divide="ignore"):
        log_of_rest = np.where(margin > 0, np.log1p(-np.minimum(q, 1 - 1e-300)), log_rest)
    of_no = -(q ** padded(gamma_negative, logits.ndim)) * log_of_rest
    of_yes = -np.exp(padded(gamma_positive, logits.ndim) * log_rest) * log_p
    return positive * of_yes + (1 - positive) * of_no


def sigmoid_focal(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    gamma: np.ndarray | float = 0.0,
    alpha: np.ndarray | float | None = None,
    label_smoothing: np.ndarray | float = 0.0,
    ignore_index: int | None = None,
) -> np.ndarray:
    def loss(signed: np.ndarray) -> np.ndarray:
        return focal_of(-np.logaddexp(0, signed), -np.logaddexp(0, -signed), padded(gamma, signed.ndim))

    return _mean_of_both(loss, logits, labels, alpha, label_smoothing, ignore_index)


def focal_star(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    gamma: np.ndarray | float,
    beta: np.ndarray | float = 0.0,
    alpha: np.ndarray | float | None = None,
    label_smoothing: np.ndarray | float = 0.0,
    ignore_index: int | None = None,
) -> np.ndarray:
    def loss(signed: np.ndarray) -> np.ndarray:
        steepness = padded(gamma, signed.ndim)
        return np.logaddexp(0, -(steepness * signed + padded(beta, signed.ndim))) / steepness

    return _mean_of_both(loss, logits, labels, alpha, label_smoothing, ignore_index)


def _mean_of_both(loss, logits, labels, alpha, label_smoothing, ignore_index):  # type: ignore[no-untyped-def]
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    ignored = labels == ignore_index
    smoothing = padded(label_smoothing, logits.ndim)
    positive = np.where(ignored, 0, labels) * (1 - smoothing) + smoothing / 2
    weight, other_weight = (
        (1.0, 1.0) if alpha is None else (padded(alpha, logits.ndim), 1 - padded(alpha, logits.ndim))
    )
    losses = positive * weight * loss(logits) + (1 - positive) * other_weight * loss(-logits)
    return np.where(ignored, 0.0, losses)
