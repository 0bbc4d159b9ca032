"""What is measured of a detector: the metrics of the config group that are functions of precision by recall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.metrics import OF_OBJECTS, Metric, find_metric, with_users
from lossfleet.runners.detection.average_precision import IOU_THRESHOLDS, RECALLS
from lossfleet.runners.metrics.classification import names_for_classes


def object_metric_names(class_names: Sequence[str], users: Sequence[Metric] = ()) -> tuple[str, ...]:
    """All names that `object_metrics` knows for these classes."""
    return names_for_classes([each for each in with_users(users).values() if each.is_of_objects], class_names)


def object_metrics(
    precision: np.ndarray,
    class_names: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    users: Sequence[Metric] = (),
) -> dict[str, float]:
    """Metrics of a detector.

    Args:
        precision: as `average_precision.precision_at_recall` gives it.
        class_names: C of them.
        names: of the metrics, None for all.
        users: metrics beside lossfleet's own.

    Returns:
        A number a name; NaN where there is no object of a class.

    Raises:
        UserError: a metric of the user's has another shape.
    """
    known = with_users(users)
    values: dict[str, np.ndarray] = {}
    found = {}
    for name in object_metric_names(class_names, users) if names is None else names:
        metric = find_metric(name, known)
        if metric.part.name not in values:
            values[metric.part.name] = _value(metric, precision, len(class_names))
        value = values[metric.part.name]
        place = () if metric.class_name is None else class_names.index(metric.class_name)
        found[name] = float(value[place])
    return found


def check_object_metric(metric: Metric, classes: int) -> None:
    """Raises UserError where a metric of the user's fails or has another shape than numbers a class."""
    shape = len(IOU_THRESHOLDS), len(RECALLS), classes
    _value(metric, np.random.default_rng(0).random(shape), classes)


def _value(metric: Metric, precision: np.ndarray, classes: int) -> np.ndarray:
    value = np.asarray(metric.part.call(**{OF_OBJECTS: precision}), np.float64)
    expected = (classes,) if metric.by_class else ()
    if value.shape != expected:
        raise UserError(
            what=f"metric {metric.part.name} returned the shape {value.shape}",
            expected=f"one number{' a class' if metric.by_class else ''}",
            hint=f"correct {metric.part.target} ({metric.part.signature.place})",
        )
    return value
