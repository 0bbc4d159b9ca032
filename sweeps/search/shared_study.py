"""The Optuna study of one strategy in a database that several workers share."""

from __future__ import annotations

import random
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import TrialState

from lossfleet.runners.cluster.database import engine_options
from lossfleet.sweeps.planning.plan import Study, tries_points_once
from lossfleet.sweeps.planning.space import Value, grid_points
from lossfleet.sweeps.search.samplers import derived_seed
from lossfleet.sweeps.search.study import Asked, StudySearch

STUDY = "lossfleet.study"


def open_shared_storage(url: str) -> BaseStorage:
    """Optuna's storage in a database, its tables made where they are missing."""
    return get_storage(RDBStorage(url, engine_kwargs=engine_options(url)))


class SharedSearch(StudySearch):
    """A study whose trials wait from the beginning, so that their numbers are known before they are asked for.

    Who may ask for a trial is not decided here: `runners.cluster.work_queue` gives each number to one worker at a time.
    """

    def __init__(self, study: Study, storage: BaseStorage, sweep: str) -> None:
        super().__init__(study, storage, f"{sweep}/{study.strategy}")

    def prepare(self) -> None:
        """Store the study's definition for the workers, and add the trials that it does not have yet."""
        self._optuna.set_user_attr(STUDY, self.study.to_stored())
        points: list[dict[str, Value]] = [dict(point) for point in self.study.config.search.enqueue]
        if tries_points_once(self.study):
            # Two workers who sample at the same time would not see each other's points.
            points = grid_points(self.study.space)
            random.Random(derived_seed(self.study)).shuffle(points)
        for number in range(len(self._trials()), self.total):
            self._optuna.enqueue_trial(points[number] if number < len(points) else {})

    def ask_for(self, number: int) -> Asked:
        """The trial of this number, also one that a worker that is gone has left half done."""
        # A study caches its trials until the next tell; the sampler is to see what others have told since.
        self._optuna = optuna.load_study(
            study_name=self._name,
            storage=self._storage,
            sampler=self._optuna.sampler,
            pruner=self._optuna.pruner,
        )
        frozen = self._trial(number)
        self._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
        trial = optuna.Trial(self._optuna, frozen._trial_id)
        return Asked(number, self._params(trial), trial, set(frozen.intermediate_values))


def stored_study(storage: BaseStorage, sweep: str, strategy: str) -> Study:
    """The definition of a study that `SharedSearch.prepare` has stored."""
    stored: dict[str, Any] = optuna.load_study(study_name=f"{sweep}/{strategy}", storage=storage).user_attrs[
        STUDY
    ]
    return Study.from_stored(stored)
