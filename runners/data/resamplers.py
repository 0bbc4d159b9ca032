"""Samplers that are classes of imbalanced-learn's kind: which rows they select, or make, by `fit_resample`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.targets import reason_of
from lossfleet.runners import streams
from lossfleet.runners.data.filling import named
from lossfleet.runners.streams import Stream


@cache
def selects_rows(sampler: Part) -> bool:
    """Whether a sampler that is a class has `sample_indices_` after `fit_resample`, as its tags say.

    Raises:
        UserError: it has no `fit_resample`.
    """
    estimator = sampler.call()
    if not hasattr(estimator, "fit_resample"):
        raise UserError(
            what=f"sampler={sampler.name} is a class without fit_resample ({sampler.signature.place})",
            expected="a function, or a class of imbalanced-learn's kind",
            hint=f"give {sampler.target} a method fit_resample(X, y), or name another _target_",
        )
    if not hasattr(estimator, "__sklearn_tags__"):
        return False
    tags = getattr(estimator.__sklearn_tags__(), "sampler_tags", None)
    return tags is not None and tags.sample_indices


def resampled(sampler: Part, features: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Any, Any]:
    """What the `fit_resample` of a sampler that is a class returns, and the rows that it selects if it does."""
    estimator = sampler.call(random_state=streams.random_state(Stream.RESAMPLE, seed))
    try:
        rows = estimator.fit_resample(features, labels)
    except Exception as error:
        raise UserError(
            what=f"sampler={sampler.name} fails: {reason_of(error, sampler.signature.file)}",
            expected=f"settings and data of which {sampler.target} makes or selects rows",
            hint=f"change its settings ({sampler.signature.place}), or write for example sampler=oversample",
        ) from error
    return rows, getattr(estimator, "sample_indices_", None)


def check_classes(
    sampler: Part, labels: np.ndarray, resampled: np.ndarray, class_names: Sequence[str]
) -> None:
    """Raises UserError where a class has no row any more."""
    lost = sorted(set(np.unique(labels)) - set(np.unique(resampled)))
    if lost:
        raise UserError(
            what=f"sampler={sampler.name} leaves no row of class {named(lost, class_names)} of {len(labels)} rows",
            expected="rows of every class",
            hint="write for example sampler=oversample",
        )
