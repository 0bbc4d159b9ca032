"""Metrics of many members at once: logits (..., C, N), labels (..., N), results (...).

A prediction is the class of the largest logit, the first one of equals. Where scikit-learn leaves a choice:
- recall of a class without labels is NaN; balanced accuracy, G-mean and macro average precision leave the
  class out of their means;
- precision of a class never predicted is 0;
- macro F1 leaves out a class that is neither in the labels nor predicted; MCC is 0 where it is 0/0.
A member whose logits are not all finite has NaN in every metric, and changes no other member.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lossfleet.runners.metrics.calibration import brier_score, expected_calibration_error, one_hot, softmax

RECALL_PERCENTS = np.arange(101)
# What needs probabilities, and for the first a sort; the rest comes from the confusion matrix.
COSTLY_METRICS = ("macro_average_precision", "expected_calibration_error", "brier_score")
CHEAP_METRICS = ("balanced_accuracy", "macro_f1", "rarest_recall", "accuracy", "mcc", "g_mean")


def metric_names(classes: int) -> tuple[str, ...]:
    """All names that `classification_metrics` knows for this number of classes."""
    by_class = (f"{metric}_{label}" for metric in ("recall", "precision") for label in range(classes))
    return (*CHEAP_METRICS, *COSTLY_METRICS, *by_class)


def classification_metrics(
    logits: np.ndarray, labels: np.ndarray, *, rarest_class: int, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Metrics of each member.

    balanced_accuracy: mean of the recalls. macro_f1: mean of the F1 scores. g_mean: geometric mean of the
    recalls. mcc: Matthews correlation coefficient. rarest_recall: recall of `rarest_class`.
    macro_average_precision: mean over the classes of the average precision of p_c, class c against the rest.
    expected_calibration_error and brier_score: see there. recall_<c>, precision_<c>: of class c.

    Args:
        logits: (..., C, N) floats.
        labels: (..., N) integers in 0..C-1.
        rarest_class: in 0..C-1.
        names: what to compute, None for all; COSTLY_METRICS are worth leaving out at rungs.

    Returns:
        For each name a float64 array (...).

    Raises:
        ValueError: for shapes that do not fit, labels or rarest_class outside 0..C-1, or unknown names.
    """
    classes = logits.shape[-2]
    known = metric_names(classes)
    names = known if names is None else names
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; expected some of {known}")
    if logits.shape[:-2] + logits.shape[-1:] != labels.shape:
        raise ValueError(
            f"labels {labels.shape} do not fit logits {logits.shape}; expected (..., N), (..., C, N)"
        )
    if not 0 <= rarest_class < classes:
        raise ValueError(f"rarest_class is {rarest_class}; expected 0..{classes - 1}")

    finite = np.isfinite(logits).all(axis=(-2, -1))
    if not finite.all():
        logits = np.where(finite[..., None, None], logits, 0)
    confusion = confusion_matrix(logits.argmax(axis=-2), labels, classes)
    values = _confusion_metrics(confusion, rarest_class)
    if set(names) & set(COSTLY_METRICS):
        probabilities = softmax(logits)
    if "macro_average_precision" in names:
        values["macro_average_precision"] = _present_mean(average_precision(probabilities, labels), confusion)
    if "expected_calibration_error" in names:
        values["expected_calibration_error"] = expected_calibration_error(probabilities, labels)
    if "brier_score" in names:
        values["brier_score"] = brier_score(probabilities, labels)
    return {name: np.where(finite, values[name], np.nan) for name in names}


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts of (label, prediction): entry [..., i, j] is the number of class i predicted as class j.

    Args:
        predictions, labels: (..., N) integers in 0..classes-1.
        classes: C.

    Returns:
        (..., C, C) int64.

    Raises:
        ValueError: for a label or prediction outside 0..C-1.
    """
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name} range from {values.min()} to {values.max()}; expected 0..{classes - 1}")
    leading = labels.shape[:-1]
    member = np.arange(math.prod(leading)).reshape(*leading, 1)
    cell = (member * classes + labels) * classes + predictions
    counts = np.bincount(cell.ravel(), minlength=member.size * classes * classes)
    return counts.reshape(*leading, classes, classes)


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
    return _divide((precision * hit).sum(axis=-1), hit.sum(axis=-1), empty=np.nan)


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


def _confusion_metrics(confusion: np.ndarray, rarest_class: int) -> dict[str, np.ndarray]:
    # Floats: products of counts of a large N overflow integers.
    confusion = confusion.astype(np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    labelled = confusion.sum(axis=-1)
    predicted = confusion.sum(axis=-2)
    recall = _divide(hits, labelled, empty=np.nan)
    precision = _divide(hits, predicted, empty=0.0)
    f1 = _divide(2 * hits, labelled + predicted, empty=0.0)
    appearing = (labelled + predicted > 0).sum(axis=-1)
    values = {
        "balanced_accuracy": _present_mean(recall, confusion),
        "macro_f1": f1.sum(axis=-1) / appearing,
        "rarest_recall": recall[..., rarest_class],
        "accuracy": hits.sum(axis=-1) / labelled.sum(axis=-1),
        "mcc": _matthews(hits, labelled, predicted),
        "g_mean": _geometric_mean(recall, confusion),
    }
    for label in range(confusion.shape[-1]):
        values[f"recall_{label}"] = recall[..., label]
        values[f"precision_{label}"] = precision[..., label]
    return values


def _matthews(hits: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The multi-class coefficient R_K: the correlation of labels and predictions (Gorodkin 2004)."""
    total = labelled.sum(axis=-1)
    covariance = hits.sum(axis=-1) * total - (labelled * predicted).sum(axis=-1)
    label_variance = total * total - (labelled * labelled).sum(axis=-1)
    prediction_variance = total * total - (predicted * predicted).sum(axis=-1)
    return _divide(covariance, np.sqrt(label_variance * prediction_variance), empty=0.0)


def _geometric_mean(recall: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.exp(_present_mean(np.log(recall), confusion))


def _present_mean(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Mean over the classes that have labels."""
    present = confusion.sum(axis=-1) > 0
    return np.where(present, values, 0.0).sum(axis=-1) / present.sum(axis=-1)


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


def _divide(numerator: np.ndarray, denominator: np.ndarray, *, empty: float) -> np.ndarray:
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), empty, np.float64)
    return np.divide(numerator, denominator, out=result, where=denominator != 0)
