"""The samplers: Optuna's, made anew for each trial, so that a trial depends on its number and not on a state.

A killed sweep loses a sampler's state, and storing it would mean reading pickles back. Here nothing is stored:

- random, qmc: a trial is a function of the sweep's seed, the strategy and the trial's number;
- grid, and any other where there are no more points than trials: also of the trials that were asked for before it;
- tpe, cmaes, gp, nsga2: also of the trials that have finished and of those that are under way.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    QMCSampler,
    RandomSampler,
)
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.study import Study as OptunaStudy
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lossfleet.sweeps.planning.plan import Study, tries_points_once
from lossfleet.sweeps.planning.space import Dimension

# The seeds of published trials have the names that these had while mining was a part of the loss.
SEEDED_AS = {
    "mining.keep": "loss.keep",
    "mining.negatives_per_positive": "loss.negatives_per_positive",
}


class NumberedSampler(BaseSampler):
    """Gives each trial a sampler of its own, and each value that is sampled alone a seed of its own.

    So a trial that a process left with half of its values gets the other half as it would have had them.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._samplers: dict[int, BaseSampler] = {}

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The values that are sampled together."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Samples values together."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Samples one value."""
        sampler = make_sampler(self._study, trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        """Tells the sampler of a trial's begin."""
        self._of(trial).before_trial(study, trial)

    def after_trial(
        self, study: OptunaStudy, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tells the sampler of a trial's end."""
        self._of(trial).after_trial(study, trial, state, values)
        del self._samplers[trial.number]

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        """That of a trial under way."""
        if trial.number not in self._samplers:
            self._samplers[trial.number] = make_sampler(self._study, trial.number)
        return self._samplers[trial.number]


def make_sampler(study: Study, number: int, dimension: str = "") -> BaseSampler:
    """The Optuna sampler of one trial.

    Args:
        study: whose sampler, space and seed it takes.
        number: of the trial.
        dimension: the name of the value that is sampled alone; empty for values that are sampled together.
    """
    part = study.config.search.sampler
    seed = derived_seed(study, number, *SEEDED_AS.get(dimension, dimension).encode())
    kind = part.load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if tries_points_once(study) and not study.config.search.is_grid:
            return Grid(study, number, seed, {})
        if kind is RandomSampler:
            return Random(study, number, seed, part.arguments)
        for theirs, ours in ADAPTED.items():
            if issubclass(kind, theirs):
                with part.explained():
                    return ours(study, number, seed, part.arguments)
        return part.call(seed=seed)


def derived_seed(study: Study, *path: int) -> int:
    """A seed from the sweep's seed, the strategy and what else the path names."""
    strategy = zlib.crc32(study.strategy.encode())
    return int(np.random.SeedSequence((study.config.seed, strategy, *path)).generate_state(1)[0])


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension in Optuna's words."""
    if dimension.kind == "categorical":
        return CategoricalDistribution(dimension.choices)
    if dimension.kind == "int":
        low, high, step = int(dimension.low), int(dimension.high), int(dimension.step or 1)
        return IntDistribution(low, high, step=step, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, step=dimension.step, log=dimension.log)


class Random(RandomSampler):
    """Optuna's, whose samplers all draw from one generator that each seeds anew.

    A generator of its own for every value takes longer to make than a small model trains for an epoch.
    """

    _generator = LazyRandomState()

    def __init__(self, study: Study, number: int, seed: int, settings: Mapping[str, Any]) -> None:
        super().__init__(**settings)
        self._seed = seed

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Samples one value, the first of the seed."""
        self._rng = self._generator
        self._rng.rng.seed(self._seed)
        return super().sample_independent(study, trial, param_name, param_distribution)


class Grid(BruteForceSampler):
    """Every point once. Optuna's GridSampler knows no conditional spaces."""

    def __init__(self, study: Study, number: int, seed: int, settings: Mapping[str, Any]) -> None:
        super().__init__(seed=seed, **settings)

    def after_trial(
        self, study: OptunaStudy, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing: Optuna's would stop the study after the last point, which ask and tell do not allow."""


class Sobol(QMCSampler):
    """Point n of a scrambled Sobol sequence for trial n, over all dimensions, active or not.

    Optuna counts its points in the storage, where a process that is killed leaves gaps.
    """

    def __init__(self, study: Study, number: int, seed: int, settings: Mapping[str, Any]) -> None:
        super().__init__(seed=derived_seed(study), independent_sampler=RandomSampler(seed=seed), **settings)
        self._space = {each.name: distribution(each) for each in study.space}
        # Trials that were given their values take no point of the sequence.
        self._point = number - len(study.config.search.enqueue)

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All dimensions that have more than one value."""
        if self._point < 0:
            return {}
        return {name: each for name, each in self._space.items() if not each.single()}

    def _find_sample_id(self, study: OptunaStudy, search_space: dict[str, BaseDistribution]) -> int:
        return self._point


class ReplayedCmaEs(CmaEsSampler):
    """CMA-ES on the numbers that are active in every trial, its state made again from the finished trials.

    Optuna keeps the state in the storage as a pickle. Replaying a few hundred trials takes milliseconds.
    """

    def __init__(self, study: Study, number: int, seed: int, settings: Mapping[str, Any]) -> None:
        super().__init__(seed=seed, **settings)
        self._numbers = {
            each.name: distribution(each)
            for each in study.space
            if each.kind != "categorical" and not each.when
        }
        is_maximised = study.config.search.measures[0].sign > 0
        self._direction = StudyDirection.MAXIMIZE if is_maximised else StudyDirection.MINIMIZE

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The numbers that are active in every trial; CMA-ES has no use for one alone."""
        return self._numbers if len(self._numbers) > 1 else {}

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        transform = _SearchSpaceTransform(self._numbers, transform_0_1=True)
        optimizer = self._init_optimizer(transform, self._direction)
        sign = 1 if self._direction == StudyDirection.MINIMIZE else -1
        in_order = sorted(completed_trials, key=lambda trial: (trial.datetime_complete, trial.number))
        while True:
            solutions = self._get_solution_trials(in_order, optimizer.generation)[: optimizer.population_size]
            if len(solutions) < optimizer.population_size:
                return optimizer
            optimizer.tell(
                [(transform.transform(each.params), sign * cast(float, each.value)) for each in solutions]
            )

    def after_trial(
        self, study: OptunaStudy, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing: Optuna's warns of every constraint, which CMA-ES does not use."""


# What takes the place of samplers of Optuna's that keep a state or do not suit ask and tell.
ADAPTED: dict[type, Callable[[Study, int, int, Mapping[str, Any]], BaseSampler]] = {
    BruteForceSampler: Grid,
    QMCSampler: Sobol,
    CmaEsSampler: ReplayedCmaEs,
}
