"""The search of one strategy: Optuna asks and is told; nothing here trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from lossfleet.sweeps.planning.plan import Study, total_trials
from lossfleet.sweeps.planning.space import Dimension
from lossfleet.sweeps.search.journal import JournalFile, SearchStorage
from lossfleet.sweeps.search.pruners import ReplicateWilcoxon, make_pruner, replicates_key, start_pruner
from lossfleet.sweeps.search.samplers import NumberedSampler, make_sampler

if TYPE_CHECKING:
    import pandas as pd

optuna.logging.set_verbosity(optuna.logging.WARNING)

# Values that span more were sampled by their logarithm.
LOG_RATIO = 100

STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAIL": TrialState.FAIL}


@dataclass(eq=False)
class Asked:
    """A trial that Optuna proposed: its number and the values of its hyperparameters."""

    number: int
    params: dict[str, Any]
    trial: optuna.Trial
    reported: set[int] = field(default_factory=set)


def open_storage(path: Path) -> SearchStorage:
    """The Optuna storage of a sweep, a journal file that is made when it does not exist."""
    return SearchStorage(JournalFile(str(path)))


class StudySearch:
    """The Optuna study of one strategy, continued where an earlier process left it.

    Same seed, same trials: see `samplers` for what a trial depends on. The first trials are the points
    of `search.enqueue`.
    """

    def __init__(self, study: Study, storage: BaseStorage, name: str | None = None) -> None:
        config = study.config
        self.study = study
        self.total = total_trials(study)
        self._storage = storage
        self._name = name or study.strategy
        self._optuna = optuna.create_study(
            study_name=self._name,
            storage=storage,
            sampler=NumberedSampler(study),
            pruner=make_pruner(config.pruner, config.budget),
            directions=[each.direction for each in config.search.measures],
            load_if_exists=True,
        )
        with config.pruner.part.explained():
            start_pruner(self._optuna)
        trials = self._trials()
        self._unfinished = [trial for trial in trials if trial.state == TrialState.RUNNING]
        # Put in by a process that died before it asked.
        self._waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        # Counted from here on: to look at all trials for each would take longer than a small one trains.
        self._count = len(trials)

    def ask(self) -> Asked | None:
        """The next trial, one that a dead process left unfinished first; None when all were asked for."""
        if self._unfinished:
            frozen = self._unfinished.pop(0)
            trial = optuna.Trial(self._optuna, frozen._trial_id)
            return Asked(trial.number, self._params(trial), trial, set(frozen.intermediate_values))
        if self._waiting:
            self._waiting -= 1
        elif self._count >= self.total:
            return None
        else:
            points = self.study.config.search.enqueue
            if self._count < len(points):
                self._optuna.enqueue_trial(dict(points[self._count]))
            self._count += 1
        trial = self._optuna.ask()
        return Asked(trial.number, self._params(trial), trial)

    def report(self, asked: Asked, epoch: int, value: float, replicates: Sequence[float] = ()) -> bool:
        """Report the value of a trial at a rung, and of each of its replicates.

        Returns:
            Whether the pruner wants the trial stopped.
        """
        if len(self.study.config.search.objectives) > 1:
            return False
        if epoch not in asked.reported:
            if isinstance(self._optuna.pruner, ReplicateWilcoxon):
                asked.trial.set_user_attr(replicates_key(epoch), list(replicates))
            asked.trial.report(value, epoch)
            asked.reported.add(epoch)
        return asked.trial.should_prune()

    def tell(
        self,
        number: int,
        state: str,
        value: float | Sequence[float] | None,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Finish a trial as COMPLETE, or as PRUNED or FAIL.

        A pruned trial keeps its last report as value, as Optuna does; a diverged one has none.

        Args:
            number: of the trial.
            state: COMPLETE, PRUNED or FAIL.
            value: of a complete trial, one for each metric that is optimised.
            violations: of a complete trial, by constraint: how far it is from holding, 0 or less where it does.
        """
        frozen = self._trial(number)
        if frozen.state.is_finished():
            return
        if state != "COMPLETE":
            self._optuna.tell(number, None, STATES[state])
            return
        missing = {name: each for name, each in (violations or {}).items() if name not in frozen.constraints}
        if missing:
            # It asks the sampler, so that it is made where it is needed.
            trial = optuna.Trial(self._optuna, frozen._trial_id)
            for constraint, violation in missing.items():
                trial.set_constraint(constraint, violation)
        self._optuna.tell(number, value, TrialState.COMPLETE)

    def unfinished(self) -> list[int]:
        """Numbers of the trials that a dead process left running."""
        return [trial.number for trial in self._unfinished]

    def finish_unfinished(
        self,
        number: int,
        state: str,
        value: float | Sequence[float] | None,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Tell of an unfinished trial whose end is on record."""
        self._unfinished = [trial for trial in self._unfinished if trial.number != number]
        self.tell(number, state, value, violations)

    def _trial(self, number: int) -> FrozenTrial:
        # Not all trials for one: those of a database that wait are read anew each time.
        study_id = self._storage.get_study_id_from_name(self._name)
        return self._storage.get_trial(
            self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        )

    def _trials(self) -> list[FrozenTrial]:
        return self._optuna.get_trials(deepcopy=False)

    def _params(self, trial: optuna.Trial) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for dimension in self.study.space:
            if dimension.is_active(params):
                params[dimension.name] = suggest(trial, dimension)
        return params


def check_search(study: Study) -> None:
    """Makes the sampler and the pruner of a study, to see that Optuna takes their settings.

    Raises:
        UserError: it does not.
    """
    make_sampler(study, 0)
    StudySearch(study, InMemoryStorage())


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


def importances(params: pd.DataFrame, values: Sequence[float]) -> dict[str, float]:
    """How much each hyperparameter mattered for being among the best trials, by PED-ANOVA.

    The best are a tenth of the trials, but five at least, as Optuna advises.

    Args:
        params: a row a complete trial, a column a hyperparameter, NaN where it was not sampled.
        values: of the trials, higher is better.

    Returns:
        Shares with the sum 1 by hyperparameter, the largest first; all equal where none mattered.

    Reference:
        Watanabe et al., PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces,
        IJCAI 2023.
    """
    # Late: it imports much, and processes that train need none of it.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from pandas import notna

    study = optuna.create_study(direction="maximize")
    distributions = {name: plausible_distribution(params[name].dropna()) for name in params}
    for row, value in zip(params.to_dict("records"), values, strict=True):
        sampled = {name: each for name, each in row.items() if notna(each)}
        study.add_trial(
            optuna.create_trial(
                params=sampled,
                distributions={name: distributions[name] for name in sampled},
                value=float(value),
            )
        )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, min(0.5, 5 / len(params))))
    return get_param_importances(study, evaluator=evaluator)


def plausible_distribution(values: pd.Series) -> BaseDistribution:
    """The distribution that values may have come from: the trials do not tell the bounds of the search."""
    from pandas.api.types import is_numeric_dtype

    if not is_numeric_dtype(values):
        return CategoricalDistribution(sorted(set(values)))
    low, high = float(values.min()), float(values.max())
    return FloatDistribution(low, high, log=low > 0 and high > LOG_RATIO * low)
