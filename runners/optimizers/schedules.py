"""Schedules: the factor of the learning rate at each step."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Lt


def constant(step: np.ndarray, steps: int) -> np.ndarray:
    """Always 1."""
    raise NotImplementedError


def cosine(step: np.ndarray, steps: int, *, warmup: Annotated[float, Ge(0), Lt(1)] = 0.0) -> np.ndarray:
    """Half a cosine wave from 1 to 0 after a linear rise."""
    raise NotImplementedError
