"""A process a core: the studies of a sweep in shares, each trained by an engine in a process of its own.

Threads of one process would share a fleet's small kernels and wait for each other: two processes pinned to a
core each train 128 models each in 0.117 ms a model-epoch together, one process with both cores 256 in 0.144
(2 cores of an AMD EPYC). Two fleets in threads of one process are thirty times slower.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from conf.schema import Ohem
from runners.records import Journal, Record, TrialRecord
from runners.replicate import Workshop
from sweeps.plan import Plan, Study

# A further process pays for its imports and compilation (about 5 s) from here on.
STEPS_WORTH_A_PROCESS = 250_000
# In studies: a fleet costs about as much a step for being there as the slots of 1.7 studies; mining adds 1.4.
COST_OF_A_FLEET, COST_OF_MINING = 1.7, 1.4
SECONDS_BETWEEN_LOOKS = 0.2


def process_count(plan: Plan, workshop: Workshop) -> int:
    """How many processes train a sweep: the user's number, else one a core where there is enough to train."""
    budget = plan.budget
    batches = -(
        -len(workshop.split(budget.search_seeds[0], 0).train_labels) // plan.studies[0].config.batch_size
    )
    replicates = budget.trials * budget.replicates + budget.final_replicates
    wanted = plan.fleet.processes
    if wanted is None:
        steps = len(plan.studies) * replicates * budget.epochs * batches
        wanted = len(usable_cores()) if steps >= STEPS_WORTH_A_PROCESS else 1
    return max(1, min(wanted, len(plan.studies)))


def usable_cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share_studies(studies: Sequence[Study], count: int) -> list[tuple[Study, ...]]:
    """Studies in at most `count` shares of about equal cost, mining studies first.

    Studies that can share a fleet cost less together, so the shares are uneven in number.
    """
    shares: list[list[Study]] = [[] for _ in range(count)]
    for study in sorted(studies, key=is_mining, reverse=True):
        min(shares, key=lambda share: share_cost([*share, study])).append(study)
    order = list(studies)
    return [tuple(sorted(share, key=order.index)) for share in shares if share]


def share_cost(share: Sequence[Study]) -> float:
    """The cost of a step of all fleets of a share, in slots of one study."""
    kinds = {is_mining(study) for study in share}
    return len(share) + COST_OF_A_FLEET * len(kinds) + COST_OF_MINING * (True in kinds)


def is_mining(study: Study) -> bool:
    """Whether the study trains in a graph that mines hard examples."""
    return isinstance(study.config.loss, Ohem)


def train_studies(
    plan: Plan, workshop: Workshop, folder: Path, finished: Callable[[TrialRecord], None] | None = None
) -> None:
    """Train in this process what the journal in the folder does not have yet of the plan's studies.

    Args:
        plan: the studies to train.
        workshop: makes the replicates.
        folder: holds the sweep's journals.
        finished: is told of every trial that ends.
    """
    # Late: MindSpore takes seconds to import.
    from sweeps.engines.local import LocalEngine
    from sweeps.search import StudySearch, open_storage
    from sweeps.studies import SweepSource

    journal = Journal(folder / "records.jsonl")
    storage = open_storage(folder / "optuna.journal")
    source = SweepSource(plan, [StudySearch(study, storage) for study in plan.studies], journal.read())

    def write(record: Record) -> None:
        journal.append(record)
        if finished is not None and isinstance(record, TrialRecord):
            finished(record)

    LocalEngine(plan, workshop, write).run(source)
    journal.close()


def train_in_processes(plan: Plan, folder: Path, count: int, finished: Callable[[TrialRecord], None]) -> None:
    """Train the studies in `count` processes, each pinned to a core; the journal tells how they go.

    Raises:
        RuntimeError: a process ended with an error; it has written why to standard error.
    """
    context = multiprocessing.get_context("spawn")
    cores = usable_cores()
    processes = [
        context.Process(
            target=work,
            args=(replace(plan, studies=share), folder, cores[number % len(cores)]),
            name=", ".join(study.strategy for study in share),
            daemon=True,
        )
        for number, share in enumerate(share_studies(plan.studies, count))
    ]
    journal = Journal(folder / "records.jsonl")
    _, offset = journal.follow(0)
    try:
        for process in processes:
            process.start()
        running = list(processes)
        while running:
            wait([process.sentinel for process in running], SECONDS_BETWEEN_LOOKS)
            running = [process for process in running if process.is_alive()]
            records, offset = journal.follow(offset)
            for record in records:
                if isinstance(record, TrialRecord):
                    finished(record)
            for process in processes:
                if process.exitcode:
                    raise RuntimeError(
                        f"the process that trains {process.name} ended with code {process.exitcode}"
                    )
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
                process.join()


def work(plan: Plan, folder: Path, core: int) -> None:
    """What a process does: train its studies on its core, and end with its parent, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    train_studies(plan, Workshop(plan.data), folder)


def end_with_parent() -> None:
    """Wait for the parent's end and end this process at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
