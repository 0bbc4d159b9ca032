"""Probabilities and whether they can be believed, of many members at once: (..., C, N) and labels (..., N).

Where examples have weights, `sample_weight` (..., N) is at least 0, and results are those of examples that are there as
often as they weigh; None counts all alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

CALIBRATION_BINS = 15
COLDEST, HOTTEST = 0.01, 100.0
# Halvings of the range of log T, to about 1e-11.
HALVINGS = 40


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities exp(x_c) / sum_k exp(x_k).

    Args:
        logits: (..., C, N) floats.

    Returns:
        (..., C, N) float64, each column adding up to 1.
    """
    powers = np.exp(np.subtract(logits, logits.max(axis=-2, keepdims=True), dtype=np.float64))
    return powers / powers.sum(axis=-2, keepdims=True)


class Reliability(NamedTuple):
    """Each bin's examples, or the sum of their weights, share of right predictions and mean confidence, (..., 15).

    NaN in empty bins.
    """

    examples: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> Reliability:
    """The reliability diagram of the predicted class.

    Bin b of 15 holds the examples whose largest probability is in ((b-1)/15, b/15].

    Args:
        probabilities: (..., C, N) in [0, 1].
        labels: (..., N) integers in 0..C-1.
        sample_weight: (..., N).

    Reference: Guo et al. 2017, arXiv 1706.04599.
    """
    return _binned(probabilities.max(axis=-2), probabilities.argmax(axis=-2) == labels, sample_weight)


def _binned(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray | None) -> Reliability:
    """The reliability of confidences (..., N), each of which is right or not; weights extend to this shape."""
    leading = confidence.shape[:-1]
    member = np.arange(math.prod(leading)).reshape(*leading, 1)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    cell = (member * CALIBRATION_BINS + bins).ravel()

    def total(values: np.ndarray | None) -> np.ndarray:
        if weights is not None:
            values = np.broadcast_to(weights, confidence.shape) * (1 if values is None else values)
        own = None if values is None else values.ravel()
        sums = np.bincount(cell, weights=own, minlength=member.size * CALIBRATION_BINS)
        return sums.reshape(*leading, CALIBRATION_BINS)

    count = total(None)
    share = np.divide(1.0, count, out=np.full(count.shape, np.nan), where=count > 0)
    return Reliability(count, total(right) * share, total(confidence) * share)


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Expected calibration error of the predicted class.

    ECE = sum_b n_b / N |accuracy_b - confidence_b| over the bins of `reliability`.

    Args:
        probabilities: (..., C, N) in [0, 1].
        labels: (..., N) integers in 0..C-1.
        sample_weight: (..., N).

    Returns:
        (...) float64 in [0, 1].

    Reference: Guo et al. 2017, arXiv 1706.04599.
    """
    return _error(reliability(probabilities, labels, sample_weight))


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Calibration error of the probability of each class, whether or not it is the largest.

    sum_b n_b / N |share of the class_b - mean p_b| over 15 bins of p, those of `reliability`.

    Args:
        probabilities: (..., C, N) in [0, 1].
        labels: (..., N) integers in 0..C-1.
        sample_weight: (..., N).

    Returns:
        (..., C) float64 in [0, 1].

    Reference: Kull et al. 2019, arXiv 1910.12656 (classwise-ECE).
    """
    weights = None if sample_weight is None else sample_weight[..., None, :]
    return _error(_binned(probabilities, one_hot(labels, probabilities.shape[-2]), weights))


def classwise_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Mean over the classes of `calibration_error`, (...) float64 in [0, 1]."""
    return calibration_error(probabilities, labels, sample_weight).mean(axis=-1)


def _error(bins: Reliability) -> np.ndarray:
    """By how much confidence is off, the mean over the examples of all bins."""
    examples, accuracy, confidence = bins
    return np.nansum(examples * np.abs(accuracy - confidence), axis=-1) / examples.sum(axis=-1)


def weighted_mean(values: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """The mean of values (..., N) over the examples, (...)."""
    if sample_weight is None:
        return values.mean(axis=-1)
    return (values * sample_weight).sum(axis=-1) / sample_weight.sum(axis=-1)


def log_loss(
    probabilities: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Mean of -log p at the label, with p at least the smallest step of a float64 at 1, as scikit-learn has it.

    Args:
        probabilities: (..., C, N) in [0, 1].
        labels: (..., N) integers in 0..C-1.
        sample_weight: (..., N).

    Returns:
        (...) float64, in nats.
    """
    at_label = np.take_along_axis(probabilities, labels[..., None, :], axis=-2)[..., 0, :]
    return -weighted_mean(np.log(at_label.clip(min=np.finfo(np.float64).eps)), sample_weight)


def brier_score(
    probabilities: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Brier score of all classes, mean over examples of sum_c (p_c - [label = c])^2.

    With two classes it is twice the score of one class alone.

    Args:
        probabilities: (..., C, N) in [0, 1].
        labels: (..., N) integers in 0..C-1.
        sample_weight: (..., N).

    Returns:
        (...) float64 in [0, 2].

    Reference: Brier 1950 (Monthly Weather Review 78).
    """
    error = probabilities - one_hot(labels, probabilities.shape[-2])
    return weighted_mean((error * error).sum(axis=-2), sample_weight)


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """The temperature T that minimises each member's log-loss, mean of -log softmax(x / T) at the label.

    The loss is convex in 1 / T, with the slope mean(sum_c p_c x_c - x_label), so halving finds its root.

    Args:
        logits: (..., C, N) finite floats, of examples that were not trained on.
        labels: (..., N) integers in 0..C-1.
        sample_weight: (..., N).

    Returns:
        (...) float64 in [0.01, 100]; an end of the range where the loss still falls there, as it does where
        every prediction is right.

    Reference: Guo et al. 2017, arXiv 1706.04599.
    """
    logits = logits - logits.max(axis=-2, keepdims=True)
    of_label = np.take_along_axis(logits, labels[..., None, :], axis=-2)[..., 0, :]
    at_label = weighted_mean(of_label, sample_weight)
    low = np.full(labels.shape[:-1], -math.log(HOTTEST))
    high = np.full(labels.shape[:-1], -math.log(COLDEST))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        probabilities = softmax(np.exp(middle)[..., None, None] * logits)
        rises = weighted_mean((probabilities * logits).sum(axis=-2), sample_weight) > at_label
        low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    return np.exp(-(low + high) / 2)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (..., N) as (..., classes, N) bool."""
    return labels[..., None, :] == np.arange(classes)[:, None]
