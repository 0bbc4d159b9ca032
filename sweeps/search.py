"""The search of one strategy: Optuna asks and is told; nothing here trains. The only importer of optuna."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from conf.schema import Budget, Pruner
from sweeps.plan import Study, total_trials
from sweeps.search_lock import SystemLock
from sweeps.space import Dimension

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAIL": TrialState.FAIL}


@dataclass(eq=False)
class Asked:
    """A trial that Optuna proposed: its number and the values of its hyperparameters."""

    number: int
    params: dict[str, Any]
    trial: optuna.Trial
    reported: set[int] = field(default_factory=set)


def open_storage(path: Path) -> JournalStorage:
    """The Optuna storage of a sweep, a journal file that is made when it does not exist."""
    return JournalStorage(JournalFileBackend(str(path), SystemLock(str(path))))


class StudySearch:
    """The Optuna study of one strategy, continued where an earlier process left it.

    Same seed, same trials: before each trial the sampler is seeded anew from the sweep's seed, the strategy
    and the trial's number, so its state need not be stored.
    """

    def __init__(self, study: Study, storage: JournalStorage) -> None:
        config = study.config
        self.study = study
        self.total = total_trials(study)
        self._optuna = optuna.create_study(
            study_name=study.strategy,
            storage=storage,
            sampler=self._sampler(0),
            pruner=make_pruner(config.pruner, config.budget),
            direction="maximize",
            load_if_exists=True,
        )
        self._unfinished = [trial for trial in self._trials() if trial.state == TrialState.RUNNING]
        self._asked = len(self._trials())

    @staticmethod
    def _is_grid(study: Study) -> bool:
        return study.config.search.sampler == "grid"

    def ask(self) -> Asked | None:
        """The next trial, one that a dead process left unfinished first; None when all were asked for."""
        if self._unfinished:
            frozen = self._unfinished.pop(0)
            self._optuna.sampler = self._sampler(frozen.number)
            trial = optuna.Trial(self._optuna, frozen._trial_id)
            reported = set(frozen.intermediate_values)
        elif self._asked < self.total:
            self._optuna.sampler = self._sampler(self._asked)
            trial = self._optuna.ask()
            self._asked += 1
            reported = set()
        else:
            return None
        params: dict[str, Any] = {}
        for dimension in self.study.space:
            if dimension.is_active(params):
                params[dimension.name] = suggest(trial, dimension)
        return Asked(trial.number, params, trial, reported)

    def report(self, asked: Asked, epoch: int, value: float) -> bool:
        """Report the value of a trial at a rung; returns whether the pruner wants it stopped."""
        if epoch not in asked.reported:
            asked.trial.report(value, epoch)
            asked.reported.add(epoch)
        return asked.trial.should_prune()

    def tell(self, number: int, state: str, value: float | None) -> None:
        """Finish a trial as COMPLETE with its value, or as PRUNED or FAIL.

        A pruned trial keeps its last report as value, as Optuna does; a diverged one has none.
        """
        complete = state == "COMPLETE"
        try:
            self._optuna.tell(number, value if complete else None, STATES[state], skip_if_finished=True)
        except RuntimeError:
            # At the last point of the grid the sampler stops the study, which ask and tell do not allow;
            # the trial is stored by then.
            if not self._is_grid(self.study):
                raise

    def unfinished(self) -> list[int]:
        """Numbers of the trials that a dead process left running."""
        return [trial.number for trial in self._unfinished]

    def finish_unfinished(self, number: int, state: str, value: float | None) -> None:
        """Tell of an unfinished trial whose end is on record."""
        self._unfinished = [trial for trial in self._unfinished if trial.number != number]
        self.tell(number, state, value)

    def _trials(self) -> Sequence[FrozenTrial]:
        return self._optuna.get_trials(deepcopy=False)

    def _sampler(self, number: int) -> BaseSampler:
        config = self.study.config
        strategy = zlib.crc32(self.study.strategy.encode())
        seed = int(np.random.SeedSequence((config.seed, strategy, number)).generate_state(1)[0])
        if config.search.sampler == "random":
            return RandomSampler(seed=seed)
        if config.search.sampler == "grid":
            # Experimental since Optuna 3.1; GridSampler knows no conditional spaces.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return BruteForceSampler(seed=seed)
        return TPESampler(seed=seed)


def suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    """The trial's value of one dimension."""
    if dimension.kind == "categorical":
        return trial.suggest_categorical(dimension.name, dimension.choices)
    if dimension.kind == "int":
        low, high, step = int(dimension.low), int(dimension.high), int(dimension.step or 1)
        return trial.suggest_int(dimension.name, low, high, step=step, log=dimension.log)
    return trial.suggest_float(
        dimension.name, dimension.low, dimension.high, step=dimension.step, log=dimension.log
    )


def make_pruner(pruner: Pruner, budget: Budget) -> optuna.pruners.BasePruner:
    """The Optuna pruner of a configuration; its steps are epochs."""
    rungs = budget.rung_epochs()
    if pruner.name == "none":
        return optuna.pruners.NopPruner()
    if pruner.name == "successive_halving":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=rungs[0], reduction_factor=pruner.reduction_factor
        )
    warmup = rungs[min(pruner.warmup_rungs, len(rungs) - 1)]
    return optuna.pruners.MedianPruner(n_startup_trials=pruner.startup_trials, n_warmup_steps=warmup)
