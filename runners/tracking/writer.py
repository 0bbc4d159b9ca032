"""The process that carries a sweep's journal into MLflow while the sweep trains.

Training never waits for MLflow: it appends to the journal, and this process, of lower priority, follows. What
MLflow does not take now it takes later; the journal keeps everything.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lossfleet.conf.errors import Failure, UserError
from lossfleet.runners.children import end_of_parent, start_child
from lossfleet.runners.locks import locked
from lossfleet.runners.records import JOURNAL_FILE, Journal
from lossfleet.runners.tracking.runs import Run, RunTree
from lossfleet.runners.tracking.store import is_local, shown_uri, tracking_uri

LOG_FILE = "tracking.log"
LOCK_FILE = "tracking.lock"
# Seconds between two looks at the journal: many runs in one transaction cost less than one by one.
PAUSE = 2.0
LONGEST_DELAY = 30.0
# For so long after the end of a sweep MLflow is asked again when it fails, and a server is waited for.
SECONDS_AT_THE_END = 6.0
# What its last attempt may take beyond that, before it is left to itself.
SECONDS_FOR_A_LAST_ATTEMPT = 6.0
# A local database is only slow where the machine is.
SECONDS_FOR_A_LOCAL_STORE = 600.0
NICENESS = 10


class Writer:
    """The handle that the sweep holds on its writer process."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, uri: str) -> None:
        self._process = process
        self._folder = folder
        self._uri = uri

    @property
    def place(self) -> str:
        """The URI of MLflow's store or server, without a password."""
        return shown_uri(self._uri)

    def finish(self, timeout: float | None = None) -> str | None:
        """Waits until MLflow has everything that the journal has.

        Args:
            timeout: in seconds; None for as long as a local store needs, and for some seconds for a server.

        Returns:
            Why MLflow does not have everything, or None if it does. Where it only was slow, the writer goes on.
        """
        if timeout is None:
            for_a_server = SECONDS_AT_THE_END + SECONDS_FOR_A_LAST_ATTEMPT
            timeout = SECONDS_FOR_A_LOCAL_STORE if is_local(self._uri) else for_a_server
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"it was not done within {timeout:g} s, and is being sent in the background"
        if code == 0:
            return None
        lines = (self._folder / LOG_FILE).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"its writer ended with code {code}"


def start_writer(folder: str | os.PathLike[str], uri: str | None, experiment: str) -> Writer:
    """Starts the process that follows the journal in a sweep's folder.

    It ends, with everything written, when `Writer.finish` is called or when this process is gone.

    Args:
        folder: the sweep's folder; made if it is missing.
        uri: MLflow's store or server; None for the default, see `tracking_uri`.
        experiment: the name; created if it is missing.

    Raises:
        UserError: for a URI that MLflow does not take.
    """
    folder, uri = Path(folder), tracking_uri(uri)
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # It may hold a password, which an argument would show to everybody.
        "MLFLOW_TRACKING_URI": uri,
    }
    with (folder / LOG_FILE).open("wb") as log:
        # Ctrl-C is for the sweep; the writer ends after it.
        process = start_child(
            "lossfleet.runners.tracking.writer",
            str(folder),
            experiment,
            output=log,
            environment=environment,
            is_session=True,
        )
    return Writer(process, folder, uri)


def sync(folder: Path, uri: str, experiment: str) -> int:
    """Sends to MLflow what the journal in a sweep's folder has and MLflow lacks.

    Returns:
        The number of runs that were sent, without the sweep's own.

    Raises:
        UserError: the sweep is running, or its writer still is.
        Failure: MLflow does not take them.
    """
    ended = threading.Event()
    ended.set()
    with writer_locked(folder):
        try:
            return mirror(folder, uri, experiment, ended)
        except Exception as error:
            raise Failure(
                f"MLflow at {shown_uri(uri)} did not take the runs of {folder.name} ({gist(error)}); "
                "nothing is lost: run the same command again when it is back"
            ) from error


@contextmanager
def writer_locked(folder: Path) -> Iterator[None]:
    """Be the only one that writes the runs of the sweep in this folder.

    Raises:
        UserError: a writer is at work.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK_FILE, wait=False))
        except BlockingIOError:
            raise UserError(
                what=f"the runs of {folder.name} are being sent to MLflow by another process",
                expected="one writer a sweep",
                hint=f"wait for it to end; {folder / LOG_FILE} says what keeps it",
            ) from None
        yield


def mirror(folder: Path, uri: str, experiment: str, ending: threading.Event) -> int:
    """Carries the journal into MLflow until `ending` is set and everything is there.

    Returns:
        The number of runs that were sent, without the sweep's own.

    Raises:
        Exception: what MLflow said the last time, after some seconds of attempts at the end.
    """
    from lossfleet.runners.tracking.tracker import Tracker

    journal = Journal(folder / JOURNAL_FILE)
    tree = RunTree()
    waiting: list[Run] = []
    tracker: Tracker | None = None
    offset = failures = sent = 0
    deadline: float | None = None
    while True:
        # Asked before the journal is read: what was appended before the end is then read after it.
        is_last = ending.wait(PAUSE)
        if is_last and deadline is None:
            deadline = time.monotonic() + SECONDS_AT_THE_END
        records, offset = journal.follow(offset)
        waiting += tree.add(records)
        if tree.sweep is None and not is_last:
            continue
        try:
            if tracker is None and tree.sweep is not None:
                tracker = Tracker(uri, experiment, tree.sweep)
                tracker.open_sweep(tree.sweep, tree.continuations)
                tracker.log_examples(folder)
            if tracker is not None:
                sent += tracker.write(waiting)
                waiting.clear()
                if is_last:
                    tracker.close_sweep(tree.end, folder)
            if is_last:
                return sent
            failures = 0
        except Exception as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise
            # A new Tracker asks MLflow what it has.
            tracker = None
            failures = min(failures + 1, 10)
            delay = min(0.5 * 2**failures, LONGEST_DELAY)
            if deadline is not None:
                time.sleep(min(delay, max(0.1, deadline - time.monotonic())))
            else:
                # The disk of the log may be full.
                with suppress(OSError):
                    print(gist(error), file=sys.stderr, flush=True)
                ending.wait(delay)


def main(folder: str, experiment: str) -> None:
    """The writer process: follows until the sweep says that it is over, or is gone."""
    # The sweep that started this process keeps the signals to itself; the user may want to end it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    os.nice(NICENESS)
    ending = end_of_parent()
    # The writer of a killed sweep may still be draining when the sweep runs again.
    with locked(Path(folder) / LOCK_FILE):
        try:
            mirror(Path(folder), tracking_uri(None), experiment, ending)
        except Exception as error:
            sys.exit(gist(error))
    # The sweep waits for the end of this process: MLflow need not be looked through for garbage.
    gc.freeze()


def gist(error: Exception) -> str:
    """The kind and the gist of an exception in one line; those of database drivers are long."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:200]
