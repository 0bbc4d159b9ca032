"""The process beside a worker: it gives the worker's signs of life and carries its trials into MLflow.

It is a process of its own so that neither training nor compilation delays a sign of life, and MLflow neither of
them. It ends when the worker ends, however that ends: what the worker holds is then free for the others. When
the whole machine is gone, the others see that the signs of life have ended.
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
from lossfleet.runners.cluster.ledger import END, OPEN, Ledger, Ticket
from lossfleet.runners.records import EndRecord, SweepRecord
from lossfleet.runners.tracking.runs import RunTree

if TYPE_CHECKING:
    from lossfleet.runners.tracking.tracker import Tracker

# Seconds between two looks for trials to carry.
PAUSE = 1.0
LONGEST_DELAY = 30.0
NICENESS = 10
# The exit code of a keeper whose worker the others have given up.
GIVEN_UP = 3


@dataclass(frozen=True)
class Duty:
    """What a keeper is there for; without an experiment nothing is carried into MLflow."""

    storage: str
    sweep: str
    worker: str
    heartbeat: float
    uri: str
    experiment: str | None


class GivenUp(Failure):
    """The others have taken over what a worker held, since it was silent for too long."""


class Keeper:
    """The handle that a worker holds on its keeper."""

    def __init__(self, duty: Duty, log_file: Path) -> None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        self._log_file = log_file
        with log_file.open("wb") as log:
            # Ctrl-C is for the worker; the keeper ends after it.
            self._process = start_child(
                "lossfleet.runners.cluster.keeper",
                output=log,
                environment={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                is_session=True,
            )
        # Not as an argument: the storage's URL may hold a password.
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(duty)).encode() + b"\n")
        self._process.stdin.flush()

    def check(self) -> None:
        """Raises where the worker must stop.

        Raises:
            GivenUp: the others have given this worker up.
            Failure: the keeper has ended.
        """
        code = self._process.poll()
        if code == GIVEN_UP:
            raise GivenUp("this worker was silent for so long that others have taken over its trials")
        if code is not None:
            raise Failure(f"the process beside this worker ended with code {code}, see {self._log_file}")

    def finish(self) -> None:
        """Let the keeper sign the worker off, and wait for its end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


class Carrier:
    """Carries the done tickets of a worker into MLflow, each of them once."""

    def __init__(self, duty: Duty, experiment: str, ledger: Ledger) -> None:
        self._duty = duty
        self._experiment = experiment
        self._ledger = ledger
        self._tracker: Tracker | None = None
        self._opening: Ticket | None = None

    def carry(self) -> None:
        """Write to MLflow what the worker has done and what was left behind by workers that are gone.

        Raises:
            Exception: what MLflow said; a further call does the rest.
        """
        ledger, worker = self._ledger, self._duty.worker
        if not self._is_open():
            return
        # What a worker that is gone had written, only MLflow knows: a new Tracker asks it.
        if ledger.adopt(worker):
            self._tracker = None
        waiting = [ticket for ticket in ledger.untracked(worker) if ticket != END]
        if waiting:
            self._tracker = self._tracker or self._new_tracker()
            tree = RunTree()
            tree.add([self._sweep()])
            self._tracker.write([run for ticket in waiting for run in tree.add(ledger.read(ticket))])
            for ticket in waiting:
                ledger.finish(worker, ticket, tracked=True)
        if END in ledger.untracked(worker) and all_tracked(ledger):
            self._close()

    def forget(self) -> None:
        """After an error: ask MLflow again what it has."""
        self._tracker = None

    def _is_open(self) -> bool:
        """Whether the sweep's own run is there; made here if no worker is at it."""
        ledger, worker = self._ledger, self._duty.worker
        if ledger.counts()[OPEN[:2]].tracked:
            return True
        self._opening = self._opening or ledger.claim(worker, OPEN.strategy, OPEN.stage)
        if self._opening is None:
            return False
        self._tracker = self._new_tracker()
        self._tracker.open_sweep(self._sweep())
        ledger.finish(worker, OPEN, tracked=True)
        return True

    def _close(self) -> None:
        """End the sweep's own run; a last new Tracker removes what a worker given up too early doubled."""
        (end,) = self._ledger.read(END)
        assert isinstance(end, EndRecord)
        tracker = self._new_tracker()
        tracker.open_sweep(self._sweep())
        tracker.close_sweep(end, Path("studies") / self._duty.sweep)
        self._ledger.finish(self._duty.worker, END, tracked=True)

    def _new_tracker(self) -> Tracker:
        # Late: MLflow takes seconds to import.
        from lossfleet.runners.tracking.tracker import Tracker

        return Tracker(self._duty.uri, self._experiment, self._sweep())

    def _sweep(self) -> SweepRecord:
        (sweep,) = self._ledger.read(OPEN)
        assert isinstance(sweep, SweepRecord)
        return sweep


def all_tracked(ledger: Ledger) -> bool:
    """Whether everything but the end of the sweep is in MLflow."""
    return all(
        count.tracked == count.total for (_, stage), count in ledger.counts().items() if stage != END.stage
    )


def keep(duty: Duty, ending: threading.Event) -> None:
    """Give signs of life and carry trials until `ending` is set, then sign the worker off."""
    ledger = Ledger(duty.storage, duty.sweep)
    threading.Thread(target=give_signs_of_life, args=(duty,), daemon=True).start()
    # Of this thread and those that it starts; where the machine is busy, signs of life must not wait.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    carrier = None if duty.experiment is None else Carrier(duty, duty.experiment, ledger)
    delay = PAUSE
    while not ending.wait(delay):
        if carrier is None or attempt(carrier.carry):
            delay = PAUSE
        else:
            carrier.forget()
            delay = min(2 * delay, LONGEST_DELAY)
    if carrier is not None:
        attempt(carrier.carry)
    ledger.leave(duty.worker)


def give_signs_of_life(duty: Duty) -> None:
    """Count up the worker's counter; end the process when the worker was given up."""
    ledger = Ledger(duty.storage, duty.sweep)

    def beat() -> None:
        if not ledger.beat(duty.worker):
            os._exit(GIVEN_UP)

    while True:
        attempt(beat)
        time.sleep(duty.heartbeat)


def attempt(action: Callable[[], None]) -> bool:
    """Do something that another try may mend; returns whether it went well, and logs where it did not."""
    try:
        action()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def main() -> None:
    """The keeper's process: its duty is the first line of its standard input, its end the end of that."""
    duty = Duty(**json.loads(sys.stdin.buffer.readline()))
    keep(duty, end_of_parent())
