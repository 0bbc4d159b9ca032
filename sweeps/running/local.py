"""The local engine: trains jobs in the slots of fleets, in this process, one epoch of each fleet in turn."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeGuard

import numpy as np

from lossfleet.conf.schema import Config
from lossfleet.runners.data.encoding import encoded_columns
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.images.pixels import has_shared_bytes
from lossfleet.runners.records import EngineRecord, Record, ReplicateRecord, TrialRecord
from lossfleet.runners.training.build import build_slots
from lossfleet.runners.training.detectors import DetectorShape, DetectorSlots
from lossfleet.runners.training.fleet import EVALUATED_ROWS
from lossfleet.runners.training.fusion import fuse_kernels, publish_kernels
from lossfleet.runners.training.native.fleet import CORE_ROWS, trains_natively
from lossfleet.runners.training.native.translation import unknown
from lossfleet.runners.training.replicate import ReplicateFactory, rows_key
from lossfleet.runners.training.shape import CellShape, FleetShape, shape_on
from lossfleet.runners.training.slots import Slots, TrainingSlots
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.report.speed import Stopwatch
from lossfleet.sweeps.running.jobs import Job, ReplicateState, State
from lossfleet.sweeps.running.measuring import measure
from lossfleet.sweeps.running.measuring_objects import measure_objects
from lossfleet.sweeps.running.size import choose_native, fuses_kernels, may_make_rows
from lossfleet.sweeps.running.slots import number_of_pages, number_of_slots, slots_with_images

AnyShape = FleetShape | CellShape | DetectorShape
# The strategy whose fleet it is alone, or none, and what all replicates in it have in common.
FleetKey = tuple[str, AnyShape]

# A final evaluation is asked what it depends on for so many columns, one after the other.
MOST_COLUMNS = 50


class JobSource(Protocol):
    """Where the engine's jobs come from, and who learns how they go."""

    def next_job(self) -> Job | None:
        """A further job to start now, or None."""

    def report(self, job: Job, epoch: int, value: float) -> bool:
        """Take the value of a job at a rung; returns whether to prune it."""

    def finished(self, job: Job, record: TrialRecord) -> None:
        """Take the end of a job."""


@dataclass(eq=False)
class FleetQueue:
    """A fleet, cells, or detectors, with the runs that wait for it and those that are in its slots."""

    fleet: TrainingSlots
    waiting: deque[tuple[Job, ReplicateState]] = field(default_factory=deque)
    running: dict[int, tuple[Job, ReplicateState]] = field(default_factory=dict)
    is_training: bool = False
    epochs: int = 0
    occupied_epochs: int = 0
    seconds: list[float] = field(default_factory=list)

    def start(self, factory: ReplicateFactory) -> list[Job]:
        """Let waiting runs enter free slots and begin an epoch; returns the jobs that raised and start over."""
        failed = self._start_waiting(factory)
        if self.running:
            self.fleet.begin_epoch()
            self.is_training = True
        return failed

    def _start_waiting(self, factory: ReplicateFactory) -> list[Job]:
        failed = []
        for slot in self.fleet.free_slots():
            if not self.waiting:
                break
            job, run = self.waiting[0]
            if not self.fleet.has_room(rows_key(job.config, run.seed, run.split)):
                break
            self.waiting.popleft()
            try:
                self.fleet.enter(slot, factory.replicate(job.config, seed=run.seed, split=run.split))
            except Exception as error:
                self.drop(job)
                job.start_over(error)
                failed.append(job)
            else:
                run.engine = self.fleet.engine(slot)
                self.running[slot] = (job, run)
        return failed

    def train_epoch(self) -> np.ndarray:
        """Wait until all slots have trained their epoch; returns the training losses (K,)."""
        start = time.perf_counter()
        self.is_training = False
        losses = self.fleet.train_epoch()
        self.seconds.append(time.perf_counter() - start)
        self.epochs += 1
        self.occupied_epochs += len(self.running)
        return losses

    def compile_seconds(self) -> float:
        """What the first epoch took beyond a usual one; nothing where it took less."""
        if len(self.seconds) < 2:
            return 0.0
        return max(0.0, self.seconds[0] - float(np.median(self.seconds[1:])))

    def free(self, slot: int) -> None:
        """Take the run out of a slot."""
        self.fleet.leave(slot)
        del self.running[slot]

    def jobs(self) -> list[Job]:
        """The jobs with a run in a slot."""
        return list({id(job): job for job, _ in self.running.values()}.values())

    def drop(self, job: Job) -> None:
        """Take all runs of a job out of the slots and the queue."""
        for slot in [slot for slot, (other, _) in self.running.items() if other is job]:
            self.free(slot)
        self.waiting = deque((other, run) for other, run in self.waiting if other is not job)


class LocalEngine:
    """Trains the jobs of a source until it has no more.

    Every decision depends on epochs, none on the clock: the same source gives the same results.
    """

    def __init__(self, plan: Plan, factory: ReplicateFactory, write: Callable[..., None]) -> None:
        """Args:
        plan: what the sweep trains; it decides the number of slots.
        factory: makes the replicates.
        write: takes the records of replicates and trials as they end, those that belong together in one call.
        """
        self.plan = plan = choose_native(plan)
        self.factory = factory
        self.queues: dict[FleetKey, FleetQueue] = {}
        self._take = write
        self._columns = dict(islice(encoded_columns(factory.dataset).items(), MOST_COLUMNS))
        self._watch = Stopwatch()
        self._told: set[FleetShape] = set()
        self._started = time.time()
        self._keys = [self._key(study.strategy, self._shape(study.config)) for study in plan.studies]
        has_graphs = any(
            not isinstance(shape, DetectorShape) and not self._is_native(shape) for _, shape in self._keys
        )
        self._fuses = has_graphs and fuses_kernels(plan, factory)
        if self._fuses:
            fuse_kernels()

    def run(self, source: JobSource) -> None:
        """Train until the source is dry."""
        self._start(source)
        while active := [queue for queue in self.queues.values() if queue.is_training]:
            for queue in active:
                self._epoch(queue, source)
                # The others train meanwhile.
                self._start(source)
        publish_kernels()

    def _start(self, source: JobSource) -> None:
        """Start what can start: jobs that there is room for, and the next epoch of fleets that have ended one."""
        while True:
            while (job := self._next_job(source)) is not None:
                self._admit(job, source)
            resting = [queue for queue in self.queues.values() if not queue.is_training]
            with self._watch("enter"):
                failed = [job for queue in resting for job in queue.start(self.factory)]
            if not failed:
                return
            for job in failed:
                self._admit(job, source)

    def profile(self) -> EngineRecord:
        """How full the slots were, and where the time went so far."""
        queues = self.queues.values()
        compiling = sum(queue.compile_seconds() for queue in queues)
        seconds = {"compile": compiling, **self._watch.seconds}
        seconds["train"] = sum(sum(queue.seconds) for queue in queues) - compiling
        return EngineRecord(
            strategies=[study.strategy for study in self.plan.studies],
            slots=[queue.fleet.slots for queue in queues],
            slot_epochs=sum(queue.epochs * queue.fleet.slots for queue in queues),
            occupied_slot_epochs=sum(queue.occupied_epochs for queue in queues),
            seconds=seconds,
            started=self._started,
            ended=time.time(),
            fused=self._fuses,
            native=[
                shape.native if isinstance(shape, DetectorShape) else self._is_native(shape)
                for _, shape in self.queues
            ],
        )

    def _next_job(self, source: JobSource) -> Job | None:
        with self._watch("search"):
            return source.next_job()

    def _write(self, *records: Record) -> None:
        with self._watch("write"):
            self._take(*records)

    def _admit(self, job: Job, source: JobSource) -> None:
        """Queue the runs of a job, less those that ended in an earlier process; end it if none is left."""
        while job.state is None:
            try:
                waiting = self._queue(job).waiting
            except Exception as error:
                job.start_over(error)
            else:
                waiting.extend((job, run) for run in job.replicates if run.record is None)
                break
        self._end([job], source)

    def _replace(self, queue: FleetQueue, source: JobSource) -> None:
        """Give up a fleet that raised an exception; all its jobs move to a new one."""
        self.queues = {key: other for key, other in self.queues.items() if other is not queue}
        jobs = [*queue.jobs(), *(job for job, _ in queue.waiting)]
        for job in {id(job): job for job in jobs}.values():
            self._admit(job, source)

    def _shape(self, config: Config) -> AnyShape:
        if config.data.has_scenes:
            return DetectorShape(native=self.plan.engine.native == "on")
        return shape_on(config, self.factory.split(config.budget.search_seeds[0], 0))

    def _is_native(self, shape: FleetShape | CellShape) -> TypeGuard[FleetShape]:
        """Whether the native core trains a shape; what it does not know is said once."""
        if trains_natively(shape, self.plan.engine.native):
            return True
        if self.plan.engine.native == "on" and isinstance(shape, FleetShape) and shape not in self._told:
            self._told.add(shape)
            print(
                f"lossfleet: the native core does not know {unknown(shape)}: a graph fleet trains it",
                file=sys.stderr,
                flush=True,
            )
        return False

    def _key(self, strategy: str, shape: AnyShape) -> FleetKey:
        """What names a fleet: studies share those in graphs, and natively each trains while another is measured."""
        is_native = not isinstance(shape, DetectorShape) and self._is_native(shape)
        return (strategy if is_native else "", shape)

    def _queue(self, job: Job) -> FleetQueue:
        """The fleet that a job trains in, made when it is the first there."""
        key = self._key(job.strategy, self._shape(job.config))
        if key not in self.queues:
            self.queues[key] = FleetQueue(self._fleet(key))
        return self.queues[key]

    def _fleet(self, key: FleetKey) -> TrainingSlots:
        """A fleet, cells or detectors, with slots and pages by the user's number or by the rules of `slots`."""
        _, shape = key
        if isinstance(shape, DetectorShape):
            assert isinstance(self.factory.dataset, SceneDataset)
            places = self.plan.fleet.slots or self._replicates(len(self.plan.studies))
            return DetectorSlots(shape, self.factory.dataset.scenes, slots=places)
        studies = [study for study, own in zip(self.plan.studies, self._keys, strict=True) if own == key]
        split = self.factory.split(self.plan.budget.search_seeds[0], 0)
        train_rows, largest_class = len(split.train_labels), int(split.class_counts.max())
        evaluation_rows = max(len(split.validation_labels), len(split.test_labels))
        evaluation_step = 1
        if self.factory.dataset.groups is not None:
            # Parts of whole groups differ in size; room that no part needs costs no memory.
            evaluation_step = evaluation_rows
            largest_class = int(self.factory.dataset.class_counts.max())
            train_rows = evaluation_rows = len(self.factory.dataset.labels)
        slots = self.plan.fleet.slots
        replicates = self._replicates(len(studies))
        if isinstance(shape, CellShape):
            # Cells keep their own rows.
            return build_slots(
                shape, native=False, slots=slots or replicates, pages=1, page_rows=1, evaluation_rows=1
            )
        native = self._is_native(shape)
        if slots is None:
            slots = number_of_slots(
                shape,
                replicates=replicates,
                evaluated_rows=min(evaluation_rows, CORE_ROWS if native else EVALUATED_ROWS),
            )
        if native and shape.augments:
            slots = slots_with_images(shape, slots=slots, threads=len(os.sched_getaffinity(0)))
        page_rows, makes_rows = train_rows, any(may_make_rows(study) for study in studies)
        if makes_rows:
            page_rows = 2 * train_rows + len(split.class_counts) * largest_class
        # In a graph each network has a page for what an epoch makes of its images.
        own_pages = shape.augments and not native
        pages = number_of_pages(
            shape,
            slots=slots * shape.members if own_pages else slots,
            page_rows=page_rows,
            evaluation_rows=evaluation_rows,
            epochs=self.plan.budget.epochs,
            fleets=len(set(self._keys)),
            shares_features=native and not makes_rows and has_shared_bytes(split.train_features),
        )
        if own_pages:
            slots = max(1, pages // shape.members)
        return build_slots(
            shape,
            native=native,
            slots=slots,
            pages=pages,
            page_rows=page_rows,
            evaluation_rows=evaluation_rows,
            evaluation_step=evaluation_step,
        )

    def _replicates(self, studies: int) -> int:
        """How many replicates of so many studies can be in training at the same time."""
        return max(1, studies) * self.plan.search.concurrent_trials * self.plan.budget.replicates

    def _epoch(self, queue: FleetQueue, source: JobSource) -> None:
        """Train one epoch, measure the runs that are at a rung, and end what ends."""
        at_rung = None
        try:
            at_rung = self._train(queue)
        except Exception as error:
            for job in queue.jobs():
                job.start_over(error)
        if at_rung is None:
            # Here, where the exception no longer keeps the memory of its fleet.
            self._replace(queue, source)
            return
        ended, rungs = [], {}
        for slot, (job, run) in at_rung.items():
            if job.has_ended(run):
                queue.free(slot)
                state: State = "FAIL" if run.failure else "COMPLETE"
                ended.append(job.finish_replicate(run, state, run.failure))
            else:
                # Once for all replicates that are there.
                rungs[id(job), run.epochs] = job
        for (_, epoch), job in rungs.items():
            if self._is_pruned(job, epoch, source):
                job.stop("PRUNED", f"pruned at epoch {epoch}")
        jobs = {id(job): job for job, _ in [*queue.running.values(), *at_rung.values()]}.values()
        for job in jobs:
            if job.state is not None:
                queue.drop(job)
        self._end(jobs, source, ended)

    def _is_pruned(self, job: Job, epoch: int, source: JobSource) -> bool:
        """Report a rung that all replicates of a job have reached; returns whether to prune the job."""
        value = job.rung_value(epoch)
        if value is None or job.state is not None:
            return False
        with self._watch("search"):
            return source.report(job, epoch, value)

    def _train(self, queue: FleetQueue) -> dict[int, tuple[Job, ReplicateState]]:
        """Train one epoch and measure; returns the runs that are at a rung, by slot."""
        losses = queue.train_epoch()
        for slot, (job, run) in queue.running.items():
            run.epochs = int(queue.fleet.epochs[slot])
            if not np.isfinite(losses[slot]):
                job.diverge(run, losses[slot])
        at_rung = {
            slot: (job, run)
            for slot, (job, run) in queue.running.items()
            if job.state is None and (job.has_ended(run) or run.epochs in job.config.budget.rung_epochs())
        }
        if at_rung:
            with self._watch("measure"):
                self._measure(queue.fleet, at_rung, losses)
        return at_rung

    def _measure(
        self, slots: TrainingSlots, at_rung: dict[int, tuple[Job, ReplicateState]], losses: np.ndarray
    ) -> None:
        dataset = self.factory.dataset
        if isinstance(slots, DetectorSlots):
            assert isinstance(dataset, SceneDataset)
            measure_objects(slots, at_rung, losses, dataset)
        else:
            assert isinstance(slots, Slots)
            measure(slots, at_rung, losses, dataset.class_names, self._columns)

    def _end(self, jobs: Iterable[Job], source: JobSource, ended: Sequence[ReplicateRecord] = ()) -> None:
        """Write what has ended, at once, and tell of the jobs that were stopped or whose runs have all ended."""
        records: list[Record] = [*ended]
        done = []
        for job in jobs:
            if job.state is not None:
                records += [
                    job.finish_replicate(run, job.state, job.reason)
                    for run in job.replicates
                    if run.record is None
                ]
            if all(run.record is not None for run in job.replicates) and not job.told:
                job.told = True
                done.append((job, job.finish()))
        records += [record for _, record in done]
        if records:
            self._write(*records)
        with self._watch("search"):
            for job, record in done:
                source.finished(job, record)
