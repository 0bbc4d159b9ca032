"""Metrics of many members at once: logits (..., C, N), labels (..., N), results (...).

A prediction is the class of the largest logit, the first one of equals. A member whose logits are not all finite
has NaN in every metric, and changes no other member. What there is besides the metrics by class are the files of
the config group `metric`; each is a function that names what it needs of

- confusion (K, C, C): counts of (label, prediction);
- probabilities (K, C, N) float64;
- logits (K, C, N) and labels (K, N);
- rarest_class: in 0..C-1,

each of which is computed once for all members and metrics, if it is needed, and returns (K,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.metrics import Metric, own_metrics
from lossfleet.runners.metrics.calibration import softmax
from lossfleet.runners.metrics.decisions import precisions, recalls

BY_CLASS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"recall": recalls, "precision": precisions}


def metric_names(classes: int, users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """All names that `classification_metrics` knows for this number of classes."""
    by_class = [f"{metric}_{label}" for metric in BY_CLASS for label in range(classes)]
    return (*dict.fromkeys([*own_metrics(), *(each.name for each in users)]), *by_class)


def decision_metrics(users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """The names of the metrics that depend on the predicted classes alone."""
    known = own_metrics() | {each.name: each for each in users}
    return tuple(name for name, metric in known.items() if metric.is_of_decisions)


def classification_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    rarest_class: int,
    names: Sequence[str] | None = None,
    users: Sequence[Metric] = (),
) -> dict[str, np.ndarray]:
    """Metrics of each member: those of the config group, and recall_<c> and precision_<c> of class c.

    Args:
        logits: (..., C, N) floats.
        labels: (..., N) integers in 0..C-1.
        rarest_class: in 0..C-1.
        names: what to compute, None for all; what is not among `decision_metrics` is worth leaving out at rungs.
        users: metrics beside lossfleet's own.

    Returns:
        For each name a float64 array (...).

    Raises:
        ValueError: for shapes that do not fit, labels or rarest_class outside 0..C-1, or unknown names.
        UserError: a metric of the user's fails or has another shape.
    """
    classes = logits.shape[-2]
    known = metric_names(classes, users)
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
    leading = labels.shape[:-1]
    given = Given(logits.reshape(-1, *logits.shape[-2:]), labels.reshape(-1, labels.shape[-1]), rarest_class)
    metrics = own_metrics() | {each.name: each for each in users}
    values = {}
    for name in names:
        value = given.value(metrics[name]) if name in metrics else given.of_class(name)
        values[name] = np.where(finite, value.reshape(leading), np.nan)
    return values


class Given:
    """What metrics are made of, each computed when a first metric needs it."""

    def __init__(self, logits: np.ndarray, labels: np.ndarray, rarest_class: int) -> None:
        self.logits = logits
        self.labels = labels
        self.rarest_class = rarest_class

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts of (label, prediction), (K, C, C)."""
        return confusion_matrix(self.logits.argmax(axis=-2), self.labels, self.logits.shape[-2])

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(K, C, N) float64."""
        return softmax(self.logits)

    def value(self, metric: Metric) -> np.ndarray:
        """A metric of each member, (K,)."""
        value = metric.part.call(**{name: getattr(self, name) for name in metric.part.inputs()})
        value = np.asarray(value, np.float64)
        if value.shape != (len(self.labels),):
            raise UserError(
                what=f"metric {metric.name} returned the shape {value.shape} for {len(self.labels)} members",
                expected=f"({len(self.labels)},), one number a member",
                hint=f"correct {metric.part.target} ({metric.part.signature.place})",
            )
        return value

    def of_class(self, name: str) -> np.ndarray:
        """A metric such as recall_3 of each member, (K,)."""
        metric, _, label = name.rpartition("_")
        return BY_CLASS[metric](self.confusion)[..., int(label)]


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
