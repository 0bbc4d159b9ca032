"""References: estimators of scikit-learn's kind on the final splits, measured as final replicates are."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from lossfleet.conf.deciding import ARGMAX, Decision
from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.searching import Search
from lossfleet.runners.data.splits import row_counts
from lossfleet.runners.metrics.classification import Outputs, classification_metrics
from lossfleet.runners.metrics.evaluation import evaluate
from lossfleet.runners.records import ReferenceRecord, ReplicateRecord
from lossfleet.runners.training.replicate import ReplicateFactory


def evaluate_reference(
    reference: Part,
    factory: ReplicateFactory,
    pairs: Iterable[tuple[int, int]],
    search: Search,
    decision: Decision = ARGMAX,
) -> ReferenceRecord:
    """Fit a reference on the training part of each split, as strategies are, and measure it on the others.

    Args:
        reference: of the config group `reference`; it is given `random_state`, the seed of the pair.
        factory: makes the splits.
        pairs: the seed and split of each final replicate.
        search: its metric is what the correction for the prior is fitted to.
        decision: as for `evaluate`.

    Returns:
        The record; an estimator that raises an exception has failed, and only it. Where rows have weights, one whose
        `fit` takes no `sample_weight` is fitted without, and measured with them.
    """
    started = time.time()
    replicates: list[ReplicateRecord] = []
    reason = error = None
    try:
        for number, (seed, split) in enumerate(pairs):
            replicates.append(_replicate(reference, factory, number, seed, split, search, decision))
    except Exception as failure:
        reason, error = f"raised {type(failure).__name__}: {failure}", traceback.format_exc()
    return ReferenceRecord(reference.to_dict(), replicates, started, time.time(), reason, error)


def log_probabilities(estimator: Any, features: np.ndarray) -> np.ndarray:
    """The logarithm of what an estimator says, (1, C, N) float64; a probability of 0 counts as the smallest double."""
    probabilities = np.asarray(estimator.predict_proba(features), np.float64).T
    return np.log(probabilities.clip(min=np.finfo(np.float64).tiny))[None]


def takes_weights(reference: Part) -> bool:
    """Whether the `fit` of a reference takes weights of rows."""
    from sklearn.utils.validation import has_fit_parameter

    return has_fit_parameter(reference.call(random_state=0), "sample_weight")


def check_estimator(reference: Part) -> None:
    """Raises UserError unless a reference can be made and is an estimator that gives probabilities."""
    estimator = reference.call(random_state=0)
    for method in ("fit", "predict_proba"):
        if not callable(getattr(estimator, method, None)):
            raise UserError(
                what=f"reference={reference.name} has no {method}",
                expected="a classifier of scikit-learn's kind, with fit(X, y) and predict_proba(X)",
                hint=f"choose another _target_ in reference/{reference.name}.yaml",
            )


def _replicate(
    reference: Part,
    factory: ReplicateFactory,
    number: int,
    seed: int,
    split: int,
    search: Search,
    decision: Decision,
) -> ReplicateRecord:
    started = time.time()
    parts = factory.split(seed, split)
    with warnings.catch_warnings():
        # Of convergence and of what is to change: a reference is as good as it is.
        warnings.simplefilter("ignore")
        estimator = reference.call(random_state=seed)
        is_weighed = parts.train_weights is not None and takes_weights(reference)
        weighting = {"sample_weight": parts.train_weights} if is_weighed else {}
        estimator = estimator.fit(np.asarray(parts.train_features), parts.train_labels, **weighting)
        validation, test = (
            Outputs(
                log_probabilities(estimator, np.asarray(features)),
                labels[None],
                None if weights is None else weights[None],
            )
            for features, labels, weights in (
                (parts.validation_features, parts.validation_labels, parts.validation_weights),
                (parts.test_features, parts.test_labels, parts.test_weights),
            )
        )
    shared: dict[str, Any] = {
        "rarest_class": parts.rarest_class,
        "users": search.users_metrics,
        "class_names": factory.dataset.class_names,
    }
    validated = classification_metrics(*validation, **shared)
    tested, diagrams = evaluate(
        validation,
        test,
        class_counts=parts.weighted_counts,
        metric=search.metric,
        decision=decision,
        **shared,
    )
    metrics = {f"validation_{name}": float(values[0]) for name, values in validated.items()}
    metrics |= {name: float(values[0]) for name, values in tested.items()}
    metrics |= row_counts(parts)
    return ReplicateRecord(
        strategy=reference.name,
        stage="reference",
        trial=0,
        replicate=number,
        seed=seed,
        split=split,
        state="COMPLETE",
        epochs=0,
        metrics=metrics,
        curves={name: curves[0] for name, curves in diagrams.items()},
        started=started,
        ended=time.time(),
    )
