"""Keeping models: a strategy's best configuration, trained again on all rows and stored in the sweep's folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.schema import Config
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.table_file import MISSING
from lossfleet.runners.environment import version
from lossfleet.runners.prediction.stored import read_description, write_model
from lossfleet.runners.records import EndRecord, Record, ReplicateRecord, SweepRecord, TrialRecord
from lossfleet.sweeps.keeping.card import model_card
from lossfleet.sweeps.keeping.expectation import expected_scores, typical_exponent, typical_temperature
from lossfleet.sweeps.keeping.refit import refit

MODELS = "models"


def keep_strategies(
    strategies: Sequence[str], records: Sequence[Record], dataset: Dataset, folder: Path, *, members: int
) -> list[Path]:
    """Train and store the model of each strategy; one that is there as it would become is left as it is.

    Args:
        strategies: each with a final evaluation among the records.
        records: of the sweep.
        dataset: of the sweep.
        folder: of the sweep.
        members: trainings a model.

    Returns:
        The folders of the models that are new.

    Raises:
        UserError: a strategy has no final evaluation that succeeded, or a model that cannot be kept.
        Failure: the training diverged.
    """
    new = []
    for strategy in strategies:
        final, replicates = final_evaluation(strategy, records)
        made = _made(final, replicates, records)
        target = folder / MODELS / strategy
        if not _is_same(read_description(target), made, members):
            _keep(target, made, final, replicates, records, dataset, members)
            new.append(target)
    return new


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


def best_strategy(records: Sequence[Record], winner: str | None = None) -> str:
    """The strategy that the sweep's end names, or the only one that was evaluated.

    Args:
        records: of the sweep.
        winner: of an end that is not among the records yet.

    Raises:
        UserError: the sweep was not compared.
    """
    if winner is None:
        ends = [
            record.winner
            for record in records
            if isinstance(record, EndRecord) and record.state == "FINISHED"
        ]
        winner = ends[-1] if ends else ""
    # Behind the name may stand from which others it cannot be told apart.
    name = winner.partition(" ")[0]
    if name:
        return name
    finals = {
        record.strategy
        for record in records
        if isinstance(record, TrialRecord) and record.stage == "final" and record.state == "COMPLETE"
    }
    if len(finals) != 1:
        raise UserError(
            what="the sweep has no winner",
            expected="a sweep that has ended",
            hint="run it again to finish it, or name a strategy with --strategy",
        )
    return finals.pop()


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


def _is_same(found: dict[str, Any] | None, made: dict[str, Any], members: int) -> bool:
    return (
        found is not None
        and found["asked_members"] == members
        and all(found["made"].get(name) == made[name] for name in ("sweep", "started", "strategy", "trial"))
    )


def _keep(
    target: Path,
    made: dict[str, Any],
    final: TrialRecord,
    replicates: Sequence[ReplicateRecord],
    records: Sequence[Record],
    dataset: Dataset,
    members: int,
) -> None:
    if not replicates:
        raise UserError(
            what=f"every final replicate of {final.strategy} diverged",
            expected="one at least that was trained to its end",
            hint="keep another strategy",
        )
    config = Config.from_dict(final.config)
    trained = refit(config, dataset, members=members)
    ends = [record for record in records if isinstance(record, EndRecord) and record.sentence]
    description = {
        "name": dataset.name,
        "lossfleet": version("lossfleet"),
        "classes": list(dataset.class_names),
        "class_counts": trained.class_counts.tolist(),
        "columns": trained.columns,
        "missing": MISSING,
        "layers": trained.kinds,
        "temperature": typical_temperature(replicates),
        "decision": "argmax",
        "prior_exponent": typical_exponent(replicates),
        "expected": expected_scores(replicates),
        "asked_members": members,
        "made": made | {"seeds": trained.seeds, "verdict": ends[-1].sentence if ends else ""},
        "data": {**dataset.describe(), "name": dataset.name},
    }
    write_model(target, description, trained.weights, trained.rows, model_card(description))
