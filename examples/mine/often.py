from typing import Annotated

import numpy as np
from annotated_types import Ge


def rarest_often(
    labels: np.ndarray, *, draws: int, random: np.random.Generator, times: Annotated[float, Ge(1)] = 2.0
) -> np.ndarray:
    """Draws examples of the rarest class so many times as often as the others."""
    rarest = np.bincount(labels).argmin()
    weight = np.where(labels == rarest, times, 1.0)
    return random.choice(len(labels), draws, p=weight / weight.sum())
