"""Optuna's journal in a file: its lock falls with its process, and it waits for the disk only where that is asked."""

from __future__ import annotations

import copy
import json
import os
from collections import defaultdict
from collections.abc import Container, Generator
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

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


class JournalFile(JournalFileBackend):
    """Optuna's journal in a file that the system has at once, also after a kill, and the disk after `wait_for_disk`.

    Optuna waits for the disk at every value that is asked for or reported, ten times a trial; a small trial trains
    in less time than that takes.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._system_lock = SystemLock(path)
        super().__init__(path, self._system_lock)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The lines from this number on; the file is opened only if there are any."""
        if self._log_number_offset.get(log_number_from) != os.stat(self._path).st_size:
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append a line each."""
        lines = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs)
        self._system_lock.acquire()
        try:
            with open(self._path, "ab") as file:
                file.write(lines.encode())
        finally:
            self._system_lock.release()


class SearchStorage(JournalStorage):
    """Optuna's, which before each new trial looks through all of them for one that waits, here only through new ones.

    No trial waits again once it has not.
    """

    def __init__(self, log_storage: JournalFile) -> None:
        super().__init__(log_storage)
        self._looked_at: dict[int, int] = defaultdict(int)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials of a study that are in one of these states; None is any."""
        if states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        with self._thread_lock:
            self._sync_with_backend()
            trials = self._replay_result._trials
            numbers = self._replay_result._study_id_to_trial_ids[study_id]
            new = [trials[each] for each in numbers[self._looked_at[study_id] :]]
            waiting = [trial for trial in new if trial.state == TrialState.WAITING]
            self._looked_at[study_id] = waiting[0].number if waiting else len(numbers)
            return copy.deepcopy(waiting) if deepcopy else waiting


def wait_for_disk(path: str | os.PathLike[str]) -> None:
    """Wait until the disk has all that any process has written to a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
