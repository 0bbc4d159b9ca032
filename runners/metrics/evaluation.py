"""The final evaluation of many members at once: all that is measured once, on the test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lossfleet.conf.metrics import Metric
from lossfleet.runners.metrics.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    reliability,
    softmax,
)
from lossfleet.runners.metrics.classification import (
    classification_metrics,
    confusion_matrix,
    decision_metrics,
    metric_names,
)
from lossfleet.runners.metrics.prior_correction import correct_for_prior, fit_exponent
from lossfleet.runners.metrics.ranking import precision_at_recall

# Curves whose steps are no epochs: recall in percent, bins from 1.
PRECISION_AT_RECALL = "test_precision_at_recall"
RELIABILITY = ("test_reliability_count", "test_reliability_accuracy", "test_reliability_confidence")
DIAGRAMS = (PRECISION_AT_RECALL, *RELIABILITY)

Curve = list[tuple[int, float]]


class Outputs(NamedTuple):
    """What K members say of a part of their splits: logits (K, C, N) and labels (K, N) in 0..C-1."""

    logits: np.ndarray
    labels: np.ndarray


def evaluate(
    validation: Outputs,
    test: Outputs,
    *,
    class_counts: np.ndarray,
    rarest_class: int,
    metric: str,
    users: Sequence[Metric] = (),
) -> tuple[dict[str, np.ndarray], dict[str, list[Curve]]]:
    """Metrics and diagrams of each member on its test part, tuned on its validation part alone.

    - `test_<metric>`: as `classification_metrics` has them, at the argmax.
    - `test_corrected_<metric>`: those of decisions, after `correct_for_prior` with the member's
      `prior_exponent` from `fit_exponent`.
    - `test_scaled_expected_calibration_error`, `test_scaled_brier_score`: of softmax(x / T), with the
      member's `temperature` T from `fit_temperature`.
    - `test_confusion_<i>_<j>`: examples of class i predicted as class j, at the argmax.
    - `test_precision_at_recall` of the rarest class; `test_reliability_count`, `_accuracy` and `_confidence`,
      without empty bins: curves.

    Args:
        validation, test: of the same members.
        class_counts: (C,), of the training part.
        rarest_class: in 0..C-1.
        metric: what the correction for the prior is fitted to on the validation part.
        users: metrics beside lossfleet's own.

    Returns:
        Metrics (K,) and curves of (step, value), one a member, by name. A member whose logits are not all
        finite has NaN and empty curves.
    """
    finite = np.isfinite(validation.logits).all(axis=(1, 2)) & np.isfinite(test.logits).all(axis=(1, 2))
    validation, test = (
        part._replace(logits=np.where(finite[:, None, None], part.logits, 0)) for part in (validation, test)
    )
    metrics = (
        _named("test_", classification_metrics(*test, rarest_class=rarest_class, users=users))
        | _confusion(test)
        | _scaled(validation, test)
        | _corrected(validation, test, class_counts, rarest_class, metric, users)
    )
    diagrams = _diagrams(softmax(test.logits), test.labels, rarest_class)
    return (
        {name: np.where(finite, values, np.nan) for name, values in metrics.items()},
        {
            name: [curve if is_finite else [] for curve, is_finite in zip(curves, finite, strict=True)]
            for name, curves in diagrams.items()
        },
    )


def final_metric_names(classes: int, users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """All metrics that a final replicate has, those of both parts."""
    plain = metric_names(classes, users)
    scaled = ("expected_calibration_error", "brier_score")
    return (
        *(f"{part}_{name}" for part in ("test", "validation") for name in plain),
        *(f"test_corrected_{name}" for name in decision_metrics(users)),
        *(f"test_scaled_{name}" for name in scaled),
        *(f"test_confusion_{i}_{j}" for i in range(classes) for j in range(classes)),
        *(
            "train_loss",
            "temperature",
            "prior_exponent",
            "train_rows",
            "validation_rows",
            "test_rows",
            "test_pool_rows",
        ),
    )


def _scaled(validation: Outputs, test: Outputs) -> dict[str, np.ndarray]:
    temperature = fit_temperature(*validation)
    probabilities = softmax(test.logits / temperature[:, None, None])
    return {
        "temperature": temperature,
        "test_scaled_expected_calibration_error": expected_calibration_error(probabilities, test.labels),
        "test_scaled_brier_score": brier_score(probabilities, test.labels),
    }


def _corrected(
    validation: Outputs,
    test: Outputs,
    class_counts: np.ndarray,
    rarest_class: int,
    metric: str,
    users: Sequence[Metric],
) -> dict[str, np.ndarray]:
    exponent = fit_exponent(*validation, class_counts, rarest_class=rarest_class, metric=metric, users=users)
    logits = correct_for_prior(test.logits, exponent, class_counts)
    values = classification_metrics(
        logits, test.labels, rarest_class=rarest_class, names=decision_metrics(users), users=users
    )
    return {"prior_exponent": exponent} | _named("test_corrected_", values)


def _confusion(test: Outputs) -> dict[str, np.ndarray]:
    classes = test.logits.shape[1]
    counts = confusion_matrix(test.logits.argmax(axis=1), test.labels, classes)
    return {f"test_confusion_{i}_{j}": counts[:, i, j] for i in range(classes) for j in range(classes)}


def _diagrams(probabilities: np.ndarray, labels: np.ndarray, rarest_class: int) -> dict[str, list[Curve]]:
    precision = precision_at_recall(probabilities[:, rarest_class], labels == rarest_class)
    bins = reliability(probabilities, labels)
    filled = bins._replace(examples=np.where(bins.examples > 0, bins.examples, np.nan))
    return {PRECISION_AT_RECALL: _curves(precision, first_step=0)} | {
        name: _curves(values, first_step=1) for name, values in zip(RELIABILITY, filled, strict=True)
    }


def _curves(values: np.ndarray, *, first_step: int) -> list[Curve]:
    """The rows of (K, steps) as curves, without what is NaN."""
    return [
        [(step, float(value)) for step, value in enumerate(row, first_step) if not np.isnan(value)]
        for row in values
    ]


def _named(prefix: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": value for name, value in values.items()}
