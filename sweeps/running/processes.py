"""A process a core: the studies of a sweep in shares, each trained by an engine in a process of its own.

Threads of one process would share a fleet's small kernels and wait for each other: two processes pinned to a
core each train 128 models each in 0.095 ms a model-epoch together, one process with both cores 256 in 0.16 at
best and 0.45 at the median (2 cores of an AMD EPYC). Two fleets in threads of one process are thirty times slower.
"""

from __future__ import annotations

import errno
import gc
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing.connection import wait
from pathlib import Path

from lossfleet.conf.errors import Failure
from lossfleet.runners.children import start_child
from lossfleet.runners.locks import locked
from lossfleet.runners.records import JOURNAL_FILE, Journal, Record, TrialRecord
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.plan import Plan, Study
from lossfleet.sweeps.running.interrupts import uninterrupted
from lossfleet.sweeps.running.size import is_all_native, is_mining, planned_steps, steps_an_epoch

# A further process pays for its imports and compilation (about 5 s) from here on.
STEPS_WORTH_A_PROCESS = 250_000
# Of an epoch of 2 steps threads make 0.28 ms a model, two processes 0.16; of one of 52 steps 1.0 and 1.1.
STEPS_WORTH_A_THREAD = 20
SECONDS_BETWEEN_LOOKS = 0.2
TRAINERS_LOCK = "trainers.lock"
# A process that dies, for example for want of memory, is started once more.
STARTS = 2
# The exit code of a process that cannot write: a further one could not either.
CANNOT_WRITE = 74


def process_count(plan: Plan, factory: ReplicateFactory) -> int:
    """How many processes train a sweep: the user's number, else one a core where graphs have enough to train.

    The native core needs one, whose threads take all cores, unless epochs are so short that they wait for Python.
    """
    wanted = plan.fleet.processes
    if wanted is None:
        is_worth_it = planned_steps(plan, factory) >= STEPS_WORTH_A_PROCESS
        is_long = steps_an_epoch(plan, factory) >= STEPS_WORTH_A_THREAD
        has_threads = is_worth_it and is_long and is_all_native(plan, factory)
        wanted = len(usable_cores()) if is_worth_it and not has_threads else 1
    return max(1, min(wanted, len(plan.studies)))


def usable_cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share_studies(studies: Sequence[Study], count: int) -> list[tuple[Study, ...]]:
    """Studies in at most `count` shares of about equal size.

    Those that mine, which train longer, stand together, in the smaller ones.
    """
    ordered = sorted(studies, key=is_mining)
    bounds = [-(-len(ordered) * number // count) for number in range(count + 1)]
    return [tuple(ordered[first:end]) for first, end in pairwise(bounds) if first < end]


def train_studies(
    plan: Plan, factory: ReplicateFactory, folder: Path, finished: Callable[[TrialRecord], None] | None = None
) -> None:
    """Train in this process what the journal in the folder does not have yet of the plan's studies.

    Args:
        plan: the studies to train.
        factory: makes the replicates.
        folder: holds the sweep's journals.
        finished: is told of every trial that ends.
    """
    # Late: MindSpore takes seconds to import.
    from lossfleet.sweeps.running.local import LocalEngine
    from lossfleet.sweeps.running.studies import SweepSource
    from lossfleet.sweeps.search.journal import wait_for_disk
    from lossfleet.sweeps.search.study import StudySearch, open_storage

    journal, asked = Journal(folder / JOURNAL_FILE), folder / "optuna.journal"
    storage = open_storage(asked)
    source = SweepSource(plan, [StudySearch(study, storage) for study in plan.studies], journal.read())

    def write(*records: Record) -> None:
        # No record outlives what it answers, not even where the machine itself goes down.
        wait_for_disk(asked)
        journal.append(*records)
        for record in records:
            if finished is not None and isinstance(record, TrialRecord):
                finished(record)

    try:
        engine = LocalEngine(plan, factory, write)
        engine.run(source)
        journal.append(engine.profile())
    finally:
        journal.close()


@dataclass(eq=False)
class Trainer:
    """A share of the studies and the process that trains it, which is replaced once if it dies."""

    plan: Plan
    folder: Path
    core: int
    process: subprocess.Popen[bytes] = field(init=False)
    starts: int = 0

    @property
    def name(self) -> str:
        """The strategies that it trains."""
        return ", ".join(study.strategy for study in self.plan.studies)

    def start(self) -> None:
        """Start the process."""
        self.starts += 1
        with uninterrupted():
            self.process = start_with("lossfleet.sweeps.running.processes", self.plan, self.folder, self.core)

    def restart_if_dead(self) -> None:
        """Start the process again if it died.

        Raises:
            OSError: it could not write to the folder.
            Failure: it died for the second time.
        """
        if not self.process.poll():
            return
        if self.process.returncode == CANNOT_WRITE:
            raise OSError(errno.EIO, f"the process that trains {self.name} has said why", str(self.folder))
        death = f"the process that trains {self.name} ended with code {self.process.returncode}"
        if self.starts == STARTS:
            raise Failure(f"{death}, {STARTS} times; the same command again trains what is left")
        print(f"lossfleet: {death}; another one goes on in its place", file=sys.stderr, flush=True)
        self.start()


def train_in_processes(
    plan: Plan,
    folder: Path,
    count: int,
    finished: Callable[[TrialRecord], None],
    core_is_free: Callable[[], None],
) -> None:
    """Train the studies in `count` processes, each pinned to a core; the journal tells how they go.

    Args:
        plan: what to train.
        folder: holds the sweep's journals.
        count: of the processes.
        finished: is told of every trial that ends.
        core_is_free: is called in a thread when the first process has ended and others still train.

    Raises:
        OSError: the folder cannot be written.
        Failure: a process died, and so did the one that took its place.
    """
    cores = usable_cores()
    trainers = [
        Trainer(replace(plan, studies=share), folder, cores[number % len(cores)])
        for number, share in enumerate(share_studies(plan.studies, count))
    ]
    journal = Journal(folder / JOURNAL_FILE)
    _, offset = journal.follow(0)
    try:
        for trainer in trainers:
            trainer.start()
        running = trainers
        while running:
            with suppress(subprocess.TimeoutExpired):
                running[0].process.wait(SECONDS_BETWEEN_LOOKS)
            for trainer in running:
                trainer.restart_if_dead()
            if len(running) == len(trainers) > 1 and any(each.process.returncode == 0 for each in trainers):
                threading.Thread(target=core_is_free, daemon=True).start()
            running = [trainer for trainer in running if trainer.process.returncode != 0]
            records, offset = journal.follow(offset)
            for record in records:
                if isinstance(record, TrialRecord):
                    finished(record)
    finally:
        for trainer in trainers:
            if trainer.starts:
                trainer.process.kill()
                trainer.process.wait()


def main() -> None:
    """What a process does: train its studies on its core, and end with its parent, however that ends.

    Ctrl-C does not reach it: it inherits that the signal is blocked.
    """
    plan, folder, core = pickle.load(sys.stdin.buffer)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with at_work_in(folder):
        try:
            train_studies(plan, ReplicateFactory.of(plan.studies[0].config), folder)
        except OSError as error:
            print(f"lossfleet: error: {error}", file=sys.stderr, flush=True)
            sys.exit(CANNOT_WRITE)
        # The sweep waits for the end of this process: MindSpore need not be looked through for garbage.
        gc.freeze()


def start_with(
    module: str, *given: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that calls `main` of a module, and hand it what it is to work on.

    To be kept in what is uninterrupted: who was interrupted before it has the process cannot end it.
    """
    process = start_child(module, environment=environment)
    assert process.stdin is not None
    # Where it has died already, that is seen later.
    with suppress(BrokenPipeError):
        pickle.dump(given, process.stdin)
        process.stdin.flush()
    return process


@contextmanager
def at_work_in(folder: Path) -> Iterator[None]:
    """Show by a shared lock that this process works in the folder, and end it with its parent, however that ends."""
    parent = sys.stdin.fileno()
    with locked(folder / TRAINERS_LOCK, shared=True):
        # The lock first: a parent that is alive now will be missed by none who waits for the lock.
        if wait([parent], 0):
            sys.exit()
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
        yield


def wait_for_trainers(folder: Path) -> None:
    """Wait until the processes of a killed sweep have seen that it is gone."""
    with locked(folder / TRAINERS_LOCK):
        pass


def end_with(pipe: int) -> None:
    """Wait for the end of the process that holds the other end of a pipe, and end this one at once."""
    wait([pipe])
    os._exit(1)
