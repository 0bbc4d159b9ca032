"""The lock on Optuna's journal: it falls with its process, and whoever takes it mends what a killed one left."""

from __future__ import annotations

import os

from optuna.storages.journal import JournalFileOpenLock

from lossfleet.runners.locks import lock
from lossfleet.runners.records import end_of_last_line


class SystemLock(JournalFileOpenLock):
    """A lock of the operating system on the journal itself.

    Optuna's own locks are files: those of a killed process stand in the way for 30 s. And after a process that
    was killed, or whose disk was full, while it wrote, Optuna appends to the torn line, which makes the journal
    unreadable; here the next writer cuts it off.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock, then cut off a torn last line."""
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            lock(descriptor)
            os.ftruncate(descriptor, end_of_last_line(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
