"""Schedules of the learning rate: what it is multiplied by at each step."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval


def constant(step: np.ndarray, steps: int) -> np.ndarray:
    """The same learning rate throughout.

    Args:
        step: of any shape, int from 1 to steps.
        steps: of the whole training.

    Returns:
        Ones, in the shape of step.
    """
    return np.ones(step.shape)


def cosine(
    step: np.ndarray,
    steps: int,
    *,
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    final: Annotated[float, Ge(0)] = 0.0,
) -> np.ndarray:
    """A linear rise to 1, then half a cosine down to `final`.

        t / w                                            up to the last warm-up step w
        final + (1 - final) (1 + cos(pi (t - 1 - w) / (steps - w))) / 2    after it

    Args:
        step: t, of any shape, int from 1 to steps.
        steps: of the whole training.
        warmup: the share of the steps that rise; w = floor(warmup steps).
        final: what the cosine falls towards.

    Returns:
        Factors in the shape of step.

    Reference: Loshchilov and Hutter 2017, SGDR, arXiv 1608.03983.
    """
    rise = int(warmup * steps)
    fall = final + (1 - final) * (1 + np.cos(np.pi * (step - 1 - rise) / (steps - rise))) / 2
    return np.where(step <= rise, step / max(rise, 1), fall)
