"""The final evaluation of many members at once: all that is measured once, on the test part."""

from __future__ import annotations

import numpy as np

from runners.calibration import reliability, softmax
from runners.metrics import classification_metrics, confusion_matrix, precision_at_recall

# Curves whose steps are no epochs: recall in percent, bins from 1.
PRECISION_AT_RECALL = "test_precision_at_recall"
RELIABILITY = ("test_reliability_count", "test_reliability_accuracy", "test_reliability_confidence")
DIAGRAMS = (PRECISION_AT_RECALL, *RELIABILITY)

Curve = list[tuple[int, float]]


def evaluate(
    logits: np.ndarray, labels: np.ndarray, *, rarest_class: int
) -> tuple[dict[str, np.ndarray], dict[str, list[Curve]]]:
    """Metrics and diagrams of each member on its test part.

    Args:
        logits: (K, C, N) floats.
        labels: (K, N) integers in 0..C-1.
        rarest_class: in 0..C-1.

    Returns:
        Metrics (K,) by name: `test_<metric>` as `classification_metrics` has them, and the counts
        `test_confusion_<i>_<j>` of class i predicted as class j. Diagrams by name, a curve of (step, value) a
        member: `test_precision_at_recall` of the rarest class, and `test_reliability_count`, `_accuracy` and
        `_confidence`, without empty bins. A member whose logits are not all finite has NaN and empty curves.
    """
    classes = logits.shape[-2]
    finite = np.isfinite(logits).all(axis=(-2, -1))
    metrics = {
        f"test_{name}": values
        for name, values in classification_metrics(logits, labels, rarest_class=rarest_class).items()
    }
    logits = np.where(finite[:, None, None], logits, 0)
    confusion = np.where(
        finite[:, None, None], confusion_matrix(logits.argmax(axis=-2), labels, classes), np.nan
    )
    metrics |= {f"test_confusion_{i}_{j}": confusion[:, i, j] for i in range(classes) for j in range(classes)}
    probabilities = softmax(logits)
    precision = precision_at_recall(probabilities[:, rarest_class], labels == rarest_class)
    diagrams = {PRECISION_AT_RECALL: _curves(precision, finite, first_step=0)}
    bins = reliability(probabilities, labels)
    filled = bins._replace(examples=np.where(bins.examples > 0, bins.examples, np.nan))
    diagrams |= {
        name: _curves(values, finite, first_step=1) for name, values in zip(RELIABILITY, filled, strict=True)
    }
    return metrics, diagrams


def _curves(values: np.ndarray, finite: np.ndarray, *, first_step: int) -> list[Curve]:
    """The rows of (K, steps) as curves, without what is NaN."""
    return [
        [(step, float(value)) for step, value in enumerate(row, first_step) if is_finite and value == value]
        for row, is_finite in zip(values, finite, strict=True)
    ]
