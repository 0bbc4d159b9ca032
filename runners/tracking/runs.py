"""What MLflow is to show of a sweep: the records of its journal as a tree of runs (no mlflow in here).

The sweep's run is the parent of its trials' runs, and a trial's run that of its replicates' runs.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lossfleet.runners.metrics.evaluation import DIAGRAMS
from lossfleet.runners.records import (
    ContinuationRecord,
    EndRecord,
    Record,
    ReferenceRecord,
    ReplicateRecord,
    SweepRecord,
    TrialRecord,
    flatten,
)
from lossfleet.runners.tracking.tags import (
    CURVES_TAG,
    KEY_TAG,
    KIND_TAG,
    OBJECTIVES_TAG,
    SAMPLED_TAG,
    common_tags,
    engine_tags,
    error_tags,
    speed_tags,
    state_tags,
    sweep_key,
)

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
# MLflow's limit.
LONGEST_PARAM = 6000
# The same for all trials of a sweep, so they are shown once, on the sweep's run.
SWEEP_SETTINGS = ("budget", "search", "pruner", "space", "fleet", "engine", "tracking", "name", "seed")


class Point(NamedTuple):
    """One value of a metric's curve; `time` in unix milliseconds."""

    name: str
    step: int
    value: float
    time: int


@dataclass(frozen=True)
class Run:
    """An MLflow run that has ended; `parent` is the key of its parent run, times are unix seconds."""

    key: str
    parent: str
    name: str
    status: str
    started: float
    ended: float
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]


class RunTree:
    """Makes runs of records as they come; a trial's runs are ready when its TrialRecord is there."""

    def __init__(self) -> None:
        self.sweep: SweepRecord | None = None
        self.continuations: list[ContinuationRecord] = []
        self.end: EndRecord | None = None
        self._replicates: dict[tuple[str, str, int], dict[int, ReplicateRecord]] = defaultdict(dict)
        self._ended: set[tuple[str, str, int]] = set()
        self._references: Counter[str] = Counter()

    def add(self, records: Iterable[Record]) -> list[Run]:
        """The runs that these records complete, parents first."""
        runs: list[Run] = []
        for record in records:
            # A continued sweep has records after its end.
            self.end = record if isinstance(record, EndRecord) else None
            if isinstance(record, SweepRecord):
                # Should there be another, the identity of the sweep is that of the first.
                self.sweep = self.sweep or record
            elif isinstance(record, ContinuationRecord):
                self.continuations.append(record)
            elif isinstance(record, ReplicateRecord):
                self._replicates[_trial_of(record)][record.replicate] = record
            elif isinstance(record, ReferenceRecord):
                runs += self._reference_runs(record)
            elif isinstance(record, TrialRecord) and _trial_of(record) not in self._ended:
                self._ended.add(_trial_of(record))
                if self.sweep is None:
                    raise ValueError("a TrialRecord came before the SweepRecord")
                replicates = self._replicates.pop(_trial_of(record), {})
                sweep = self.sweep
                if self.continuations:
                    # Still this sweep, in the environment in which the trial was trained.
                    sweep = replace(sweep, environment=self.continuations[-1].environment)
                runs += _trial_runs(sweep, record, [replicates[index] for index in sorted(replicates)])
        return runs

    def _reference_runs(self, record: ReferenceRecord) -> list[Run]:
        """A reference's runs, as those of a trial; of one that was fitted again they are a further trial."""
        if self.sweep is None:
            raise ValueError("a ReferenceRecord came before the SweepRecord")
        name = record.part["name"]
        number = self._references[name]
        self._references[name] += 1
        trial = TrialRecord(
            strategy=name,
            stage="reference",
            trial=number,
            state="FAIL" if record.reason else "COMPLETE",
            params={},
            config={"reference": record.part},
            value=None,
            started=record.started,
            ended=record.ended,
            reason=record.reason,
            error=record.error,
        )
        return _trial_runs(self.sweep, trial, [replace(each, trial=number) for each in record.replicates])


def sweep_params(sweep: SweepRecord) -> dict[str, str]:
    """The sweep's configuration; what all of its studies share is said once."""
    config = dict(sweep.config)
    # What was published is no setting: it is a tag.
    studies = {
        name: as_params({key: value for key, value in study.items() if key != "published"})
        for name, study in config.pop("studies", {}).items()
    }
    params = as_params(config)
    for strategy, settings in studies.items():
        for name, value in settings.items():
            is_shared = all(other.get(name) == value for other in studies.values())
            params[name if is_shared else f"{strategy}.{name}"] = value
    return params


def as_params(settings: Mapping[str, Any]) -> dict[str, str]:
    """Nested settings as MLflow's params, dotted names and strings; what is None is left out."""
    return {
        name: str(value)[:LONGEST_PARAM] for name, value in flatten(settings).items() if value is not None
    }


def milliseconds(seconds: float) -> int:
    """Unix seconds as MLflow counts time."""
    return round(1000 * seconds)


def _trial_of(record: TrialRecord | ReplicateRecord) -> tuple[str, str, int]:
    return record.strategy, record.stage, record.trial


def _trial_runs(sweep: SweepRecord, trial: TrialRecord, replicates: list[ReplicateRecord]) -> list[Run]:
    key = f"{sweep_key(sweep)}/{trial.strategy}/{trial.stage}/{trial.trial}"
    number = f"{trial.trial:03d}" if trial.stage == "search" else trial.stage
    config = {name: value for name, value in trial.config.items() if name not in SWEEP_SETTINGS}
    params = as_params(config) | as_params(trial.params)
    search = trial.config.get("search", {})
    tags = common_tags(sweep) | {
        "strategy": trial.strategy,
        "study": f"{sweep.sweep}/{trial.strategy}",
        "stage": trial.stage,
        "trial": str(trial.trial),
        "loss": params.get("loss.name", ""),
        "sampler": params.get("sampler.name", ""),
        SAMPLED_TAG: json.dumps(trial.params),
    }
    if len(search.get("metrics") or ()) > 1:
        tags[OBJECTIVES_TAG] = ",".join(search["metrics"])
    if trial.violations:
        tags["feasible"] = "true" if max(trial.violations.values()) <= 0 else "false"
    trial_run = Run(
        key=key,
        parent=sweep_key(sweep),
        name=f"{trial.strategy} {number}",
        status=STATUS[trial.state],
        started=trial.started,
        ended=trial.ended,
        params=params,
        tags=tags
        | state_tags(trial)
        | error_tags(trial)
        | {KEY_TAG: key, KIND_TAG: "trial"}
        | speed_tags(next((each.speed for each in replicates if each.speed), None)),
        points=_trial_points(trial, replicates),
    )
    return [trial_run] + [
        Run(
            key=f"{key}/{replicate.replicate}",
            parent=key,
            name=f"{trial_run.name} r{replicate.replicate}",
            status=STATUS[replicate.state],
            started=replicate.started,
            ended=replicate.ended,
            params=params,
            tags=tags
            | state_tags(replicate)
            | {
                "replicate": str(replicate.replicate),
                "seed": str(replicate.seed),
                "split": str(replicate.split),
                "epochs": str(replicate.epochs),
                CURVES_TAG: json.dumps(list(replicate.curves)),
                KEY_TAG: f"{key}/{replicate.replicate}",
                KIND_TAG: "replicate",
            }
            | engine_tags(replicate)
            | speed_tags(replicate.speed),
            points=_timed(_values(replicate), replicate.started, replicate.ended),
        )
        for replicate in replicates
    ]


def _values(replicate: ReplicateRecord) -> dict[tuple[str, int], float]:
    values = {
        (name, epoch): float(value) for name, curve in replicate.curves.items() for epoch, value in curve
    }
    # MLflow shows the value with the highest step as the metric's last one.
    last = {(name, replicate.epochs): float(value) for name, value in replicate.metrics.items()}
    return values | last


def _trial_points(trial: TrialRecord, replicates: list[ReplicateRecord]) -> list[Point]:
    """Means over the replicates, epoch by epoch; the last metrics' standard deviations; the trial's value."""
    gathered: dict[tuple[str, int], list[float]] = defaultdict(list)
    for replicate in replicates:
        for place, value in _values(replicate).items():
            gathered[place].append(value)
    complete = {place: column for place, column in gathered.items() if len(column) == len(replicates)}
    values = {place: _mean(column) for place, column in complete.items()}
    epochs = max((replicate.epochs for replicate in replicates), default=0)
    for name in sorted({name for replicate in replicates for name in replicate.metrics}):
        if (name, epochs) in complete and len(replicates) > 1:
            values[_with_suffix(name, "_std"), epochs] = _standard_deviation(complete[name, epochs])
    if trial.value is not None:
        values["value", epochs] = trial.value
    if len(trial.values) > 1:
        values |= {(f"value_{name}", epochs): value for name, value in trial.values.items()}
    if trial.violations:
        values["violation", epochs] = sum(max(0.0, missed) for missed in trial.violations.values())
    return _timed(values, trial.started, trial.ended)


def _with_suffix(name: str, suffix: str) -> str:
    """A metric's name with a suffix before the class: test_recall_std[text]."""
    metric, bracket, class_name = name.partition("[")
    return f"{metric}{suffix}{bracket}{class_name}"


def _mean(column: list[float]) -> float:
    return sum(column) / len(column)


def _standard_deviation(column: list[float]) -> float:
    mean = _mean(column)
    return math.sqrt(sum((value - mean) * (value - mean) for value in column) / (len(column) - 1))


def _timed(values: dict[tuple[str, int], float], started: float, ended: float) -> list[Point]:
    # Epochs have no clock of their own; they are spread evenly, so that curves over time are curves.
    epochs = max((step for name, step in values if name not in DIAGRAMS), default=0)
    pace = (ended - started) / max(epochs, 1)
    return [
        Point(name, step, value, milliseconds(ended if name in DIAGRAMS else started + pace * step))
        for (name, step), value in values.items()
    ]
