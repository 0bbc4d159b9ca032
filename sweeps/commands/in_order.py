"""Work on one item after another, in threads, with few of them ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before is worked on."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What is made of each item, in their order, by a thread a core; no more items than that are ahead."""
    cores = len(os.sched_getaffinity(0))
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(cores) as threads:
        for item in items:
            ahead.append(threads.submit(work, item))
            if len(ahead) > cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
