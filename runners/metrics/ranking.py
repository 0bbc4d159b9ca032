"""Metrics of scores by their order alone: average precision, and the precision-recall curve."""

from __future__ import annotations

import numpy as np

from lossfleet.runners.metrics.calibration import one_hot
from lossfleet.runners.metrics.decisions import divide

RECALL_PERCENTS = np.arange(101)


def macro_average_precision(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of the average precisions of the classes that have labels, each class against the rest.

    Args:
        probabilities: (..., C, N) floats.
        labels: (..., N) integers in 0..C-1.

    Returns:
        (...) float64 in [0, 1].
    """
    return np.nanmean(average_precision(probabilities, labels), axis=-1)


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class against the rest.

    AP = sum_t (R_t - R_(t-1)) P_t over the distinct scores t from the highest: equal scores pass a threshold
    together, so their order does not matter.

    Args:
        scores: (..., C, N) floats, higher means more likely of class c.
        labels: (..., N) integers in 0..C-1.

    Returns:
        (..., C) float64; NaN for a class without labels.
    """
    hit, precision = _ranked(scores, one_hot(labels, scores.shape[-2]))
    return divide((precision * hit).sum(axis=-1), hit.sum(axis=-1), empty=np.nan)


def precision_at_recall(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """The interpolated precision-recall curve of one class against the rest.

    P(r) = max of precision_t over the distinct scores t whose recall_t is at least r, for r = 0, 0.01, ..., 1.

    Args:
        scores: (..., N) floats, higher means more likely positive.
        positive: (..., N) bool.

    Returns:
        (..., 101) float64, falling; NaN for a member without positives.

    Reference: Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, chapter 8.4.
    """
    examples = scores.shape[-1]
    hit, precision = _ranked(scores, positive)
    best_from = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    hits = np.cumsum(hit, axis=-1).reshape(-1, examples)
    # Whole numbers of hits: a recall of 0.29 in floats is not 29 of 100.
    needed = -(-hits[:, -1:] * RECALL_PERCENTS // 100)
    # One search for all members: each one's counts are lifted above those of the one before.
    lift = (examples + 1) * np.arange(len(hits))[:, None]
    position = np.searchsorted((hits + lift).ravel(), (needed + lift).ravel()).reshape(needed.shape)
    curve = best_from.ravel()[position]
    curve = np.where(hits[:, -1:] > 0, curve, np.nan)
    return curve.reshape(*scores.shape[:-1], len(RECALL_PERCENTS))


def _ranked(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who is positive from the highest score to the lowest, and the precision of each one's threshold."""
    examples = scores.shape[-1]
    order = np.argsort(-scores, axis=-1)
    ranked = np.take_along_axis(scores, order, axis=-1)
    hit = np.take_along_axis(positive, order, axis=-1)
    # Equal scores pass a threshold together, so all have the precision at the last position of their group.
    last_of_group = np.ones(scores.shape, bool)
    last_of_group[..., :-1] = ranked[..., :-1] != ranked[..., 1:]
    position = np.where(last_of_group, np.arange(examples), examples)
    position = np.minimum.accumulate(position[..., ::-1], axis=-1)[..., ::-1]
    precision = np.cumsum(hit, axis=-1) / np.arange(1, examples + 1)
    return hit, np.take_along_axis(precision, position, axis=-1)
