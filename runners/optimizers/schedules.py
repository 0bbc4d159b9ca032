"""Schedules of the learning rate: what it is multiplied by at each step.

All that they are told are shares of the training, so that they do not depend on its length.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

# Of the training, less than all of it.
Share = Annotated[float, Interval(ge=0, lt=1)]


def constant(step: np.ndarray, steps: int, *, warmup: Share = 0.0) -> np.ndarray:
    """A linear rise to 1, then the same learning rate throughout.

        t / w    up to the last warm-up step w, 1 after it

    Args:
        step: t, of any shape, int from 1 to steps.
        steps: of the whole training.
        warmup: the share of the steps that rise; w = floor(warmup steps).

    Returns:
        Factors in the shape of step.
    """
    return _warmed(step, int(warmup * steps), np.ones(step.shape))


def cosine(
    step: np.ndarray,
    steps: int,
    *,
    warmup: Share = 0.0,
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
    return _warmed(step, rise, _half_wave(1, final, (step - 1 - rise) / (steps - rise)))


def step_decay(
    step: np.ndarray,
    steps: int,
    *,
    gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1,
    milestones: tuple[Annotated[float, Interval(ge=0, le=1)], ...] = (0.5, 0.75),
    warmup: Share = 0.0,
) -> np.ndarray:
    """A linear rise to 1, then times `gamma` at each milestone.

        t / w         up to the last warm-up step w
        gamma^k       after it, k the number of milestones m with round(m steps) < t

    Args:
        step: t, of any shape, int from 1 to steps.
        steps: of the whole training.
        gamma: the factor.
        milestones: shares of the steps; the step after each is the first that is smaller.
        warmup: the share of the steps that rise; w = floor(warmup steps).

    Returns:
        Factors in the shape of step.

    Reference: He et al. 2016, arXiv 1512.03385, with a tenth at a half and three quarters of the training.
    """
    passed = np.sum([step > round(milestone * steps) for milestone in milestones], axis=0)
    return _warmed(step, int(warmup * steps), gamma**passed)


def one_cycle(
    step: np.ndarray,
    steps: int,
    *,
    warmup: Share = 0.3,
    initial: Annotated[float, Ge(0)] = 0.04,
    final: Annotated[float, Ge(0)] = 4e-6,
) -> np.ndarray:
    """Half a cosine from `initial` up to 1, then half a cosine down to `final`.

        1 + (initial - 1) (1 + cos(pi (t - 1) / p)) / 2                      up to the peak, p = warmup steps - 1
        final + (1 - final) (1 + cos(pi (t - 1 - p) / (steps - 1 - p))) / 2    after it

    The momentum stays as it is.

    Args:
        step: t, of any shape, int from 1 to steps.
        steps: of the whole training.
        warmup: the share of the steps that rise.
        initial: at the first step.
        final: at the last step.

    Returns:
        Factors in the shape of step.

    Reference: Smith and Topin 2018, arXiv 1708.07120, in the form of PyTorch's OneCycleLR, whose `div_factor` is
    1 / initial and whose `final_div_factor` is initial / final.
    """
    peak = warmup * steps - 1
    rise = _half_wave(initial, 1, (step - 1) / max(peak, 1))
    fall = _half_wave(1, final, (step - 1 - peak) / (steps - 1 - peak))
    return np.where(step - 1 <= peak, rise, fall)


def _warmed(step: np.ndarray, rise: int, after: np.ndarray) -> np.ndarray:
    """A linear rise to 1 over so many steps, then what comes after it."""
    return np.where(step <= rise, step / max(rise, 1), after)


def _half_wave(start: float, end: float, share: np.ndarray) -> np.ndarray:
    """Half a cosine wave from its start, at a share of 0, to its end, at a share of 1."""
    return end + (start - end) * (1 + np.cos(np.pi * share)) / 2
