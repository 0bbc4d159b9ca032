"""A sweep that several workers share: how it is published, and where a worker's jobs come from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import Config
from lossfleet.runners.cluster.database import hide_password
from lossfleet.runners.cluster.tables import END, OPEN, Task
from lossfleet.runners.cluster.work_queue import Count, WorkQueue
from lossfleet.runners.environment import environment
from lossfleet.runners.records import ReplicateRecord, SweepRecord, TrialRecord
from lossfleet.runners.tracking.store import absolute_uri, require_answer, tracking_uri
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.plan import Plan, Study, total_trials, trial_config
from lossfleet.sweeps.running.folder import STUDIES, continuation, differences
from lossfleet.sweeps.running.jobs import Job, Stage
from lossfleet.sweeps.running.studies import make_job
from lossfleet.sweeps.search.choice import best_trial
from lossfleet.sweeps.search.shared_study import SharedSearch, open_shared_storage, stored_study
from lossfleet.sweeps.search.stopping import Stop
from lossfleet.sweeps.search.study import Asked

# Seconds between two looks for free tasks where there were none.
PAUSE = 1.0


def publish(plan: Plan) -> tuple[str, Plan]:
    """Store a sweep for workers to train: its studies, its configuration, and a task for each trial.

    Safe to do again, also for a sweep that is being trained; more trials than before reopen a finished one.

    Returns:
        The storage's URL, and the plan as the workers will read it.

    Raises:
        UserError: the data cannot be split as asked, the storage or MLflow does not answer, or the sweep is in
            the storage with another configuration.
    """
    factory = ReplicateFactory.of(plan.studies[0].config)
    factory.split(plan.budget.search_seeds[0], 0)
    if plan.tracking.enabled:
        require_answer(tracking_uri(plan.tracking.uri))
    url = plan.engine.storage or default_storage(plan)
    queue = WorkQueue(url, plan.sweep, create=True)
    plan = with_places(plan, url)
    storage = open_shared_storage(url)
    known = queue.records.runs()
    first = [record for record in known if isinstance(record, SweepRecord)]
    changed = [change for record in first for change in differences(record.config, plan.to_dict())]
    if changed:
        raise UserError(
            what=f"the storage has a sweep {plan.sweep} with another configuration ({', '.join(changed)})",
            expected="the configuration that the sweep has",
            hint="write another name=...",
        )
    if not known:
        queue.records.append(
            SweepRecord(
                plan.sweep,
                plan.data.label,
                plan.to_dict(),
                environment(),
                time.time(),
                factory.dataset.describe(),
            )
        )
    elif (continued := continuation(known, plan)) is not None:
        queue.records.append(continued)
    with queue.locked():
        for study in plan.studies:
            SharedSearch(study, storage, plan.sweep).prepare()
        trials = [
            Task(study.strategy, "search", number)
            for study in plan.studies
            for number in range(total_trials(study))
        ]
        counts = queue.counts()
        if any(
            counts.get((each.strategy, "search"), Count()).total < total_trials(each) for each in plan.studies
        ):
            queue.reopen()
        queue.add([*trials, END, *([OPEN] if plan.tracking.enabled else [])])
    if plan.references:
        print(
            f"the references are left out: engine={plan.engine.name} trains strategies alone", file=sys.stderr
        )
    return url, plan


def default_storage(plan: Plan) -> str:
    """SQLite in the sweep's folder, for workers on this machine."""
    folder = (STUDIES / plan.sweep).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'shared.db'}"


def with_places(plan: Plan, storage: str) -> Plan:
    """The plan with places that mean the same from any working directory, and without a password."""
    uri = absolute_uri(tracking_uri(plan.tracking.uri))
    engine = replace(plan.engine, storage=hide_password(storage))
    tracking = replace(plan.tracking, uri=uri)
    studies = [
        replace(study, config=replace(study.config, engine=engine, tracking=tracking))
        for study in plan.studies
    ]
    return replace(plan, studies=tuple(studies))


def stored_plan(queue: WorkQueue, url: str) -> Plan:
    """The plan of a sweep that was published.

    Raises:
        UserError: the storage has no such sweep.
    """
    names = queue.records.sweeps()
    if queue.sweep not in names:
        raise UserError(
            what=f"the storage {hide_password(url)} has no sweep {queue.sweep}",
            expected=f"one of {', '.join(names)}" if names else "a sweep that was published for workers",
            hint="publish it with lossfleet sweep engine=workers engine.storage=...",
        )
    (record,) = queue.records.read(OPEN)
    assert isinstance(record, SweepRecord)
    storage = open_shared_storage(url)
    studies = tuple(stored_study(storage, queue.sweep, strategy) for strategy in record.config["studies"])
    return Plan(queue.sweep, studies)


class SharedSource:
    """The jobs of one worker: trials and final evaluations whose tasks it gets from the queue.

    Args:
        plan: of the sweep.
        url: of the storage.
        queue: of the sweep.
        worker: its name in the queue.
        check: raises where the worker must stop.
    """

    def __init__(
        self, plan: Plan, url: str, queue: WorkQueue, worker: str, check: Callable[[], None]
    ) -> None:
        storage = open_shared_storage(url)
        self._plan = plan
        self._queue = queue
        self._worker = worker
        self._check = check
        self._searches = {study.strategy: SharedSearch(study, storage, plan.sweep) for study in plan.studies}
        self._asked: dict[Task, Asked] = {}
        self._held: set[Task] = set()
        self._ended = queue.records.ended_trials()
        self._stops = {
            study.strategy: Stop(study.config.budget, study.config.search, self._trials(study))
            for study in plan.studies
        }
        self._next_look = 0.0

    def next_job(self) -> Job | None:
        """A trial or a final evaluation that no other worker has, of the first study with room for one."""
        if time.monotonic() < self._next_look:
            return None
        self._check()
        for study in self._plan.studies:
            in_flight = sum(task.strategy == study.strategy for task in self._held)
            if in_flight < study.config.search.concurrent_trials:
                task = self._claim(study)
                if task is not None:
                    return self._job(study, task)
        self._next_look = time.monotonic() + PAUSE
        return None

    def report(self, job: Job, epoch: int, value: float) -> bool:
        """Report a rung to Optuna; a final evaluation is never pruned."""
        if job.stage != "search":
            return False
        asked = self._asked[_task(job)]
        return self._searches[job.strategy].report(asked, epoch, value, job.rung_values(epoch))

    def finished(self, job: Job, record: TrialRecord) -> None:
        """Tell Optuna how a trial ended, and hand in its task. Its records are in the queue by now."""
        task = _task(job)
        if task.stage == "search":
            self._tell(task, record)
            self._asked.pop(task)
        self._held.discard(task)
        self._hand_in(task)
        self._next_look = 0.0

    def is_trained(self) -> bool:
        """Whether all trials of the sweep and the final evaluation of each strategy's best one have ended."""
        counts = self._queue.counts()
        for study in self._plan.studies:
            search = counts.get((study.strategy, "search"), Count())
            best = best_trial(self._trials(study), study.config.search)
            final = None if best is None else Task(study.strategy, "final", best.trial)
            if search.done < search.total or not (final is None or final in self._ended):
                return False
        return True

    def _claim(self, study: Study) -> Task | None:
        """A task of the search, else of the final evaluation, which is added when the search is over."""
        strategy = study.strategy
        if self._is_over(study):
            self._queue.withdraw(strategy, "search")
        task = self._queue.claim(self._worker, strategy, "search")
        if task is not None:
            return task
        count = self._queue.counts().get((strategy, "search"), Count())
        if count.done < count.total:
            return None
        best = best_trial(self._trials(study), study.config.search)
        if best is not None:
            self._queue.add([Task(strategy, "final", best.trial)])
        return self._queue.claim(self._worker, strategy, "final")

    def _is_over(self, study: Study) -> bool:
        """Whether time or patience end the search of a study before its last trial."""
        budget = study.config.budget
        if budget.seconds is None and budget.patience is None:
            return False
        return self._stops[study.strategy].is_due(self._trials(study))

    def _job(self, study: Study, task: Task) -> Job | None:
        """The job of a task; None where its records show that only the last steps were missing."""
        records = self._queue.records.read(task)
        ended = [record for record in records if isinstance(record, ReplicateRecord)]
        whole = [record for record in records if isinstance(record, TrialRecord)]
        if whole:
            self._tell(task, whole[0])
            self._hand_in(task)
            return self.next_job()
        self._held.add(task)
        if task.stage == "search":
            asked = self._searches[task.strategy].ask_for(task.trial)
            self._asked[task] = asked
            params, config = asked.params, trial_config(study, asked.params)
        else:
            (best,) = [record for record in self._trials(study) if record.trial == task.trial]
            params, config = best.params, Config.from_dict(best.config)
        complete = [record for record in ended if record.state == "COMPLETE"]
        return make_job(task.strategy, cast(Stage, task.stage), task.trial, params, config, complete)

    def _tell(self, task: Task, record: TrialRecord) -> None:
        if task.stage == "search":
            search = self._searches[task.strategy]
            search.tell(task.trial, record.state, list(record.values.values()), record.violations)

    def _hand_in(self, task: Task) -> None:
        is_mine = self._queue.finish(self._worker, task, tracked=not self._plan.tracking.enabled)
        if not is_mine:
            self._check()

    def _trials(self, study: Study) -> list[TrialRecord]:
        """The ended trials of a study, whoever trained them, in the order of their ends."""
        self._ended |= self._queue.records.ended_trials(self._ended)
        own = [
            record
            for task, record in self._ended.items()
            if (task.strategy, task.stage) == (study.strategy, "search")
        ]
        return sorted(own, key=lambda record: (record.ended, record.trial))


def _task(job: Job) -> Task:
    return Task(job.strategy, job.stage, job.trial)
