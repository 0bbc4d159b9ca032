"""How far samplers fill classes up, from how many neighbours, and what of that is told."""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated

import numpy as np
from annotated_types import Interval

from lossfleet.conf.errors import UserError

# The least size of a class as a share of the largest one.
Ratio = Annotated[float, Interval(gt=0, le=1)]
# Of a class size, so that 0.55 of 100 rows are 55.
ROUNDING = 1e-9


def filled_up(labels: np.ndarray, ratio: float) -> dict[int, int]:
    """The size that each class comes to that has less than ratio times the largest one."""
    classes, counts = np.unique(labels, return_counts=True)
    goal = math.ceil(ratio * counts.max() - ROUNDING)
    return {int(label): goal for label, count in zip(classes, counts, strict=True) if count < goal}


@cache
def tell_once(line: str) -> None:
    """Say a line on standard error, the first time that there is a reason to."""
    print(line, file=sys.stderr)


def named(labels: Iterable[int], class_names: Sequence[str]) -> str:
    """Classes in a message: by their names, by their numbers where they have none."""
    return ", ".join(repr(class_names[label]) if class_names else str(label) for label in labels)


def neighbors_within(
    labels: np.ndarray, goals: Mapping[int, int], neighbors: int, class_names: Sequence[str]
) -> int:
    """How many neighbours every class that is filled up has, at most `neighbors`."""
    counts = {label: int(np.count_nonzero(labels == label)) for label in goals}
    rarest = min(counts, key=counts.__getitem__)
    smallest, name = counts[rarest], named([rarest], class_names)
    if smallest < 2:
        raise UserError(
            what=f"SMOTE cannot interpolate within class {name}, which has {smallest} training row",
            expected="at least 2 rows a class",
            hint="write for example sampler=oversample",
        )
    lowered = min(neighbors, smallest - 1)
    if lowered < neighbors:
        tell_once(
            f"sampler.neighbors lowered from {neighbors} to {lowered}: class {name} has {smallest} training rows"
        )
    return lowered


def tell_untouched(
    name: str, goals: Iterable[int], filled: Container[int], class_names: Sequence[str]
) -> None:
    """Say which of the classes to be filled up were not."""
    untouched = [label for label in goals if label not in filled]
    if untouched:
        several = len(untouched) > 1
        tell_once(
            f"sampler={name} leaves class{'es' if several else ''} {named(untouched, class_names)} as "
            f"{'they are' if several else 'it is'}: too few of the rows are near those of other classes"
        )
