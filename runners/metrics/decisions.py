"""Metrics of decisions: functions of confusion matrices (..., C, C), whose entry [i, j] counts class i predicted as j.

Of rows with weights the entries are sums of these, and the metrics those of rows that are there as often as they weigh.

Where scikit-learn leaves a choice:
- recall of a class without labels is NaN; balanced accuracy and G-mean leave the class out of their means;
- precision of a class never predicted is 0;
- F1 and F-beta of a class that is neither in the labels nor predicted are NaN, and macro F1 leaves it out;
- MCC is 0 where it is 0/0.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Gt

ROUNDING = 1e-13


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean of the recalls, (...) in [0, 1]."""
    return _present_mean(recalls(confusion), confusion)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean of the F1 scores, (...) in [0, 1]."""
    hits, labelled, predicted = _sums(confusion)
    f1 = divide(2 * hits, labelled + predicted, empty=0.0)
    return f1.sum(axis=-1) / (labelled + predicted > 0).sum(axis=-1)


def f1(confusion: np.ndarray) -> np.ndarray:
    """The F1 score of each class, (..., C), the harmonic mean of precision and recall."""
    return f_beta(confusion, beta=1.0)


def f_beta(confusion: np.ndarray, *, beta: Annotated[float, Gt(0)] = 2.0) -> np.ndarray:
    """The F-beta score of each class, (..., C): with beta above 1 recall weighs more than precision.

    F = (1 + beta^2) hits / (beta^2 labelled + predicted)
    """
    hits, labelled, predicted = _sums(confusion)
    return divide((1 + beta**2) * hits, beta**2 * labelled + predicted, empty=np.nan)


def rarest_recall(confusion: np.ndarray, rarest_class: int) -> np.ndarray:
    """Recall of `rarest_class`, the class with the fewest training examples, (...) in [0, 1]."""
    return recalls(confusion)[..., rarest_class]


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of right predictions, (...) in [0, 1]."""
    hits, labelled, _ = _sums(confusion)
    return hits.sum(axis=-1) / labelled.sum(axis=-1)


def mcc(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient of several classes, R_K: the correlation of labels and predictions.

    Returns:
        (...) in [-1, 1].

    Reference: Gorodkin 2004 (Computational Biology and Chemistry 28).
    """
    hits, labelled, predicted = _sums(confusion)
    total = labelled.sum(axis=-1)
    covariance = hits.sum(axis=-1) * total - (labelled * predicted).sum(axis=-1)
    label_variance = total * total - (labelled * labelled).sum(axis=-1)
    prediction_variance = total * total - (predicted * predicted).sum(axis=-1)
    # Sums of weights are rounded: what is left of a variance of 0 is far below that of a single row.
    least = ROUNDING * total * total
    is_constant = (label_variance < least) | (prediction_variance < least)
    variance = np.where(is_constant, 0.0, label_variance * prediction_variance)
    return divide(covariance, np.sqrt(variance), empty=0.0)


def g_mean(confusion: np.ndarray) -> np.ndarray:
    """Geometric mean of the recalls, (...) in [0, 1]."""
    with np.errstate(divide="ignore"):
        return np.exp(_present_mean(np.log(recalls(confusion)), confusion))


def recalls(confusion: np.ndarray) -> np.ndarray:
    """The recall of each class, (..., C), NaN without labels."""
    hits, labelled, _ = _sums(confusion)
    return divide(hits, labelled, empty=np.nan)


def precisions(confusion: np.ndarray) -> np.ndarray:
    """The precision of each class, (..., C), 0 where it is never predicted."""
    hits, _, predicted = _sums(confusion)
    return divide(hits, predicted, empty=0.0)


def divide(numerator: np.ndarray, denominator: np.ndarray, *, empty: float) -> np.ndarray:
    """The quotient, `empty` where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), empty, np.float64)
    return np.divide(numerator, denominator, out=result, where=denominator != 0)


def _sums(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is right, what there is and what is predicted of each class, (..., C)."""
    # Floats: products of counts of a large N overflow integers.
    confusion = confusion.astype(np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(axis=-1), confusion.sum(axis=-2)


def _present_mean(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Mean over the classes that have labels."""
    present = confusion.sum(axis=-1) > 0
    return np.where(present, values, 0.0).sum(axis=-1) / present.sum(axis=-1)
