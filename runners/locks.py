"""Locks on files. The system takes them back when the process that holds them ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def lock(file: int | IO[bytes], *, shared: bool = False, wait: bool = True) -> None:
    """Take the lock on an open file, until `unlock` or until the file is closed.

    Args:
        file: the file, or its descriptor.
        shared: whether others may hold it in the same way.
        wait: whether to wait while others hold it.

    Raises:
        BlockingIOError: others hold it, and there is no waiting.
    """
    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


def unlock(file: int | IO[bytes]) -> None:
    """Give the lock on an open file back."""
    fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[IO[bytes]]:
    """Hold the lock on a file, which is made where it is missing; gives the file, to be written at its end.

    Args and Raises: as for `lock`.
    """
    with path.open("ab") as file:
        lock(file, shared=shared, wait=wait)
        yield file
