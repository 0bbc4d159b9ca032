"""Metrics of many members at once: logits (..., C, N), labels and perhaps weights (..., N), results (...).

A prediction is the class of the largest logit, the first one of equals. A member whose logits are not all finite
has NaN in every metric, and changes no other member. What there is are the files of the config group `metric`; each is
a function that names what it needs of

- confusion (K, C, C): counts of (label, prediction), or sums of weights;
- probabilities (K, C, N) float64;
- ranking (K, C, N): examples by the probability of each class, see `ranking.Ranked`;
- logits (K, C, N) and labels (K, N);
- sample_weight (K, N): what each example counts for, None where all count alike; confusion and ranking have it already;
- rarest_class: in 0..C-1,

each of which is computed once for all members and metrics, if it is needed, and returns (K,), or (K, C) where each
class has one of its own, which is named by it: `recall[text]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.metrics import Metric, find_metric, of_class, with_users
from lossfleet.runners.metrics.calibration import softmax
from lossfleet.runners.metrics.ranking import Ranked, rank


class Outputs(NamedTuple):
    """What K members say of a part of their splits: logits (K, C, N), labels (K, N) in 0..C-1 and weights (K, N)."""

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None


def metric_names(class_names: Sequence[str], users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """All names that `classification_metrics` knows for these classes."""
    of_rows = [each for each in with_users(users).values() if not each.is_of_objects]
    return names_for_classes(of_rows, class_names)


def decision_metrics(class_names: Sequence[str], users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """The names of the metrics that depend on the predicted classes alone."""
    return names_for_classes(
        [each for each in with_users(users).values() if each.is_of_decisions], class_names
    )


def class_numbers(classes: int) -> tuple[str, ...]:
    """Names for classes that have none: 0, 1 and so on."""
    return tuple(map(str, range(classes)))


def names_for_classes(metrics: Iterable[Metric], class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of metrics, first of those of all classes together, then of those of each."""
    metrics = list(metrics)
    together = [each.name for each in metrics if not each.by_class]
    apart = [each for each in metrics if each.by_class]
    return (*together, *(of_class(each.name, name) for each in apart for name in class_names))


def classification_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    rarest_class: int,
    names: Sequence[str] | None = None,
    users: Sequence[Metric] = (),
    class_names: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Metrics of each member: those of the config group, for each class where they are by class.

    Args:
        logits: (..., C, N) floats.
        labels: (..., N) integers in 0..C-1.
        weights: (..., N) of at least 0; None where all examples count alike.
        rarest_class: in 0..C-1.
        names: what to compute, None for all; what is not among `decision_metrics` is worth leaving out at rungs.
        users: metrics beside lossfleet's own.
        class_names: C of them; None for the numbers from 0 on.

    Returns:
        For each name a float64 array (...).

    Raises:
        ValueError: for shapes that do not fit, labels or rarest_class outside 0..C-1, or unknown names.
        UserError: a metric of the user's fails or has another shape.
    """
    classes = logits.shape[-2]
    class_names = class_names or class_numbers(classes)
    known = metric_names(class_names, users)
    names = known if names is None else names
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; expected some of {known}")
    if logits.shape[:-2] + logits.shape[-1:] != labels.shape:
        raise ValueError(
            f"labels {labels.shape} do not fit logits {logits.shape}; expected (..., N), (..., C, N)"
        )
    if weights is not None and weights.shape != labels.shape:
        raise ValueError(f"weights {weights.shape} do not fit labels {labels.shape}; expected the same shape")
    if not 0 <= rarest_class < classes:
        raise ValueError(f"rarest_class is {rarest_class}; expected 0..{classes - 1}")

    finite = np.isfinite(logits).all(axis=(-2, -1))
    if not finite.all():
        logits = np.where(finite[..., None, None], logits, 0)
    leading = labels.shape[:-1]
    rows = labels.shape[-1]
    given = Given(
        logits.reshape(-1, *logits.shape[-2:]),
        labels.reshape(-1, rows),
        rarest_class,
        None if weights is None else weights.reshape(-1, rows),
    )
    metrics = with_users(users)
    position = {name: index for index, name in enumerate(class_names)}
    values = {}
    for name in names:
        metric = find_metric(name, metrics)
        value = given.value(metric)
        if metric.class_name is not None:
            value = value[:, position[metric.class_name]]
        values[name] = np.where(finite, value.reshape(leading), np.nan)
    return values


class Given:
    """What metrics are made of, each computed when a first metric needs it."""

    def __init__(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        rarest_class: int,
        sample_weight: np.ndarray | None = None,
    ) -> None:
        self.logits = logits
        self.labels = labels
        self.sample_weight = sample_weight
        self.rarest_class = rarest_class
        self._values: dict[str, np.ndarray] = {}

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts of (label, prediction), (K, C, C), or sums of weights."""
        return confusion_matrix(
            self.logits.argmax(axis=-2), self.labels, self.logits.shape[-2], self.sample_weight
        )

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(K, C, N) float64."""
        return softmax(self.logits)

    @cached_property
    def ranking(self) -> Ranked:
        """Examples by the probability of each class, (K, C, N)."""
        return rank(self.probabilities, self.labels, self.sample_weight)

    def value(self, metric: Metric) -> np.ndarray:
        """A metric of each member, (K,), or of each member and class, (K, C)."""
        if metric.part.name not in self._values:
            self._values[metric.part.name] = self._computed(metric)
        return self._values[metric.part.name]

    def _computed(self, metric: Metric) -> np.ndarray:
        given = {name: getattr(self, name) for name in metric.part.inputs()}
        return _called(metric, given, *self.logits.shape[:2])


def decision_values(
    metric: Metric, confusion: np.ndarray, *, rarest_class: int, class_names: Sequence[str]
) -> np.ndarray:
    """A metric of decisions alone, of confusion matrices.

    Args:
        metric: of decisions, with its class if each class has one.
        confusion: (K, C, C) counts of (label, prediction).
        rarest_class: in 0..C-1.
        class_names: C of them.

    Returns:
        (K,) float64.

    Raises:
        UserError: a metric of the user's has another shape.
    """
    all_given = {"confusion": confusion, "rarest_class": rarest_class}
    given = {name: all_given[name] for name in metric.part.inputs()}
    value = _called(metric, given, *confusion.shape[:2])
    return value if metric.class_name is None else value[:, class_names.index(metric.class_name)]


def _called(metric: Metric, given: Mapping[str, object], members: int, classes: int) -> np.ndarray:
    value = np.asarray(metric.part.call(**given), np.float64)
    expected = (members, classes) if metric.by_class else (members,)
    if value.shape != expected:
        raise UserError(
            what=f"metric {metric.part.name} returned the shape {value.shape} for {members} members"
            + (f" and {classes} classes" if metric.by_class else ""),
            expected=f"{expected}, one number a member" + (" and class" if metric.by_class else ""),
            hint=f"correct {metric.part.target} ({metric.part.signature.place})",
        )
    return value


def confusion_matrix(
    predictions: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Counts of (label, prediction): entry [..., i, j] is the number of class i predicted as class j.

    With weights it is the sum of theirs.

    Args:
        predictions, labels: (..., N) integers in 0..classes-1.
        classes: C.
        weights: (..., N) of at least 0; None counts all alike.

    Returns:
        (..., C, C) int64; float64 with weights.

    Raises:
        ValueError: for a label or prediction outside 0..C-1.
    """
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name} range from {values.min()} to {values.max()}; expected 0..{classes - 1}")
    leading = labels.shape[:-1]
    member = np.arange(math.prod(leading)).reshape(*leading, 1)
    cell = (member * classes + labels) * classes + predictions
    own = None if weights is None else weights.ravel()
    counts = np.bincount(cell.ravel(), weights=own, minlength=member.size * classes * classes)
    return counts.reshape(*leading, classes, classes)
