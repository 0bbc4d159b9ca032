"""A worker: trains what a shared sweep still lacks, together with any number of others, until nothing is left.

Nobody leads. A worker that ends leaves its trials to the others; a worker that comes late takes what is free.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from lossfleet.conf.errors import Failure, UserError
from lossfleet.runners.cluster.sidecar import Expired, Sidecar, SidecarSettings
from lossfleet.runners.cluster.tables import END
from lossfleet.runners.cluster.work_queue import Count, WorkQueue
from lossfleet.runners.records import EndRecord
from lossfleet.runners.tracking.store import require_answer, tracking_uri
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.cluster.shared import PAUSE, SharedSource, stored_plan
from lossfleet.sweeps.keeping.keeper import Keeper
from lossfleet.sweeps.planning.plan import Plan, Study
from lossfleet.sweeps.report.conclusion import conclude
from lossfleet.sweeps.running.folder import STUDIES
from lossfleet.sweeps.running.processes import usable_cores

# After so many heartbeats that did not come a worker expires.
SILENT_HEARTBEATS = 6


def run_worker(
    sweep: str,
    url: str,
    uri: str | None = None,
    *,
    check: Callable[[Sequence[Study]], None] | None = None,
) -> EndRecord:
    """Train until the sweep is complete, in MLflow too, and return its end.

    Args:
        sweep: the name of a sweep that was published.
        url: of the storage.
        uri: MLflow's; None for the sweep's.
        check: of the sweep's studies, before anything is trained: this machine may have other code of the user's.

    Raises:
        UserError: the storage, the sweep or MLflow is not there, or what `check` raises.
        Failure: the process beside this worker has ended.
    """
    queue = WorkQueue(url, sweep)
    plan = stored_plan(queue, url)
    if check is not None:
        check(plan.studies)
    uri = tracking_uri(uri or plan.tracking.uri)
    if plan.tracking.enabled:
        require_answer(uri)
    if not is_complete(queue):
        with pin_to_free_core():
            while not is_complete(queue):
                # What this worker held is with the others now; it may have a share of the rest under a new name.
                with suppress(Expired):
                    take_part(plan, url, uri, queue)
    (end,) = queue.records.read(END)
    assert isinstance(end, EndRecord)
    return end


def take_part(plan: Plan, url: str, uri: str, queue: WorkQueue) -> None:
    """Join the workers and train until the sweep is complete.

    Raises:
        Expired: the others count this worker as gone.
        Failure: the process beside this worker has ended.
    """
    # Late: MindSpore takes seconds to import.
    from lossfleet.sweeps.running.local import LocalEngine

    worker = queue.workers.join()
    sidecar = start_sidecar(plan, url, uri, worker)
    try:
        source = SharedSource(plan, url, queue, worker, sidecar.check)
        factory = ReplicateFactory.of(plan.studies[0].config)
        engine = LocalEngine(plan, factory, queue.records.append)
        watch = Watch(queue, SILENT_HEARTBEATS * plan.engine.heartbeat)
        while not is_complete(queue):
            engine.run(source)
            watch.look()
            finish_sweep(plan, factory, queue, source, worker)
            sidecar.check()
            time.sleep(min(PAUSE, plan.engine.heartbeat))
    finally:
        sidecar.finish()


def start_sidecar(plan: Plan, url: str, uri: str, worker: str) -> Sidecar:
    """The process that gives the worker's heartbeats and exports its trials to MLflow."""
    experiment = plan.tracking.experiment or plan.data.label
    return Sidecar(
        SidecarSettings(
            storage=url,
            sweep=plan.sweep,
            worker=worker,
            heartbeat=plan.engine.heartbeat,
            uri=uri,
            experiment=experiment if plan.tracking.enabled else None,
        ),
        STUDIES / plan.sweep / f"{worker}.log",
    )


def is_complete(queue: WorkQueue) -> bool:
    """Whether all of the sweep is trained, compared and in MLflow."""
    return queue.counts().get(END[:2], Count()).tracked == 1


def finish_sweep(
    plan: Plan, factory: ReplicateFactory, queue: WorkQueue, source: SharedSource, worker: str
) -> None:
    """Compare the strategies when everything is trained, and keep the winner; one worker does."""
    if not source.is_trained() or queue.claim(worker, END.strategy, END.stage) is None:
        return
    records, folder = queue.records.read(), STUDIES / plan.sweep
    keeper = Keeper(plan, factory.dataset, folder)
    try:
        end = conclude(
            records,
            folder,
            factory,
            compared=lambda found: keeper.order(found.best, found.sentence, records),
            kept=lambda: keeper.wait(records),
        )
        keeper.finish(records)
    except (UserError, Failure) as error:
        end = EndRecord("FAILED", time.time(), "", str(error))
    queue.records.append(end)
    queue.finish(worker, END, tracked=not plan.tracking.enabled)


class Watch:
    """Looks after the other workers, and lets those expire whose count stands still.

    Args:
        queue: of the sweep.
        patience: the seconds without a heartbeat after which a worker expires, by this machine's clock.
    """

    def __init__(self, queue: WorkQueue, patience: float) -> None:
        self._queue = queue
        self._patience = patience
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self) -> None:
        """Let the silent expire, and free what the gone have left."""
        now = time.monotonic()
        heartbeats = self._queue.workers.heartbeats()
        self._seen = {
            worker: self._seen[worker] if self._seen.get(worker, (None,))[0] == count else (count, now)
            for worker, count in heartbeats.items()
        }
        for worker, (count, since) in self._seen.items():
            if now - since > self._patience:
                self._queue.workers.expire(worker, count)
        self._queue.free_tasks_of_the_gone()


def pin_to_free_core() -> socket.socket:
    """Pin this process to a core that no other worker of this machine has; to none where all are taken.

    Two fleets that share cores wait for each other. The name of an abstract socket stands for a core: one
    process has it, and the system takes it back however the process ends.
    """
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for core in usable_cores():
        try:
            mark.bind(f"\0lossfleet-core-{core}")
        except OSError:
            continue
        os.sched_setaffinity(0, {core})
        break
    return mark
