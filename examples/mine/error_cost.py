from typing import Annotated

import numpy as np
from annotated_types import Ge


def error_cost(
    confusion: np.ndarray, rarest_class: int, *, missed: Annotated[float, Ge(0)] = 10.0
) -> np.ndarray:
    """Mean cost of a decision: 1 for an error, `missed` for an example of the rarest class that is not found."""
    wrong = confusion * (1 - np.eye(confusion.shape[-1]))
    extra = (missed - 1) * wrong[:, rarest_class].sum(-1)
    return (wrong.sum((1, 2)) + extra) / confusion.sum((1, 2))
