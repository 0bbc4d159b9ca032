"""By how much scores are too good where the search has seen the rows that its winners are tested on."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lossfleet.runners.records import JOURNAL_FILE, Journal, ReplicateRecord, TrialRecord
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.planning.plan import Plan, Study, trial_config
from lossfleet.sweeps.running.folder import STUDIES
from lossfleet.sweeps.running.processes import train_studies
from tests.benchmarks.measure import Report, fresh_folder
from tests.benchmarks.work import STRATEGIES

METRIC = "test_balanced_accuracy"
DATA = ("breast_cancer", "digits", "page_blocks", "page_blocks_binary", "wine")
SETTINGS = ("budget.trials=20", "budget.final_replicates=5")
QUICK = ("budget.trials=2", "budget.epochs=2", "budget.rungs=2", "budget.replicates=1")


def run(quick: bool) -> list[Report]:
    """One data set after the other."""
    outer_parts, settings = (2, (*SETTINGS, *QUICK)) if quick else (5, SETTINGS)
    strategies, names = (STRATEGIES[:1], DATA[-1:]) if quick else (STRATEGIES, DATA)
    rows = [measure(name, strategies, outer_parts, settings) for name in names]
    notes = (
        f"Mean balanced accuracy of {', '.join(strategies)} over {outer_parts} outer parts with 5 replicates each, "
        "after 20 trials a strategy. "
        "Those of a nested evaluation have hyperparameters of a search that did not have the rows of its outer part. "
        "The others are trained and tested on the very same rows, with those that a search on all rows has found.",
        "The optimism is the mean of the paired differences, with its standard error over the outer parts.",
        "Resampled is the final evaluation of the search on all rows: other test parts, and so other scores.",
    )
    return [Report("Optimism: test rows that the search has seen", rows, notes)]


def measure(
    data: str, strategies: Sequence[str], outer_parts: int, settings: Iterable[str]
) -> dict[str, Any]:
    """The row of a data set."""
    common = (f"data={data}", f"strategy={','.join(strategies)}", *settings)
    with fresh_folder() as folder, inside(folder):
        (everything,) = plans(*common)
        nested = plans(*common, "evaluation=nested", f"evaluation.outer_parts={outer_parts}")
        for plan in (everything, *nested):
            train(plan)
        resampled = scores(everything)
        found = {
            record.strategy: record.params
            for record in records_of(everything)
            if isinstance(record, TrialRecord) and record.stage == "final"
        }
        without, knowing = [], []
        for plan in nested:
            without.append(scores(plan))
            again = with_params(plan, found)
            train(again)
            knowing.append(scores(again))
    gains = [
        {name: knew[name] - had_not[name] for name in strategies}
        for knew, had_not in zip(knowing, without, strict=True)
    ]
    means = [statistics.mean(gain.values()) for gain in gains]
    by_strategy = {name: statistics.mean(gain[name] for gain in gains) for name in strategies}
    largest = max(by_strategy, key=lambda name: by_strategy[name])
    return {
        "data": data,
        "resampled": statistics.mean(resampled.values()),
        "searched on all rows": statistics.mean(statistics.mean(each.values()) for each in knowing),
        "nested": statistics.mean(statistics.mean(each.values()) for each in without),
        "optimism": statistics.mean(means),
        "standard error": statistics.stdev(means) / len(means) ** 0.5,
        "largest of a strategy": by_strategy[largest],
        "whose": largest,
        "ahead, all rows": leader(knowing),
        "ahead, nested": leader(without),
    }


def train(plan: Plan) -> None:
    """Train all trials and final replicates of a sweep."""
    folder = STUDIES / plan.sweep
    folder.mkdir(parents=True)
    train_studies(plan, ReplicateFactory.of(plan.studies[0].config), folder)


def leader(parts: Iterable[Mapping[str, float]]) -> str:
    """The strategy with the best mean over outer parts."""
    found = list(parts)
    return max(found[0], key=lambda name: statistics.mean(each[name] for each in found))


def with_params(plan: Plan, params: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan with nothing left to search: one trial a strategy, of these hyperparameters."""
    studies = []
    for study in plan.studies:
        config = trial_config(study, params[study.strategy])
        search = replace(config.search, enqueue=())
        studies.append(
            Study(study.strategy, replace(config, budget=replace(config.budget, trials=1), search=search), ())
        )
    return Plan(f"{plan.sweep}-again", tuple(studies))


def scores(plan: Plan) -> dict[str, float]:
    """The mean score of each strategy's final replicates; one that diverged counts as chance."""
    finals = [
        record
        for record in records_of(plan)
        if isinstance(record, ReplicateRecord) and record.stage == "final" and METRIC in record.metrics
    ]
    return {
        name: statistics.mean(each.metrics[METRIC] for each in finals if each.strategy == name)
        for name in dict.fromkeys(each.strategy for each in finals)
    }


def plans(*overrides: str) -> list[Plan]:
    """What `lossfleet sweep` would run."""
    found: list[Plan] = []
    run_sweeper(overrides, found.append)
    return found


def records_of(plan: Plan) -> list[Any]:
    """The journal of a sweep."""
    return Journal(STUDIES / plan.sweep / JOURNAL_FILE).read()


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working directory, where sweeps have their folders."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
