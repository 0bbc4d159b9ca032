"""The sidecar, a process beside a worker: it gives the worker's heartbeats and exports its trials to MLflow.

It is a process of its own so that neither training nor compilation delays a heartbeat, and MLflow neither of
them. It ends when the worker ends, however that ends: what the worker holds is then free for the others. When
the whole machine is gone, the others see that the heartbeats have ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lossfleet.conf.errors import Failure
from lossfleet.runners.children import end_of_parent, start_child
from lossfleet.runners.cluster.tables import END, OPEN, Task
from lossfleet.runners.cluster.work_queue import WorkQueue
from lossfleet.runners.records import EndRecord, SweepRecord
from lossfleet.runners.tracking.runs import RunTree

if TYPE_CHECKING:
    from lossfleet.runners.tracking.tracker import Tracker

# Seconds between two looks for trials to export.
PAUSE = 1.0
LONGEST_DELAY = 30.0
NICENESS = 10
# The exit code of a sidecar whose worker has expired.
EXPIRED = 3


@dataclass(frozen=True)
class SidecarSettings:
    """What a sidecar is there for; without an experiment nothing is exported to MLflow."""

    storage: str
    sweep: str
    worker: str
    heartbeat: float
    uri: str
    experiment: str | None


class Expired(Failure):
    """The others have taken over what a worker held, since it was silent for too long."""


class Sidecar:
    """The handle that a worker holds on its sidecar."""

    def __init__(self, settings: SidecarSettings, log_file: Path) -> None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        self._log_file = log_file
        with log_file.open("wb") as log:
            # Ctrl-C is for the worker; the sidecar ends after it.
            self._process = start_child(
                "lossfleet.runners.cluster.sidecar",
                output=log,
                environment={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                is_session=True,
            )
        # Not as an argument: the storage's URL may hold a password.
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(settings)).encode() + b"\n")
        self._process.stdin.flush()

    def check(self) -> None:
        """Raises where the worker must stop.

        Raises:
            Expired: the others count this worker as gone.
            Failure: the sidecar has ended.
        """
        code = self._process.poll()
        if code == EXPIRED:
            raise Expired("this worker was silent for so long that others have taken over its trials")
        if code is not None:
            raise Failure(f"the process beside this worker ended with code {code}, see {self._log_file}")

    def finish(self) -> None:
        """Let the sidecar sign the worker off, and wait for its end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


class Exporter:
    """Exports the done tasks of a worker to MLflow, each of them once."""

    def __init__(self, settings: SidecarSettings, experiment: str, queue: WorkQueue) -> None:
        self._settings = settings
        self._experiment = experiment
        self._queue = queue
        self._tracker: Tracker | None = None
        self._opening: Task | None = None

    def export(self) -> None:
        """Write to MLflow what the worker has done and what was left behind by workers that are gone.

        Raises:
            Exception: what MLflow said; a further call does the rest.
        """
        queue, worker = self._queue, self._settings.worker
        if not self._is_open():
            return
        # What a worker that is gone had written, only MLflow knows: a new Tracker asks it.
        if queue.adopt(worker):
            self._tracker = None
        waiting = [task for task in queue.untracked(worker) if task != END]
        if waiting:
            self._tracker = self._tracker or self._new_tracker()
            tree = self._new_tree()
            self._tracker.write([run for task in waiting for run in tree.add(queue.records.read(task))])
            for task in waiting:
                queue.finish(worker, task, tracked=True)
        if END in queue.untracked(worker) and all_tracked(queue):
            self._close()

    def forget(self) -> None:
        """After an error: ask MLflow again what it has."""
        self._tracker = None

    def _is_open(self) -> bool:
        """Whether the sweep's own run is there; made here if no worker is at it."""
        queue, worker = self._queue, self._settings.worker
        if queue.counts()[OPEN[:2]].tracked:
            return True
        self._opening = self._opening or queue.claim(worker, OPEN.strategy, OPEN.stage)
        if self._opening is None:
            return False
        self._tracker = self._new_tracker()
        self._open(self._tracker)
        queue.finish(worker, OPEN, tracked=True)
        return True

    def _close(self) -> None:
        """End the sweep's own run; a last new Tracker removes what a worker that expired too early doubled."""
        (end,) = self._queue.records.read(END)
        assert isinstance(end, EndRecord)
        tracker = self._new_tracker()
        self._open(tracker)
        tracker.close_sweep(end, Path("studies") / self._settings.sweep)
        self._queue.finish(self._settings.worker, END, tracked=True)

    def _new_tracker(self) -> Tracker:
        # Late: MLflow takes seconds to import.
        from lossfleet.runners.tracking.tracker import Tracker

        return Tracker(self._settings.uri, self._experiment, self._sweep())

    def _open(self, tracker: Tracker) -> None:
        tree = self._new_tree()
        assert tree.sweep is not None
        tracker.open_sweep(tree.sweep, tree.continuations)

    def _new_tree(self) -> RunTree:
        """A tree that knows the sweep and none of its trials."""
        tree = RunTree()
        tree.add(self._queue.records.runs())
        return tree

    def _sweep(self) -> SweepRecord:
        (sweep,) = self._queue.records.read(OPEN)
        assert isinstance(sweep, SweepRecord)
        return sweep


def all_tracked(queue: WorkQueue) -> bool:
    """Whether everything but the end of the sweep is in MLflow."""
    return all(
        count.tracked == count.total for (_, stage), count in queue.counts().items() if stage != END.stage
    )


def run(settings: SidecarSettings, ending: threading.Event) -> None:
    """Give heartbeats and export trials until `ending` is set, then sign the worker off."""
    queue = WorkQueue(settings.storage, settings.sweep)
    threading.Thread(target=send_heartbeats, args=(settings,), daemon=True).start()
    # Of this thread and those that it starts; where the machine is busy, heartbeats must not wait.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    exporter = None if settings.experiment is None else Exporter(settings, settings.experiment, queue)
    delay = PAUSE
    while not ending.wait(delay):
        if exporter is None or attempt(exporter.export):
            delay = PAUSE
        else:
            exporter.forget()
            delay = min(2 * delay, LONGEST_DELAY)
    if exporter is not None:
        attempt(exporter.export)
    queue.leave(settings.worker)


def send_heartbeats(settings: SidecarSettings) -> None:
    """Count up the worker's heartbeats; end the process when the worker has expired."""
    queue = WorkQueue(settings.storage, settings.sweep)

    def heartbeat() -> None:
        if not queue.workers.heartbeat(settings.worker):
            os._exit(EXPIRED)

    while True:
        attempt(heartbeat)
        time.sleep(settings.heartbeat)


def attempt(action: Callable[[], None]) -> bool:
    """Do something that may go well at another try; returns whether it went well, and logs where it did not."""
    try:
        action()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def main() -> None:
    """The sidecar's process: its settings are the first line of its standard input, its end the end of that."""
    settings = SidecarSettings(**json.loads(sys.stdin.buffer.readline()))
    run(settings, end_of_parent())
