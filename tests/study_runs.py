"""Studies without training, for the tests of the search: several trials in flight, made-up values."""

from __future__ import annotations

import math
from collections.abc import Callable

from optuna.storages import BaseStorage, InMemoryStorage

from lossfleet.conf.schema import Budget, Config, choose
from lossfleet.sweeps.planning.plan import Study
from lossfleet.sweeps.planning.space import Dimension
from lossfleet.sweeps.search.study import Asked, StudySearch

LR = Dimension("optimizer.lr", "float", 1e-4, 1e-1, log=True)
DECAY = Dimension("optimizer.weight_decay", "float", 0.0, 1.0)
CHOICE = Dimension("sampler", "categorical", choices=("shuffle", "class_balanced"))
EXPONENT = Dimension("sampler.exponent", "float", 0.0, 1.0, when={"sampler": ("class_balanced",)})
BATCH = Dimension("batch_size", "int", 16, 64, step=16)
# Of which a grid can be made.
STEPS = Dimension("optimizer.weight_decay", "float", 0.0, 1.0, step=0.25)
EXPONENTS = Dimension("sampler.exponent", "float", 0.0, 1.0, step=0.5, when={"sampler": ("class_balanced",)})

# Pruners that wait do so for as short as they can, so that a short study shows what they do.
EARLY = {"n_startup_trials": 2, "warmup_rungs": 0}

Story = list[tuple[int, dict, str]]


def make_study(
    *space: Dimension,
    trials: int = 12,
    seed: int = 0,
    pruner: str = "none",
    budget: Budget | None = None,
    sampler: str = "tpe",
    **search: object,
) -> Study:
    config = Config(
        strategy="ce",
        data=choose("data", "wine"),
        loss=choose("loss", "cross_entropy"),
        search=choose("search", sampler, **search),
        pruner=choose("pruner", pruner, **(EARLY if pruner in ("median", "percentile") else {})),
        budget=budget or Budget(trials=trials, epochs=4, rungs=2),
        seed=seed,
    )
    return Study("ce", config, space)


def quality(params: dict) -> float:
    """A made-up value of a trial, best at a learning rate of 0.01."""
    distance = abs(math.log10(params.get("optimizer.lr", 0.01)) + 2)
    distance += abs(params.get("optimizer.weight_decay", 0.3) - 0.3)
    return -distance + 0.1 * params.get("sampler.exponent", 0.0) + 0.001 * params.get("batch_size", 16)


def values_of(study: Study, params: dict) -> list[float]:
    return [quality(params), abs(params.get("optimizer.lr", 0.01))][: len(study.config.search.objectives)]


def run(
    study: Study,
    storage: BaseStorage | None = None,
    *,
    stop_after: int | None = None,
    slots: int = 3,
    value: Callable[[Study, dict], list[float]] = values_of,
) -> Story:
    """Search with several trials in flight, each of which reports at rungs and takes its own time.

    Args:
        storage: of an earlier run that this one continues, or to be looked at; None for a new one.
        stop_after: finished trials; those in flight are then left as a killed process leaves them.

    Returns:
        Number, params and state of each trial in the order of their ends.
    """
    search = StudySearch(study, storage or InMemoryStorage())
    rungs = study.config.budget.rung_epochs()
    flight: list[tuple[Asked, list[int]]] = []
    story: Story = []
    while True:
        while len(flight) < slots and (asked := search.ask()) is not None:
            flight.append((asked, list(rungs)))
        if not flight:
            return story
        for asked, left in list(flight):
            # A trial of an even number takes two rungs while one of an odd number takes one.
            for _ in range(2 - asked.number % 2):
                if not left:
                    break
                values = value(study, asked.params)
                epoch = left.pop(0)
                replicates = [values[0] + 0.001 * index for index in range(study.config.budget.replicates)]
                pruned = search.report(asked, epoch, values[0] * 10 / epoch, replicates)
                if pruned or not left:
                    state = "PRUNED" if pruned and left else "COMPLETE"
                    missed = dict.fromkeys(study.config.search.constraint, 0.01 - values[-1])
                    search.tell(asked.number, state, values if state == "COMPLETE" else None, missed)
                    story.append((asked.number, asked.params, state))
                    flight.remove((asked, left))
                    if len(story) == stop_after:
                        return story
                    left.clear()
