"""Decisions that trade frequent classes for rare ones after training, of many members at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lossfleet.conf.metrics import Metric, find_metric, with_users
from lossfleet.runners.metrics.classification import class_numbers, classification_metrics

# 0 is the argmax.
EXPONENTS = np.arange(-10, 21) / 10


def correct_for_prior(logits: np.ndarray, exponent: np.ndarray, class_counts: np.ndarray) -> np.ndarray:
    """Logits whose argmax is the corrected decision, argmax_c of log p_c - kappa log prior_c.

    kappa = 0 is the plain argmax. kappa = 1 maximises balanced accuracy where p are the true probabilities;
    a strategy that already favours rare classes needs less, or less than none.

    Args:
        logits: (..., C, N) floats.
        exponent: (...), kappa.
        class_counts: (C,) positive, or (..., C), of each member; the prior is their share.

    Returns:
        (..., C, N) float64; log p of them is another one than that of the logits.

    Reference: Saerens et al. 2002 (Neural Computation 14); Menon et al. 2021, arXiv 2007.07314.
    """
    log_prior = np.log(class_counts / class_counts.sum(axis=-1, keepdims=True))
    return logits - exponent[..., None, None] * log_prior[..., :, None]


def fit_exponent(
    logits: np.ndarray,
    labels: np.ndarray,
    class_counts: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    rarest_class: int,
    metric: str,
    users: Sequence[Metric] = (),
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """The kappa of `correct_for_prior` with the best metric, among -1, -0.9, ..., 2.

    Args:
        logits: (..., C, N) floats, of examples that were neither trained on nor will be tested on.
        labels: (..., N) integers in 0..C-1.
        class_counts: (C,) positive, of the training part, or (..., C), of that of each member.
        weights: (..., N) of at least 0; None where all examples count alike.
        rarest_class: in 0..C-1.
        metric: by which exponents are compared; balanced accuracy takes its place where it does not depend on
            decisions alone, and where it is one-sided: best too where all examples are given to one class.
        users: metrics beside lossfleet's own.
        class_names: as for `classification_metrics`.

    Returns:
        (...) float64, the middle of the longest run of exponents with the best metric, of several such runs the
        one nearest to 0; 0 for a member without a finite metric.
    """
    known = with_users(users)
    class_names = class_names or class_numbers(class_counts.shape[-1])
    measure = find_metric(metric, known)
    if not measure.is_of_decisions or is_one_sided(
        measure, class_names=class_names, rarest_class=rarest_class, users=users
    ):
        measure = known["balanced_accuracy"]
    leading = labels.shape[:-1]
    scores = np.stack(
        [
            measure.sign
            * classification_metrics(
                correct_for_prior(logits, np.full(leading, exponent), class_counts),
                labels,
                weights,
                rarest_class=rarest_class,
                names=(measure.name,),
                users=users,
                class_names=class_names,
            )[measure.name]
            for exponent in EXPONENTS
        ]
    )
    scores = np.nan_to_num(scores, nan=-np.inf)
    best = np.isclose(scores, scores.max(axis=0), rtol=0, atol=1e-12) & np.isfinite(scores)
    return np.apply_along_axis(middle_of_longest_run, 0, best)


def is_one_sided(
    metric: Metric, *, class_names: Sequence[str], rarest_class: int, users: Sequence[Metric]
) -> bool:
    """Whether a metric of decisions is as good where one class gets all examples as where all are right.

    Such as the recall of that class: a threshold that is tuned by it moves without end.
    """
    classes = len(class_names)
    # An example a class: all right, then all given to the first class, to the second and so on.
    decisions = np.stack(
        [np.eye(classes), *(np.eye(classes)[[label] * classes].T for label in range(classes))]
    )
    right, *one_class = classification_metrics(
        decisions,
        np.arange(classes)[None].repeat(len(decisions), axis=0),
        rarest_class=rarest_class,
        names=(metric.name,),
        users=users,
        class_names=class_names,
    )[metric.name]
    return right in one_class


def middle_of_longest_run(is_best: np.ndarray) -> float:
    """The exponent in the middle of the longest run of best ones, (31,) bool; of equally long ones nearest to 0."""
    if not is_best.any():
        return 0.0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_best.astype(int), [0]])))
    runs = [(first, after) for first, after in zip(edges[::2], edges[1::2], strict=True)]
    middles = [
        (first - after, abs(middle := EXPONENTS[(first + after - 1) // 2]), middle) for first, after in runs
    ]
    return float(min(middles)[2])
