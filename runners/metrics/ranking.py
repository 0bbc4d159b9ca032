"""Metrics of scores by their order alone: average precision, the area under the ROC curve, points of curves."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Interval

from lossfleet.runners.metrics.calibration import one_hot
from lossfleet.runners.metrics.decisions import divide

RECALL_PERCENTS = np.arange(101)
# So far a product of a float and a whole number may be above the whole number that it stands for.
ROUNDING = 1e-9


class Ranked(NamedTuple):
    """Examples from the highest score to the lowest, (..., N) each.

    hit: who is positive. hits, seen: how many positives and how many examples there are down to the threshold of each.
    Of examples with weights these are the weights of positives, and sums of weights.
    """

    hit: np.ndarray
    hits: np.ndarray
    seen: np.ndarray


def rank(probabilities: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None) -> Ranked:
    """The examples by the probability of each class, against the rest: what all metrics of the order are made of.

    Args:
        probabilities: (..., C, N) floats, or other scores, higher means more likely of class c.
        labels: (..., N) integers in 0..C-1.
        sample_weight: (..., N), at least 0; None counts all alike.

    Returns:
        (..., C, N) each.
    """
    weights = None if sample_weight is None else sample_weight[..., None, :]
    return _ranked(probabilities, one_hot(labels, probabilities.shape[-2]), weights)


def macro_average_precision(ranking: Ranked) -> np.ndarray:
    """Mean of the average precisions of the classes that have labels, each class against the rest.

    Args:
        ranking: of `rank`.

    Returns:
        (...) float64 in [0, 1].
    """
    return np.nanmean(average_precision(ranking), axis=-1)


def average_precision(ranking: Ranked) -> np.ndarray:
    """Average precision of each class against the rest.

    AP = sum_t (R_t - R_(t-1)) P_t over the distinct scores t from the highest: equal scores pass a threshold
    together, so their order does not matter.

    Args:
        ranking: of `rank`.

    Returns:
        (..., C) float64; NaN for a class without labels.
    """
    hit, hits, seen = ranking
    return divide((_precision(hits, seen) * hit).sum(axis=-1), hits[..., -1], empty=np.nan)


def roc_auc(ranking: Ranked) -> np.ndarray:
    """Area under the ROC curve: the chance that an example of a class has more of its probability than another one.

    With two classes it is that of the second, which is that of the first too; with more the mean over the classes, each
    against the rest, that have examples and leave others some.

    Args:
        ranking: of `rank`.

    Returns:
        (...) float64 in [0, 1]; NaN where all examples are of one class.
    """
    _, hits, seen = ranking
    misses = seen - hits
    # Between two thresholds the curve is straight, so the area is a sum of trapezia; equal scores count half.
    width = np.diff(misses, axis=-1, prepend=0)
    height = hits - np.diff(hits, axis=-1, prepend=0) / 2
    area = divide((width * height).sum(axis=-1), hits[..., -1] * misses[..., -1], empty=np.nan)
    if area.shape[-1] == 2:
        return area[..., 1]
    present = ~np.isnan(area)
    return divide(np.where(present, area, 0.0).sum(axis=-1), present.sum(axis=-1), empty=np.nan)


def recall_at_precision(
    ranking: Ranked, *, precision: Annotated[float, Interval(gt=0, le=1)] = 0.9
) -> np.ndarray:
    """The highest recall of each class at a threshold with at least this precision.

    Args:
        ranking: of `rank`.
        precision: in (0, 1].

    Returns:
        (..., C) float64 in [0, 1], 0 where no threshold is as precise; NaN for a class without labels.
    """
    _, hits, seen = ranking
    reached = np.where(hits >= precision * seen - ROUNDING, hits, 0).max(axis=-1)
    return divide(reached, hits[..., -1], empty=np.nan)


def precision_at_recall(
    ranking: Ranked, *, recall: Annotated[float, Interval(gt=0, le=1)] = 0.9
) -> np.ndarray:
    """The highest precision of each class at a threshold with at least this recall.

    Args:
        ranking: of `rank`.
        recall: in (0, 1].

    Returns:
        (..., C) float64 in [0, 1]; NaN for a class without labels.
    """
    _, hits, seen = ranking
    positives = hits[..., -1:]
    best = np.where(hits >= recall * positives - ROUNDING, _precision(hits, seen), 0).max(axis=-1)
    return np.where(positives[..., 0] > 0, best, np.nan)


def interpolated_precision(
    scores: np.ndarray, positive: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """The interpolated precision-recall curve of one class against the rest.

    P(r) = max of precision_t over the distinct scores t whose recall_t is at least r, for r = 0, 0.01, ..., 1.

    Args:
        scores: (..., N) floats, higher means more likely positive.
        positive: (..., N) bool.
        sample_weight: (..., N), at least 0; None counts all alike.

    Returns:
        (..., 101) float64, falling; NaN for a member without positives.

    Reference: Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, chapter 8.4.
    """
    examples = scores.shape[-1]
    _, hits, seen = _ranked(scores, positive, sample_weight)
    best_from = np.maximum.accumulate(_precision(hits, seen)[..., ::-1], axis=-1)[..., ::-1]
    hits, best_from = hits.reshape(-1, examples), best_from.reshape(-1, examples)
    # A recall of 0.29 in floats is not 29 of 100.
    needed = hits[:, -1:] * RECALL_PERCENTS / 100 - ROUNDING
    curve = np.stack(
        [best[np.searchsorted(own, least)] for best, own, least in zip(best_from, hits, needed, strict=True)]
    )
    curve = np.where(hits[:, -1:] > 0, curve, np.nan)
    return curve.reshape(*scores.shape[:-1], len(RECALL_PERCENTS))


def _precision(hits: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The share of positives down to each threshold; 0 where all that is there weighs nothing."""
    return divide(hits, seen, empty=0.0)


def _ranked(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None) -> Ranked:
    """Examples (..., N) by their scores, of which some are positive; weights extend to this shape."""
    examples = scores.shape[-1]
    order = np.argsort(-scores, axis=-1)
    ranked = np.take_along_axis(scores, order, axis=-1)
    hit = np.take_along_axis(positive, order, axis=-1)
    # Equal scores pass a threshold together, so all have the counts at the last position of their group.
    last_of_group = np.ones(scores.shape, bool)
    last_of_group[..., :-1] = ranked[..., :-1] != ranked[..., 1:]
    position = np.where(last_of_group, np.arange(examples), examples)
    position = np.minimum.accumulate(position[..., ::-1], axis=-1)[..., ::-1]
    if weights is None:
        seen = position + 1
    else:
        weights = np.take_along_axis(np.broadcast_to(weights, scores.shape), order, axis=-1)
        hit = np.where(hit, weights, 0.0)
        seen = np.take_along_axis(np.cumsum(weights, axis=-1), position, axis=-1)
    return Ranked(hit, np.take_along_axis(np.cumsum(hit, axis=-1), position, axis=-1), seen)
