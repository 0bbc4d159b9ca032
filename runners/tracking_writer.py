"""The process that carries a sweep's journal into MLflow while the sweep trains.

Training never waits for MLflow: it appends to the journal, and this process, of lower priority, follows. What
MLflow does not take now it takes later; the journal keeps everything.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from conf.errors import UserError
from runners.records import Journal
from runners.tracking_runs import Run, RunTree
from runners.tracking_store import tracking_uri

JOURNAL_FILE = "records.jsonl"
CONFIG_FILE = "config.yaml"
LOG_FILE = "tracking.log"
LOCK_FILE = "tracking.lock"
# Seconds between two looks at the journal: many runs in one transaction cost less than one by one.
PAUSE = 2.0
LONGEST_DELAY = 30.0
ATTEMPTS_AT_THE_END = 5
NICENESS = 10


class Writer:
    """The handle that the sweep holds on its writer process."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, uri: str) -> None:
        self._process = process
        self._folder = folder
        self._uri = uri

    def finish(self, timeout: float = 600.0) -> None:
        """Waits until MLflow has everything that the journal has.

        Args:
            timeout: in seconds.

        Raises:
            UserError: MLflow did not take it, or not in time.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise self._failure(f"not within {timeout:g} s") from None
        if code != 0:
            lines = (self._folder / LOG_FILE).read_text(errors="replace").strip().splitlines()
            raise self._failure(lines[-1] if lines else f"exit code {code}")

    def _failure(self, reason: str) -> UserError:
        return UserError(
            what=f"MLflow at {self._uri} did not take all runs of this sweep ({reason})",
            expected="a store that can be written",
            mend=f"nothing is lost: see {self._folder / LOG_FILE}, then run the sweep again for the rest",
        )


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
    # As a spawned process would, the writer finds its modules where this process does.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "runners.tracking_writer", str(folder), "--uri", uri]
    with (folder / LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            [*command, "--experiment", experiment],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            # Ctrl-C is for the sweep; the writer ends after it.
            start_new_session=True,
        )
    return Writer(process, folder, uri)


def mirror(folder: Path, uri: str, experiment: str, ending: threading.Event) -> None:
    """Carries the journal into MLflow until `ending` is set and everything is there.

    Raises:
        Exception: what MLflow said the last time, after several attempts at the end.
    """
    from runners.tracking import Tracker

    journal = Journal(folder / JOURNAL_FILE)
    tree = RunTree()
    waiting: list[Run] = []
    tracker: Tracker | None = None
    offset = failures = attempts = 0
    while True:
        # Asked before the journal is read: what was appended before the end is then read after it.
        is_last = ending.wait(PAUSE)
        records, offset = journal.follow(offset)
        waiting += tree.add(records)
        if tree.sweep is None and not is_last:
            continue
        try:
            if tracker is None and tree.sweep is not None:
                tracker = Tracker(uri, experiment, tree.sweep)
                tracker.open_sweep(tree.sweep, folder / CONFIG_FILE)
            if tracker is not None:
                tracker.write(waiting)
                waiting.clear()
                if is_last:
                    tracker.close_sweep(tree.end)
            if is_last:
                return
            failures = 0
        except Exception as error:
            attempts += is_last
            if attempts == ATTEMPTS_AT_THE_END:
                raise
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            # A new Tracker asks MLflow what it has.
            tracker = None
            failures += 1
            delay = min(0.5 * 2**failures, LONGEST_DELAY)
            if is_last:
                time.sleep(delay)
            else:
                ending.wait(delay)


def main() -> None:
    """The writer process: follows until its standard input is closed, by the sweep or by its death."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--experiment", required=True)
    arguments = parser.parse_args()
    os.nice(NICENESS)
    ending = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        ending.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    with (arguments.folder / LOCK_FILE).open("w") as lock:
        # The writer of a killed sweep may still be draining when the sweep runs again.
        fcntl.flock(lock, fcntl.LOCK_EX)
        mirror(arguments.folder, arguments.uri, arguments.experiment, ending)


if __name__ == "__main__":
    main()
