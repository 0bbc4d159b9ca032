"""Calls of the core's functions with NumPy's arrays."""

from __future__ import annotations

import ctypes

import numpy as np

from lossfleet.runners.training.native.build import core
from lossfleet.runners.training.native.libraries import DETECTORS, ROWS

# What the library of detectors has.
OF_DETECTORS = {
    *("train_detector_epoch", "predict_detector_images", "suppress_boxes"),
    *("train_two_stage_epoch", "predict_two_stage_images"),
}
INT64S = ctypes.POINTER(ctypes.c_int64)


class Call:
    """A call with arrays as arguments, those that are written to last; it is made once and done many times.

    Args:
        name: of a function of the core.
        arrays: float32 or int32, contiguous.
    """

    def __init__(self, name: str, *arrays: np.ndarray) -> None:
        self._library = core(DETECTORS if name in OF_DETECTORS else ROWS)
        self._function = getattr(self._library, name)
        count = len(arrays)
        self._arrays: list[np.ndarray | None] = [None] * count
        self._pointers = (ctypes.c_void_p * count)()
        self._ranks = (ctypes.c_int * count)()
        self._shapes = (INT64S * count)()
        self._types = (ctypes.c_char_p * count)()
        for index, array in enumerate(arrays):
            self.set(index, array)

    def set(self, index: int, array: np.ndarray) -> None:
        """Puts another array in the place of an argument."""
        before = self._arrays[index]
        if array is before:
            return
        if not array.flags.c_contiguous:
            raise ValueError(f"argument {index} is not contiguous; expected an array that is")
        # Kept, since C knows nothing but the address.
        self._arrays[index] = array
        self._pointers[index] = array.ctypes.data
        if before is not None and array.shape == before.shape and array.dtype == before.dtype:
            # To tell the rest takes a fifth as long as a small member trains.
            return
        self._ranks[index] = array.ndim
        self._shapes[index] = ctypes.cast((ctypes.c_int64 * array.ndim)(*array.shape), INT64S)
        self._types[index] = array.dtype.name.encode()

    def __call__(self) -> None:
        """Calls the function; other threads of Python go on meanwhile.

        Raises:
            ValueError: the arguments do not fit each other.
        """
        count = len(self._arrays)
        if self._function(count, self._pointers, self._ranks, self._shapes, self._types, None, None):
            raise ValueError(self._library.last_reason().decode())
