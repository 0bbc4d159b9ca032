"""The replicates of a sweep as rows to compare, from its journal or from MLflow (no mlflow in here)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lossfleet.runners.metrics.evaluation import DIAGRAMS
from lossfleet.runners.records import Record
from lossfleet.runners.tracking.runs import RunTree, milliseconds
from lossfleet.runners.tracking.tags import CURVES_TAG, KIND_TAG, OBJECTIVES_TAG, SAMPLED_TAG


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
