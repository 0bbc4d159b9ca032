"""The final evaluation of many members at once: all that is measured once, on the test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lossfleet.conf.deciding import ARGMAX, Decision
from lossfleet.conf.metrics import Metric
from lossfleet.runners.metrics.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    reliability,
    softmax,
)
from lossfleet.runners.metrics.classification import (
    Outputs,
    class_numbers,
    classification_metrics,
    confusion_matrix,
    decision_metrics,
    metric_names,
)
from lossfleet.runners.metrics.decided import decided_metrics
from lossfleet.runners.metrics.prior_correction import correct_for_prior, fit_exponent
from lossfleet.runners.metrics.ranking import interpolated_precision

# Curves whose steps are no epochs: recall in percent, bins from 1.
PRECISION_AT_RECALL = "test_precision_at_recall"
RELIABILITY = ("test_reliability_count", "test_reliability_accuracy", "test_reliability_confidence")
ROW_DIAGRAMS = (PRECISION_AT_RECALL, *RELIABILITY)
# Of a detector, by the kind of its anchors and gamma: percent of them, see `lossfleet.runners.detection.anchor_losses`.
LOSS_SHARES = {
    (kind, gamma): f"test_loss_share_of_{kind}_gamma_{gamma:g}"
    for kind in ("positives", "negatives")
    for gamma in (0.0, 0.5, 1.0, 2.0)
}
DIAGRAMS = (*ROW_DIAGRAMS, *LOSS_SHARES.values())

# With more classes their confusion is no metric: a hundred would have ten thousand of them.
MOST_CONFUSION_CLASSES = 12
# Of a replicate, so that a journal stays small however many rows are tested on.
MOST_MISTAKES = 2000

Curve = list[tuple[int, float]]


def evaluate(
    validation: Outputs,
    test: Outputs,
    *,
    class_counts: np.ndarray,
    rarest_class: int,
    metric: str,
    decision: Decision = ARGMAX,
    users: Sequence[Metric] = (),
    class_names: Sequence[str] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, list[Curve]]]:
    """Metrics and diagrams of each member on its test part, tuned on its validation part alone.

    - `test_<metric>`: as `classification_metrics` has them, at the argmax.
    - `test_corrected_<metric>`: those of decisions, after `correct_for_prior` with the member's
      `prior_exponent` from `fit_exponent`.
    - `test_scaled_expected_calibration_error`, `test_scaled_brier_score`: of softmax(x / T), with the
      member's `temperature` T from `fit_temperature`.
    - `test_decided_<metric>` and more: see `decided_metrics`.
    - `test_confusion[i][j]`: examples of class i predicted as class j, or their weights, at the argmax, of up to 12
      classes.
    - `test_precision_at_recall` of the rarest class; `test_reliability_count`, `_accuracy` and `_confidence`,
      without empty bins: curves.

    Args:
        validation, test: of the same members.
        class_counts: (C,), of the training part, or (K, C), of that of each member; of weighted rows the sums of their
            weights.
        rarest_class: in 0..C-1.
        metric: what the correction for the prior is fitted to on the validation part.
        decision: a rule to fit and measure beside the argmax.
        users: metrics beside lossfleet's own.
        class_names: C of them; None for the numbers from 0 on.

    Returns:
        Metrics (K,) and curves of (step, value), one a member, by name. A member whose logits are not all
        finite has NaN and empty curves.
    """
    class_names = class_names or class_numbers(class_counts.shape[-1])
    finite = np.isfinite(validation.logits).all(axis=(1, 2)) & np.isfinite(test.logits).all(axis=(1, 2))
    validation, test = (
        part._replace(logits=np.where(finite[:, None, None], part.logits, 0)) for part in (validation, test)
    )
    metrics = (
        _named(
            "test_",
            classification_metrics(*test, rarest_class=rarest_class, users=users, class_names=class_names),
        )
        | _confusion(test, class_names)
        | _scaled(validation, test)
        | _corrected(validation, test, class_counts, rarest_class, metric, users, class_names)
    )
    metrics |= decided_metrics(
        validation,
        test,
        metrics["temperature"],
        decision,
        rarest_class=rarest_class,
        users=users,
        class_names=class_names,
    )
    diagrams = _diagrams(test, rarest_class)
    return (
        {name: np.where(finite, values, np.nan) for name, values in metrics.items()},
        {
            name: [curve if is_finite else [] for curve, is_finite in zip(curves, finite, strict=True)]
            for name, curves in diagrams.items()
        },
    )


def final_metric_names(class_names: Sequence[str], users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """All metrics that a final replicate has, those of both parts."""
    plain = metric_names(class_names, users)
    scaled = ("expected_calibration_error", "brier_score")
    return (
        *(f"{part}_{name}" for part in ("test", "validation") for name in plain),
        *(f"test_corrected_{name}" for name in decision_metrics(class_names, users)),
        *(f"test_scaled_{name}" for name in scaled),
        *confusion_names(class_names),
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
        "test_scaled_expected_calibration_error": expected_calibration_error(probabilities, *test[1:]),
        "test_scaled_brier_score": brier_score(probabilities, *test[1:]),
    }


def _corrected(
    validation: Outputs,
    test: Outputs,
    class_counts: np.ndarray,
    rarest_class: int,
    metric: str,
    users: Sequence[Metric],
    class_names: Sequence[str],
) -> dict[str, np.ndarray]:
    shared: dict[str, Any] = {"rarest_class": rarest_class, "users": users, "class_names": class_names}
    own_weights = validation.weights
    exponent = fit_exponent(
        validation.logits, validation.labels, class_counts, weights=own_weights, metric=metric, **shared
    )
    logits = correct_for_prior(test.logits, exponent, class_counts)
    names = decision_metrics(class_names, users)
    values = classification_metrics(logits, *test[1:], names=names, **shared)
    return {"prior_exponent": exponent} | _named("test_corrected_", values)


def confusion_counts(test: Outputs) -> np.ndarray:
    """Examples of class i predicted as class j by each member, or the sum of their weights, (K, C, C)."""
    return confusion_matrix(test.logits.argmax(axis=1), test.labels, test.logits.shape[1], test.weights)


def mistakes(logits: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> list[list[float]] | None:
    """What a member gets wrong on its test part, at the argmax: the most confident first, `MOST_MISTAKES` at most.

    Args:
        logits: (C, N).
        labels: (N,) in 0..C-1.
        rows: (N,), what names each row.

    Returns:
        The name of the row, the predicted class, and its probability to three digits; None where not all logits are
        finite.
    """
    if not np.isfinite(logits).all():
        return None
    predicted = logits.argmax(axis=0)
    wrong = np.flatnonzero(predicted != labels)
    probabilities = softmax(logits[:, wrong]).max(axis=0)
    first = np.argsort(-probabilities, kind="stable")[:MOST_MISTAKES]
    return [
        [int(rows[each]), int(predicted[each]), round(float(probability), 3)]
        for each, probability in zip(wrong[first], probabilities[first], strict=True)
    ]


def _confusion(test: Outputs, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    names = confusion_names(class_names)
    if not names:
        return {}
    return dict(zip(names, confusion_counts(test).reshape(len(test.labels), -1).T, strict=True))


def confusion_names(class_names: Sequence[str]) -> list[str]:
    """The names of the counts, a row of the matrix after the other; none for more than 12 classes."""
    if len(class_names) > MOST_CONFUSION_CLASSES:
        return []
    return [f"test_confusion[{label}][{predicted}]" for label in class_names for predicted in class_names]


def _diagrams(test: Outputs, rarest_class: int) -> dict[str, list[Curve]]:
    probabilities = softmax(test.logits)
    of_rarest = test.labels == rarest_class
    precision = interpolated_precision(probabilities[:, rarest_class], of_rarest, test.weights)
    bins = reliability(probabilities, *test[1:])
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
