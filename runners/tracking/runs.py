"""What MLflow is to show of a sweep: the records of its journal as a tree of runs (no mlflow in here).

The sweep is the parent run, a trial hangs under it and the trial's replicates under the trial.
"""

from __future__ import annotations

import getpass
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lossfleet.runners.metrics.evaluation import DIAGRAMS
from lossfleet.runners.records import EndRecord, Record, ReplicateRecord, SweepRecord, TrialRecord

# By these tags lossfleet finds its own runs again; the others are for the reader of the UI.
KEY_TAG = "lossfleet.key"
KIND_TAG = "lossfleet.kind"
SWEEP_TAG = "lossfleet.sweep"
SAMPLED_TAG = "lossfleet.sampled"
CURVES_TAG = "lossfleet.curves"
OBJECTIVES_TAG = "objectives"
FRONT_TAG = "pareto"

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
# MLflow's limits; a reason can be a whole traceback.
LONGEST_PARAM = 6000
LONGEST_REASON = 5000
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
    """An MLflow run that has ended; `parent` is the key of the run it hangs under, times are unix seconds."""

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
        self.end: EndRecord | None = None
        self._replicates: dict[tuple[str, str, int], dict[int, ReplicateRecord]] = defaultdict(dict)
        self._ended: set[tuple[str, str, int]] = set()

    def add(self, records: Iterable[Record]) -> list[Run]:
        """The runs that these records complete, parents first."""
        runs: list[Run] = []
        for record in records:
            # A continued sweep has records after its end.
            self.end = record if isinstance(record, EndRecord) else None
            if isinstance(record, SweepRecord):
                # A continued sweep writes another SweepRecord; its identity is that of the first.
                self.sweep = self.sweep or record
            elif isinstance(record, ReplicateRecord):
                self._replicates[_trial_of(record)][record.replicate] = record
            elif isinstance(record, TrialRecord) and _trial_of(record) not in self._ended:
                self._ended.add(_trial_of(record))
                if self.sweep is None:
                    raise ValueError("a TrialRecord came before the SweepRecord")
                replicates = self._replicates.pop(_trial_of(record), {})
                runs += _trial_runs(self.sweep, record, [replicates[index] for index in sorted(replicates)])
        return runs


def sweep_key(sweep: SweepRecord) -> str:
    """What tells this sweep from another of the same name in the same store."""
    return f"{sweep.sweep}@{sweep.started:.3f}"


def front_keys(sweep: SweepRecord, end: EndRecord) -> set[str]:
    """The keys of the trials that are on the Pareto front of their study."""
    return {f"{sweep_key(sweep)}/{strategy}/search/{trial}" for strategy, trial in end.front}


def sweep_tags(sweep: SweepRecord) -> dict[str, str]:
    """The tags of the sweep's own run, the environment among them."""
    environment = {f"environment.{name}": str(value) for name, value in sweep.environment.items()}
    return {**_common_tags(sweep), **environment, KEY_TAG: sweep_key(sweep), KIND_TAG: "sweep"}


def experiment_tags(name: str) -> dict[str, str]:
    """The tags of a new experiment: its description, and its kind."""
    note = (
        f"Which way of handling class imbalance is best on **{name}**? Each sweep is a run: its description "
        "has the answer and its artifacts the figures. Under it are the trials of each strategy, under a "
        f"trial its replicates.\n\n`lossfleet compare {name}` prints the table of the latest sweep."
    )
    # The kind makes the UI open on training runs instead of on traces.
    return {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}


def end_tags(end: EndRecord, *, has_figures: bool) -> dict[str, str]:
    """What the sweep's run says of its result: the winner, and the description in Markdown."""
    tags = {"winner": end.winner} if end.winner else {}
    if end.sentence:
        note = f"{end.sentence}\n\n{end.table}"
        if has_figures:
            note += (
                "\n\nFigures: under Artifacts, in `figures/`; `figures.html` has all of them, interactive."
            )
        tags["mlflow.note.content"] = note
    return tags


def replicate_row(
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    curves: Mapping[str, tuple[tuple[int, float], ...]],
    *,
    class_names: Iterable[str],
    started: int,
    ended: int,
) -> dict[str, Any]:
    """A replicate's run as a row to compare.

    Args:
        tags: as `RunTree` gives them.
        metrics: the last values.
        curves: of (step, value).
        class_names: of the data set.
        started: in unix milliseconds, as MLflow keeps it; `ended` likewise.

    Returns:
        sweep, data, strategy, stage, state, search_metric (the validation metric that the search optimised, of
        several the first one), trial, replicate, seed, split, epochs, started and ended (unix seconds),
        class_names, objectives (the metrics that are optimised together, with commas), feasible (whether the
        trial holds its constraints), params (the sampled hyperparameters), metrics and curves.
    """
    row: dict[str, Any] = {name: tags[name] for name in ("sweep", "data", "strategy", "stage", "state")}
    row["search_metric"] = tags["search_metric"]
    row |= {name: int(tags[name]) for name in ("trial", "replicate", "seed", "split", "epochs")}
    row |= {"started": started / 1000, "ended": ended / 1000, "class_names": tuple(class_names)}
    row |= {"objectives": tags.get(OBJECTIVES_TAG, ""), "feasible": tags.get("feasible", "true") == "true"}
    last = {name: value for name, value in metrics.items() if name not in DIAGRAMS}
    return {**row, "params": json.loads(tags[SAMPLED_TAG]), "metrics": last, "curves": dict(curves)}


def curve_names(tags: Mapping[str, str]) -> list[str]:
    """Which metrics of a replicate's run are curves."""
    return json.loads(tags.get(CURVES_TAG, "[]"))


def replicate_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The replicates of a journal's ended trials, as `replicate_row` gives them."""
    tree = RunTree()
    rows = []
    for run in tree.add(records):
        if run.tags[KIND_TAG] != "replicate":
            continue
        histories: dict[str, tuple[tuple[int, float], ...]] = dict.fromkeys(curve_names(run.tags), ())
        for point in sorted(run.points, key=lambda point: point.step):
            histories[point.name] = (*histories.get(point.name, ()), (point.step, point.value))
        rows.append(
            replicate_row(
                run.tags,
                {name: history[-1][1] for name, history in histories.items() if history},
                {name: histories[name] for name in curve_names(run.tags)},
                class_names=tree.sweep.dataset.get("class_names", ()) if tree.sweep else (),
                started=milliseconds(run.started),
                ended=milliseconds(run.ended),
            )
        )
    return rows


def milliseconds(seconds: float) -> int:
    """Unix seconds as MLflow counts time."""
    return round(1000 * seconds)


def sweep_params(sweep: SweepRecord) -> dict[str, str]:
    """The sweep's configuration; what all of its studies share is said once."""
    config = dict(sweep.config)
    studies = {name: flatten(study) for name, study in config.pop("studies", {}).items()}
    params = flatten(config)
    for strategy, settings in studies.items():
        for name, value in settings.items():
            is_shared = all(other.get(name) == value for other in studies.values())
            params[name if is_shared else f"{strategy}.{name}"] = value
    return params


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names and strings; what is None is left out."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = str(value)[:LONGEST_PARAM]
    return flat


def _trial_of(record: TrialRecord | ReplicateRecord) -> tuple[str, str, int]:
    return record.strategy, record.stage, record.trial


def _trial_runs(sweep: SweepRecord, trial: TrialRecord, replicates: list[ReplicateRecord]) -> list[Run]:
    key = f"{sweep_key(sweep)}/{trial.strategy}/{trial.stage}/{trial.trial}"
    number = "final" if trial.stage == "final" else f"{trial.trial:03d}"
    config = {name: value for name, value in trial.config.items() if name not in SWEEP_SETTINGS}
    params = flatten(config) | flatten(trial.params)
    search = trial.config.get("search", {})
    tags = _common_tags(sweep) | {
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
        tags=tags | _state_tags(trial) | _error_tags(trial) | {KEY_TAG: key, KIND_TAG: "trial"},
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
            | _state_tags(replicate)
            | {
                "replicate": str(replicate.replicate),
                "seed": str(replicate.seed),
                "split": str(replicate.split),
                "epochs": str(replicate.epochs),
                CURVES_TAG: json.dumps(list(replicate.curves)),
                KEY_TAG: f"{key}/{replicate.replicate}",
                KIND_TAG: "replicate",
            },
            points=_timed(_values(replicate), replicate.started, replicate.ended),
        )
        for replicate in replicates
    ]


def _common_tags(sweep: SweepRecord) -> dict[str, str]:
    environment = sweep.environment
    tags = {
        "sweep": sweep.sweep,
        "data": sweep.data,
        "search_metric": _search_metric(sweep),
        SWEEP_TAG: sweep_key(sweep),
        "mlflow.user": _user(),
        "mlflow.source.name": "lossfleet",
        "mlflow.source.type": "LOCAL",
    }
    if "lossfleet" in environment:
        tags["version"] = environment["lossfleet"]
    if environment.get("git_commit"):
        tags["git_commit"] = tags["mlflow.source.git.commit"] = environment["git_commit"]
    return tags


def _search_metric(sweep: SweepRecord) -> str:
    """The metric that all studies maximise."""
    return next(iter(sweep.config["studies"].values()))["search"]["metric"]


def _state_tags(record: TrialRecord | ReplicateRecord) -> dict[str, str]:
    return {"state": record.state} | ({"reason": record.reason[:LONGEST_REASON]} if record.reason else {})


def _error_tags(trial: TrialRecord) -> dict[str, str]:
    # The end of a traceback says most.
    return {"error": trial.error[-LONGEST_REASON:]} if trial.error else {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container's user id need not have a name.
        return "unknown"


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
            values[f"{name}_std", epochs] = _standard_deviation(complete[name, epochs])
    if trial.value is not None:
        values["value", epochs] = trial.value
    if len(trial.values) > 1:
        values |= {(f"value_{name}", epochs): value for name, value in trial.values.items()}
    if trial.violations:
        values["violation", epochs] = sum(max(0.0, missed) for missed in trial.violations.values())
    return _timed(values, trial.started, trial.ended)


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
