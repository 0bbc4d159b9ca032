"""The tags of MLflow's runs: by which lossfleet finds its own again, and what the reader of the UI sees.

No mlflow in here.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from lossfleet.conf.evaluations import name_of_all
from lossfleet.runners.detection.timing import FRAMES, MILLISECONDS
from lossfleet.runners.records import (
    MISTAKES,
    ContinuationRecord,
    EndRecord,
    ReplicateRecord,
    SweepRecord,
    TrialRecord,
)

# By these tags lossfleet finds its own runs again; the others are for the reader of the UI.
KEY_TAG = "lossfleet.key"
KIND_TAG = "lossfleet.kind"
SWEEP_TAG = "lossfleet.sweep"
SAMPLED_TAG = "lossfleet.sampled"
CURVES_TAG = "lossfleet.curves"
PUBLISHED_TAG = "lossfleet.published"
OBJECTIVES_TAG = "objectives"
FRONT_TAG = "pareto"
# What the sweeps of all outer parts of a nested evaluation are called together.
NESTED_TAG = "nested"
OUTER_PART_TAG = "outer_part"
OUTER_PARTS_TAG = "outer_parts"
MISTAKES_TAG = "mistakes"
# Of a detector's final evaluation and of its first replicate.
SPEED_TAGS = (MILLISECONDS, FRAMES)
# Of a replicate.
ENGINE_TAG = "engine"
# Of the sweep's run, with a number behind it.
CONTINUED_TAG = "continued."
# MLflow's limit; a reason can be a whole traceback.
LONGEST_REASON = 5000


def sweep_key(sweep: SweepRecord) -> str:
    """What tells this sweep from another of the same name in the same store."""
    return f"{sweep.sweep}@{sweep.started:.3f}"


def front_keys(sweep: SweepRecord, end: EndRecord) -> set[str]:
    """The keys of the trials that are on the Pareto front of their study."""
    return {f"{sweep_key(sweep)}/{strategy}/search/{trial}" for strategy, trial in end.front}


def sweep_tags(sweep: SweepRecord) -> dict[str, str]:
    """The tags of the sweep's own run, the environment among them."""
    environment = {f"environment.{name}": str(value) for name, value in sweep.environment.items()}
    return {**common_tags(sweep), **environment, KEY_TAG: sweep_key(sweep), KIND_TAG: "sweep"}


def continued_tags(continuations: Sequence[ContinuationRecord]) -> dict[str, str]:
    """What the sweep's run says of the runs that continued it otherwise: when, and what they did otherwise."""
    return {
        f"{CONTINUED_TAG}{number}": f"{minute(each.started)}: {', '.join(each.changes)}"[:LONGEST_REASON]
        for number, each in enumerate(continuations, start=1)
    }


def published_tag(config: Mapping[str, Any]) -> dict[str, str]:
    """What the sweep's run says of the paper that it is set beside, if it is."""
    published = next(iter(config["studies"].values())).get("published")
    return {PUBLISHED_TAG: json.dumps(published)} if published else {}


def speed_tags(speed: Mapping[str, float] | None) -> dict[str, str]:
    """How fast a detector finds objects, if it is known."""
    return {name: f"{value:.4g}" for name, value in (speed or {}).items()}


def engine_tags(replicate: ReplicateRecord) -> dict[str, str]:
    """Who trained a replicate, if that is known."""
    return {ENGINE_TAG: replicate.engine} if replicate.engine else {}


def experiment_tags(name: str) -> dict[str, str]:
    """The tags of a new experiment: its description, and its kind."""
    note = (
        f"Which way of handling class imbalance is best on **{name}**? Each sweep is a run: its description "
        "has the answer and its artifacts the figures. Under it are the trials of each strategy, under a "
        f"trial its replicates.\n\n`lossfleet compare {name}` prints the table of the latest sweep."
    )
    # The kind makes the UI open on training runs instead of on traces.
    return {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}


def end_tags(end: EndRecord, *, has_figures: bool, has_mistakes: bool) -> dict[str, str]:
    """What the sweep's run says of its result: the winner, and the description in Markdown."""
    tags = {"winner": end.winner} if end.winner else {}
    if has_mistakes:
        tags[MISTAKES_TAG] = f"the test rows that the best strategy gets wrong: {MISTAKES}, under Artifacts"
    if end.sentence:
        note = f"{end.sentence}\n\n{end.table}"
        if has_figures:
            note += (
                "\n\nFigures: under Artifacts, in `figures/`; `figures.html` has all of them, interactive."
            )
        tags["mlflow.note.content"] = note
    return tags


def common_tags(sweep: SweepRecord) -> dict[str, str]:
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
    evaluation = _first_study(sweep).get("evaluation", {})
    if evaluation.get("outer_part") is not None:
        tags[NESTED_TAG] = name_of_all(sweep.sweep)
        tags[OUTER_PART_TAG] = str(evaluation["outer_part"])
        tags[OUTER_PARTS_TAG] = str(evaluation["outer_parts"])
    return tags


def state_tags(record: TrialRecord | ReplicateRecord) -> dict[str, str]:
    return {"state": record.state} | ({"reason": record.reason[:LONGEST_REASON]} if record.reason else {})


def error_tags(trial: TrialRecord) -> dict[str, str]:
    # The end of a traceback says most.
    return {"error": trial.error[-LONGEST_REASON:]} if trial.error else {}


def minute(seconds: float) -> str:
    """A time in unix seconds, for the reader."""
    return f"{datetime.fromtimestamp(seconds, tz=timezone.utc):%Y-%m-%d %H:%M} UTC"


def _search_metric(sweep: SweepRecord) -> str:
    """The metric that all studies maximise."""
    return _first_study(sweep)["search"]["metric"]


def _first_study(sweep: SweepRecord) -> dict[str, Any]:
    return next(iter(sweep.config["studies"].values()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container's user id need not have a name.
        return "unknown"
