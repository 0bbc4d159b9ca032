"""The studies of a sweep as a source of jobs: each searches its strategy, then evaluates the best trial."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from lossfleet.conf.schema import Config
from lossfleet.runners.records import Record, ReplicateRecord, TrialRecord
from lossfleet.sweeps.planning.plan import Plan, Study, trial_config
from lossfleet.sweeps.planning.space import Value
from lossfleet.sweeps.running.jobs import Job, ReplicateState, Stage
from lossfleet.sweeps.search.choice import best_trial
from lossfleet.sweeps.search.stopping import Stop
from lossfleet.sweeps.search.study import Asked, StudySearch

Point = tuple[tuple[str, Value], ...]


class StudySource:
    """One study: asks for trials while there is room, then once for the final evaluation.

    What an earlier process finished, by the journal, is not done again, and a trial whose values are there already
    takes their result.
    """

    def __init__(self, study: Study, search: StudySearch, records: Iterable[Record]) -> None:
        self.study = study
        self.search = search
        self.trials: dict[int, TrialRecord] = {}
        self.final: TrialRecord | None = None
        self._replicates: dict[tuple[str, int], dict[int, ReplicateRecord]] = defaultdict(dict)
        self._points: dict[Point, int] = {}
        self._in_flight: dict[int, Asked] = {}
        self._final_started = False
        for record in records:
            self._remember(record)
        for number in search.unfinished():
            if number in self.trials:
                record = self.trials[number]
                values = list(record.values.values()) or record.value
                search.finish_unfinished(number, record.state, values, record.violations)
        self._stop = Stop(study.config.budget, study.config.search, list(self.trials.values()))

    def next_job(self) -> Job | None:
        """A trial of the search if there is room for one, or the final evaluation once all have ended."""
        has_room = len(self._in_flight) < self.study.config.search.concurrent_trials
        # What a dead process has begun is done again even when it is time to stop.
        if has_room and (self.search.unfinished() or not self._stop.is_due(self.trials.values())):
            asked = self.search.ask()
            if asked is not None:
                self._in_flight[asked.number] = asked
                config = trial_config(self.study, asked.params)
                return self._job("search", asked.number, asked.params, config)
        if self._in_flight or self._final_started:
            return None
        best = self.best()
        if best is None or (self.final is not None and self.final.trial == best.trial):
            return None
        self._final_started = True
        return self._job("final", best.trial, best.params, Config.from_dict(best.config))

    def report(self, job: Job, epoch: int, value: float) -> bool:
        """Report a rung to Optuna; a final evaluation is never pruned."""
        if job.stage != "search":
            return False
        return self.search.report(self._in_flight[job.trial], epoch, value, job.rung_values(epoch))

    def finished(self, job: Job, record: TrialRecord) -> None:
        """Tell Optuna how a trial ended."""
        self._remember(record)
        for replicate in job.replicates:
            if replicate.record is not None:
                self._remember(replicate.record)
        if job.stage == "search":
            del self._in_flight[job.trial]
            self.search.tell(job.trial, record.state, list(record.values.values()), record.violations)

    def best(self) -> TrialRecord | None:
        """The trial to evaluate, see `choice.best_trial`; None when none is complete."""
        return best_trial(self.trials.values(), self.study.config.search)

    def _remember(self, record: Record) -> None:
        if getattr(record, "strategy", None) != self.study.strategy:
            return
        if isinstance(record, ReplicateRecord) and (record.state == "COMPLETE" or is_diverged_final(record)):
            self._replicates[record.stage, record.trial][record.replicate] = record
        elif isinstance(record, TrialRecord) and record.stage == "search":
            self.trials[record.trial] = record
            if record.state == "COMPLETE":
                self._points.setdefault(point_of(record.params), record.trial)
        elif isinstance(record, TrialRecord):
            self.final = record

    def _job(self, stage: Stage, trial: int, params: dict[str, float | int | str], config: Config) -> Job:
        ended = self._replicates.get((stage, trial), {})
        same = self._points.get(point_of(params)) if stage == "search" and not ended else None
        if same is not None:
            ended = self._replicates[stage, same]
        job = make_job(self.study.strategy, stage, trial, params, config, ended.values())
        if same is not None:
            job.reason = f"has the values of trial {same}, whose result it takes"
        return job


def point_of(params: Mapping[str, Value]) -> Point:
    """The values of a trial, to find the same again."""
    return tuple(sorted(params.items()))


def make_job(
    strategy: str,
    stage: Stage,
    trial: int,
    params: dict[str, float | int | str],
    config: Config,
    ended: Iterable[ReplicateRecord],
) -> Job:
    """A job with all its replicates; those that ended, in whatever process, are not to be done again."""
    budget = config.budget
    if stage == "search":
        pairs = [(seed, number) for number, seed in enumerate(budget.search_seeds[: budget.replicates])]
    else:
        pairs = budget.final_pairs()
    records = {record.replicate: record for record in ended}
    replicates = []
    for number, (seed, split) in enumerate(pairs):
        replicate = ReplicateState(number, seed, split)
        record = records.get(number)
        if record is not None:
            replicate = ReplicateState(
                number,
                seed,
                split,
                record.started,
                record.epochs,
                record.metrics,
                record.curves,
                record.reason,
                record,
            )
        replicates.append(replicate)
    return Job(strategy, stage, trial, params, config, replicates)


def is_diverged_final(record: ReplicateRecord) -> bool:
    """Whether it is a final replicate that failed by itself, not because its trial did; a rerun would fail too."""
    return record.stage == "final" and record.state == "FAIL" and str(record.reason).startswith("diverged")


class SweepSource:
    """All studies of a sweep, side by side."""

    def __init__(self, plan: Plan, searches: Iterable[StudySearch], records: Iterable[Record]) -> None:
        records = list(records)
        self.sources = {
            study.strategy: StudySource(study, search, records)
            for study, search in zip(plan.studies, searches, strict=True)
        }

    def next_job(self) -> Job | None:
        """A job of the first study that has one to start."""
        for source in self.sources.values():
            job = source.next_job()
            if job is not None:
                return job
        return None

    def report(self, job: Job, epoch: int, value: float) -> bool:
        """Report a rung to the job's study."""
        return self.sources[job.strategy].report(job, epoch, value)

    def finished(self, job: Job, record: TrialRecord) -> None:
        """Tell the job's study how it ended."""
        self.sources[job.strategy].finished(job, record)
