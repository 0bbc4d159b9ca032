"""A number for each class, as users have them, as Tensors: class weights and class counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

ClassValues: TypeAlias = "Sequence[float] | np.ndarray | Tensor"


def class_values(name: str, values: ClassValues, *, above_zero: bool = False) -> Tensor:
    """Checks numbers of the classes before there are logits; their length is checked with the first logits.

    Args:
        name: of the argument, for messages.
        values: (C,), each finite and at least 0; a list, an array or a Tensor.
        above_zero: whether 0 is refused too.

    Returns:
        (C,), the Tensor that was given, else float32.

    Raises:
        TypeError, ValueError: values have a wrong type or shape, or one is out of range; the message says which.
    """
    if not isinstance(values, Tensor | np.ndarray | list | tuple):
        raise TypeError(
            f"{name} is of type {type(values).__name__}; expected a list, an array or a Tensor (C,)"
        )
    tensor = values if isinstance(values, Tensor) else Tensor(np.asarray(values, np.float32))
    if tensor.ndim != 1:
        raise ValueError(f"{name} has shape {tensor.shape}; expected (C,), one number for each class")
    numbers = ops.cast(tensor, ms.float32).asnumpy()
    wrong = ~(np.isfinite(numbers) & (numbers > 0 if above_zero else numbers >= 0))
    if wrong.any():
        bound = "above 0" if above_zero else "of at least 0"
        raise ValueError(f"{name} contains {numbers[wrong][0]:g}; expected finite numbers {bound}")
    return tensor


def class_weight(weight: ClassValues | None) -> Tensor | None:
    """Class weights (C,) as `class_values` has them; None for none."""
    return None if weight is None else class_values("weight", weight)
