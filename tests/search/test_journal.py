"""Optuna's storage of a sweep beside Optuna's own."""

from __future__ import annotations

import optuna
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from lossfleet.sweeps.search.journal import JournalFile, SearchStorage

# What is done one after the other; another process has the file open and does what is in capitals.
STEPS = ("ask", "wait", "wait", "ask", "WAIT", "ask", "ASK", "ask", "WAIT", "wait", "ask", "ASK", "ask")


def test_trials_that_wait_are_found_as_by_optunas_own(tmp_path):
    path = str(tmp_path / "journal")
    studies = {
        is_other: optuna.create_study(
            study_name="focal", storage=SearchStorage(JournalFile(path)), load_if_exists=True
        )
        for is_other in (False, True)
    }
    own = JournalStorage(JournalFile(path))
    asked = []
    for number, step in enumerate(STEPS):
        study = studies[step.isupper()]
        if step.lower() == "wait":
            study.enqueue_trial({"gamma": float(number)})
        else:
            asked.append(study.ask().suggest_float("gamma", 0, 1e9))
        for each in studies.values():
            storage, study_id = each._storage, each._study_id
            for states in ((TrialState.WAITING,), (TrialState.RUNNING,), None):
                for deepcopy in (False, True):
                    found = storage.get_all_trials(study_id, deepcopy=deepcopy, states=states)
                    assert found == own.get_all_trials(study_id, states=states), (step, states)
    # Those that waited come first, in their order; the others were drawn.
    assert [value for value in asked if value < 100] == [1, 2, 4, 8, 9]
