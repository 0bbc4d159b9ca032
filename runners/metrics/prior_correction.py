"""Decisions that trade frequent classes for rare ones after training, of many members at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lossfleet.conf.metrics import Metric, own_metrics
from lossfleet.runners.metrics.classification import classification_metrics

# Nearest to 0 first, which is the argmax: of equal exponents the smallest correction wins.
EXPONENTS = np.array(sorted(np.arange(-10, 21) / 10, key=abs))


def correct_for_prior(logits: np.ndarray, exponent: np.ndarray, class_counts: np.ndarray) -> np.ndarray:
    """Logits whose argmax is the corrected decision, argmax_c of log p_c - kappa log prior_c.

    kappa = 0 is the plain argmax. kappa = 1 maximises balanced accuracy where p are the true probabilities;
    a strategy that already favours rare classes needs less, or less than none.

    Args:
        logits: (..., C, N) floats.
        exponent: (...), kappa.
        class_counts: (C,) positive; the prior is their share.

    Returns:
        (..., C, N) float64; log p of them is another one than that of the logits.

    Reference: Saerens et al. 2002 (Neural Computation 14); Menon et al. 2021, arXiv 2007.07314.
    """
    log_prior = np.log(class_counts / class_counts.sum())
    return logits - exponent[..., None, None] * log_prior[:, None]


def fit_exponent(
    logits: np.ndarray,
    labels: np.ndarray,
    class_counts: np.ndarray,
    *,
    rarest_class: int,
    metric: str,
    users: Sequence[Metric] = (),
) -> np.ndarray:
    """The kappa of `correct_for_prior` with the best metric, among -1, -0.9, ..., 2.

    Args:
        logits: (..., C, N) floats, of examples that were neither trained on nor will be tested on.
        labels: (..., N) integers in 0..C-1.
        class_counts: (C,) positive, of the training part.
        rarest_class: in 0..C-1.
        metric: by which exponents are compared; where it does not depend on decisions alone, balanced accuracy is
            taken.
        users: metrics beside lossfleet's own.

    Returns:
        (...) float64, the one nearest to 0 where several are best; 0 for a member without a finite metric.
    """
    known = own_metrics() | {each.name: each for each in users}
    measure = known[metric] if known[metric].is_of_decisions else known["balanced_accuracy"]
    leading = labels.shape[:-1]
    scores = [
        measure.sign
        * classification_metrics(
            correct_for_prior(logits, np.full(leading, exponent), class_counts),
            labels,
            rarest_class=rarest_class,
            names=(measure.name,),
            users=users,
        )[measure.name]
        for exponent in EXPONENTS
    ]
    return EXPONENTS[np.nan_to_num(np.stack(scores), nan=-np.inf).argmax(axis=0)]
