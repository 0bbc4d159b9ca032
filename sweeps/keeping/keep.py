"""Keeping models: a strategy's best configuration, trained again on all rows and stored in the sweep's folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.schema import Config
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.environment import version
from lossfleet.runners.prediction.stored import read_description, write_model
from lossfleet.runners.records import Record, ReplicateRecord, SweepRecord, TrialRecord
from lossfleet.runners.tables.reading import Settings
from lossfleet.sweeps.keeping.card import model_card
from lossfleet.sweeps.keeping.detector_card import detector_card
from lossfleet.sweeps.keeping.detectors import refit_detectors
from lossfleet.sweeps.keeping.expectation import (
    expected_scores,
    typical_epochs,
    typical_exponent,
    typical_rule,
    typical_temperature,
)
from lossfleet.sweeps.keeping.refit import Refit, refit

MODELS = "models"


@dataclass(frozen=True)
class Order:
    """What to keep of a sweep.

    Fields: strategies, each with a final evaluation; name, that the models are registered under; members, trainings
    a model; verdict of the sweep, in words.
    """

    strategies: tuple[str, ...]
    name: str
    members: int
    verdict: str


def keep_strategies(order: Order, records: Sequence[Record], dataset: Dataset, folder: Path) -> list[Path]:
    """Train and store the model of each strategy; one that is there as it would become is left as it is.

    Args:
        order: which strategies, and how.
        records: of the sweep.
        dataset: of the sweep.
        folder: of the sweep.

    Returns:
        The folders of the models that are new.

    Raises:
        UserError: a strategy has no final evaluation that succeeded, or a model that cannot be kept.
        Failure: the training diverged.
    """
    new = []
    for strategy in order.strategies:
        target = folder / MODELS / strategy
        if not is_kept(order, records, target):
            _keep(order, strategy, records, dataset, target)
            new.append(target)
    return new


def is_kept(order: Order, records: Sequence[Record], target: Path) -> bool:
    """Whether a folder has the model that the order would make there."""
    found = read_description(target)
    if found is None or found["asked_members"] != order.members or found["name"] != order.name:
        return False
    made = _made(*final_evaluation(target.name, records), records)
    return all(found["made"].get(each) == made[each] for each in ("sweep", "started", "strategy", "trial"))


def final_evaluation(strategy: str, records: Iterable[Record]) -> tuple[TrialRecord, list[ReplicateRecord]]:
    """The last final evaluation of a strategy, and those of its replicates that were trained to the end.

    Raises:
        UserError: there is none that succeeded.
    """
    own = [record for record in records if isinstance(record, TrialRecord | ReplicateRecord)]
    own = [record for record in own if record.stage == "final" and record.state == "COMPLETE"]
    trials = {record.strategy: record for record in own if isinstance(record, TrialRecord)}
    if strategy not in trials:
        raise UserError(
            what=f"the sweep has no final evaluation of {strategy} that succeeded",
            expected=f"one of {', '.join(trials)}" if trials else "a sweep that has ended",
            hint=suggest(strategy, trials) if trials else "run the sweep again to finish it",
        )
    final = trials[strategy]
    replicates = {
        record.replicate: record
        for record in own
        if isinstance(record, ReplicateRecord) and (record.strategy, record.trial) == (strategy, final.trial)
    }
    return final, list(replicates.values())


def chosen_strategies(keep: str, best: str, records: Iterable[Record]) -> tuple[str, ...]:
    """The strategies that `keep` (none, winner or all) stands for: all that were evaluated, or the best."""
    finals = [record for record in records if isinstance(record, TrialRecord) and record.stage == "final"]
    evaluated = tuple(dict.fromkeys(record.strategy for record in finals if record.state == "COMPLETE"))
    return {"none": (), "winner": (best,), "all": evaluated}[keep]


def _made(
    final: TrialRecord, replicates: Sequence[ReplicateRecord], records: Iterable[Record]
) -> dict[str, Any]:
    """Where a model comes from, as its description has it."""
    sweeps = [record for record in records if isinstance(record, SweepRecord)]
    return {
        "sweep": sweeps[0].sweep,
        "started": sweeps[0].started,
        "strategy": final.strategy,
        "trial": final.trial,
        "splits": len(replicates),
        "hyperparameters": final.params,
        "config": final.config,
    }


def _keep(order: Order, strategy: str, records: Sequence[Record], dataset: Dataset, target: Path) -> None:
    import pandas as pd

    final, replicates = final_evaluation(strategy, records)
    if not replicates:
        raise UserError(
            what=f"every final replicate of {strategy} diverged",
            expected="one at least that was trained to its end",
            hint="keep another strategy",
        )
    config = Config.from_dict(final.config)
    epochs = typical_epochs(replicates)
    if epochs is not None:
        noun = "images" if config.data.has_scenes else "rows"
        print(
            f"{strategy} is trained on all {noun} for {epochs} of {config.budget.epochs} epochs, the median of those "
            "at which its final replicates were best",
            file=sys.stderr,
        )
    common = {
        "name": order.name,
        "lossfleet": version("lossfleet"),
        "classes": list(dataset.class_names),
        "expected": expected_scores(replicates),
        "asked_members": order.members,
        **({} if epochs is None else {"epochs": epochs}),
        "data": {**dataset.describe(), "name": dataset.name},
    }
    made = _made(final, replicates, records) | {"verdict": order.verdict}
    if isinstance(dataset, SceneDataset):
        found = refit_detectors(config, dataset, members=order.members, epochs=epochs)
        description = common | {
            "class_counts": dataset.class_counts.tolist(),
            "columns": found.columns,
            "detector": found.detector,
            "made": made | {"seeds": found.seeds},
        }
        write_model(target, description, found.weights, found.rows, detector_card(description))
        return
    trained = refit(config, dataset, members=order.members, epochs=epochs)
    description = common | _classifier(config, dataset, trained, replicates)
    description["made"] = made | {"seeds": trained.seeds}
    reading = dataset.reading
    example = trained.rows if reading is None or not reading.example else pd.DataFrame(reading.example)
    write_model(target, description, trained.weights, example, model_card(description))


def _classifier(
    config: Config, dataset: Dataset, trained: Refit, replicates: Sequence[ReplicateRecord]
) -> dict[str, Any]:
    """What a classifier says of itself beside what all kept models say."""
    rarest_class = int(trained.class_counts.argmin())
    reading = dataset.reading
    specs = {} if reading is None else reading.specs
    return {
        "class_counts": trained.class_counts.tolist(),
        **({} if dataset.weights is None else {"prior": trained.prior.tolist()}),
        **({} if reading is None or reading.weight is None else {"weight": dict(reading.weight)}),
        "columns": [{**column, **specs.get(column["name"], {})} for column in trained.columns],
        "missing": Settings.of(config.data.source.settings).missing_words,
        "layers": trained.kinds,
        **({} if config.members == 1 else {"networks": config.members}),
        "temperature": typical_temperature(replicates),
        "decision": config.decision.name,
        "prior_exponent": typical_exponent(replicates),
        **typical_rule(config.decision, replicates, dataset.class_names, rarest_class),
    }
