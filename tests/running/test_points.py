"""Trials that a search asks for twice."""

from __future__ import annotations

import pytest
from whole_sweeps import TINY, journal

from lossfleet.runners.records import ReplicateRecord, TrialRecord
from lossfleet.sweeps.commands import cli

pytestmark = pytest.mark.usefixtures("without_figures")

# More points than trials, so that nothing but the luck of the draw repeats them.
SPACE = ("strategy=ce", "optimizer.lr=1e-3,3e-3,1e-2,3e-2", "optimizer.weight_decay=1e-4,1e-3,1e-2,1e-1")


def test_a_trial_whose_values_are_there_already_takes_their_result(workdir, capsys):
    alone = ("search.concurrent_trials=1", "budget.trials=14", "tracking.enabled=false", "fleet.processes=1")
    assert cli.main(["sweep", *TINY, *SPACE, *alone]) == 0
    told = capsys.readouterr().err
    records = journal(workdir, "tiny").read()
    trials = [each for each in records if isinstance(each, TrialRecord) and each.stage == "search"]
    first: dict[tuple, TrialRecord] = {}
    repeated = []
    for trial in trials:
        same = first.setdefault(tuple(sorted(trial.params.items())), trial)
        if same is not trial:
            repeated.append(trial)
            assert (trial.state, trial.values) == ("COMPLETE", same.values)
            assert trial.reason == f"has the values of trial {same.trial}, whose result it takes"
    assert len(trials) == 14
    assert 14 > len(first) >= 2
    trained = {each.trial for each in records if isinstance(each, ReplicateRecord) and each.stage == "search"}
    assert trained == {each.trial for each in first.values()}
    assert f"{len(repeated)} of 14 trials of ce had values that were there already" in told
    # The same again neither trains nor asks.
    assert cli.main(["sweep", *TINY, *SPACE, *alone]) == 0
    assert [each for each in journal(workdir, "tiny").read() if isinstance(each, TrialRecord)] == [
        each for each in records if isinstance(each, TrialRecord)
    ]
