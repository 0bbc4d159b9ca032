"""The replicates of a sweep as rows to compare, from its journal or from MLflow (no mlflow in here)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lossfleet.conf.datasets import PATHS
from lossfleet.runners.metrics.evaluation import DIAGRAMS
from lossfleet.runners.records import Record
from lossfleet.runners.tracking.runs import RunTree, milliseconds
from lossfleet.runners.tracking.tags import (
    CURVES_TAG,
    ENGINE_TAG,
    KIND_TAG,
    NESTED_TAG,
    OBJECTIVES_TAG,
    OUTER_PART_TAG,
    OUTER_PARTS_TAG,
    SAMPLED_TAG,
    SPEED_TAGS,
)

# The settings of a sweep that are no hyperparameters where they are the same for all of its trials.
SETTINGS = ("data.", "model.")
# Where a table lies and what implements a part do not set two sweeps apart.
UNIMPORTANT = (*(f"data.{name}" for name in PATHS), "data._target_", "model._target_")


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
                run.params,
                {name: history[-1][1] for name, history in histories.items() if history},
                {name: histories[name] for name in curve_names(run.tags)},
                class_names=tree.sweep.dataset.get("class_names", ()) if tree.sweep else (),
                started=milliseconds(run.started),
                ended=milliseconds(run.ended),
            )
        )
    return rows


def replicate_row(
    tags: Mapping[str, str],
    params: Mapping[str, str],
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
        params: likewise.
        metrics: the last values.
        curves: of (step, value).
        class_names: of the data set.
        started: in unix milliseconds, as MLflow keeps it; `ended` likewise.

    Returns:
        sweep, data, strategy, stage, state, search_metric (the validation metric that the search optimised, of
        several the first one), trial, replicate, seed, split, epochs, engine (who trained it, see
        `lossfleet.runners.training.slots.Engine`; empty of references and where it is not known), started and ended
        (unix seconds),
        class_names, objectives (the metrics that are optimised together, with commas), feasible (whether the
        trial holds its constraints), nested (what the sweeps of all outer parts are called together, else empty),
        outer_part (its number), outer_parts (how many there are to be), milliseconds_per_image and frames_per_second
        (of the first final replicate of a detector, else NaN), params (the sampled hyperparameters),
        settings (what is fixed of the data and the model, as text), metrics and curves.
    """
    row: dict[str, Any] = {name: tags[name] for name in ("sweep", "data", "strategy", "stage", "state")}
    row["search_metric"] = tags["search_metric"]
    row |= {name: int(tags[name]) for name in ("trial", "replicate", "seed", "split", "epochs")}
    row["engine"] = tags.get(ENGINE_TAG, "")
    row |= {"started": started / 1000, "ended": ended / 1000, "class_names": tuple(class_names)}
    row |= {"objectives": tags.get(OBJECTIVES_TAG, ""), "feasible": tags.get("feasible", "true") == "true"}
    row |= {"nested": tags.get(NESTED_TAG, "")}
    row |= {name: float(tags.get(name, "nan")) for name in SPEED_TAGS}
    row |= {"outer_part": int(tags.get(OUTER_PART_TAG, 0)), "outer_parts": int(tags.get(OUTER_PARTS_TAG, 0))}
    last = {name: value for name, value in metrics.items() if name not in DIAGRAMS}
    sampled = json.loads(tags[SAMPLED_TAG])
    row |= {"params": sampled, "settings": _settings(params, sampled)}
    return {**row, "metrics": last, "curves": dict(curves)}


def curve_names(tags: Mapping[str, str]) -> list[str]:
    """Which metrics of a replicate's run are curves."""
    return json.loads(tags.get(CURVES_TAG, "[]"))


def _settings(params: Mapping[str, str], sampled: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in sorted(params.items())
        if name.startswith(SETTINGS)
        and name not in UNIMPORTANT
        and name not in sampled
        # Where the model is sampled, so are its settings.
        and name.partition(".")[0] not in sampled
    }
