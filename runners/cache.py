"""A cache of large values: all that somebody still holds, and beyond that the latest, up to a number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from cachetools import LRUCache


class Sized(Protocol):
    """Anything that knows its bytes, as an array does."""

    @property
    def nbytes(self) -> int:
        """Its memory in bytes."""


Value = TypeVar("Value", bound=Sized)


class ByteBoundedCache(Generic[Value]):
    """Values by key, made when they are asked for and not there.

    Args:
        size: the bytes that values may take which nobody else holds.
    """

    def __init__(self, size: int) -> None:
        self._latest: LRUCache[Hashable, Value] = LRUCache(size, getsizeof=lambda value: value.nbytes)
        self._held: WeakValueDictionary[Hashable, Value] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is nowhere any more."""
        value = self._held.get(key)
        if value is None:
            value = self._held[key] = make()
        if value.nbytes <= self._latest.maxsize:
            self._latest[key] = value
        return value
