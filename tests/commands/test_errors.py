"""Trials that raise: trained once more, then failed with their reason, while the sweep goes on."""

from __future__ import annotations

from collections import Counter

import pytest
from mlflow_sweeps import mirror, read_runs
from whole_sweeps import TINY, finished, journal

from lossfleet.runners.records import ReplicateRecord, TrialRecord
from lossfleet.runners.training.native.fleet import NativeFleet
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.commands import cli

pytestmark = pytest.mark.usefixtures("without_figures")

ARGUMENTS = ["sweep", *TINY, "tracking.enabled=false", "fleet.processes=1"]


class Fault:
    """Stands in a method's place and raises at the calls that are wanted."""

    def __init__(self, monkeypatch, owner, name, wanted):
        self.original = getattr(owner, name)
        self.wanted = wanted
        self.calls = self.faults = 0
        fault = self
        monkeypatch.setattr(owner, name, lambda *args, **options: fault(*args, **options))

    def __call__(self, *args, **options):
        self.calls += 1
        if self.wanted(self.calls, *args):
            self.faults += 1
            raise MemoryError("there is no more memory")
        return self.original(*args, **options)


def trials(folder, stage="search"):
    return [r for r in journal(folder).read() if isinstance(r, TrialRecord) and r.stage == stage]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of the sweep without any fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(ARGUMENTS) == 0
    return finished(folder)


@pytest.mark.parametrize(
    ("owner", "method"),
    [(ReplicateFactory, "replicate"), (NativeFleet, "train_epoch"), (NativeFleet, "__init__")],
)
def test_what_raises_once_is_trained_once_more_with_the_same_result(
    owner, method, undisturbed, workdir, monkeypatch
):
    call = {"replicate": 7, "train_epoch": 3, "__init__": 1}[method]
    fault = Fault(monkeypatch, owner, method, lambda calls, *_: calls == call)
    assert cli.main(ARGUMENTS) == 0
    assert fault.faults == 1
    assert finished(workdir) == undisturbed


def test_a_trial_that_always_raises_fails_and_the_sweep_goes_on(
    undisturbed, workdir, monkeypatch, capsys, uri
):
    def is_bad(calls, factory, config):
        return config.strategy == "focal" and config.loss["gamma"] > 2.5 and config.budget.epochs == 4

    fault = Fault(monkeypatch, ReplicateFactory, "replicate", is_bad)
    assert cli.main(ARGUMENTS) == 1
    searched = trials(workdir)
    bad = [r for r in searched if r.params.get("loss.gamma", 0) > 2.5]
    assert 0 < len(bad) < 5
    assert fault.faults == 2 * len(bad)
    for record in bad:
        assert (record.state, record.value) == ("FAIL", None)
        assert record.reason == "raised MemoryError: there is no more memory"
        assert record.error.startswith("Traceback")
    good = {(r.strategy, r.stage, r.trial) for r in searched if r not in bad}
    for key, value in finished(workdir).items():
        if key[:3] in good:
            assert value == undisturbed[key]
    assert {r.state for r in trials(workdir, "final")} == {"COMPLETE"}
    assert f"{len(bad)} trials of focal ended with an error, the first because it raised MemoryError" in (
        capsys.readouterr().err
    )

    mirror(workdir / "studies" / "tiny", uri)
    tags = [run.data.tags for run in read_runs(uri) if "error" in run.data.tags]
    assert len(tags) == len(bad)
    assert {(each["state"], each["reason"]) for each in tags} == {("FAIL", bad[0].reason)}

    # Run again, what has failed stays failed, and the exit code says so again.
    calls = fault.calls
    assert cli.main(ARGUMENTS) == 1
    assert fault.calls == calls


def test_a_fleet_that_raises_twice_fails_its_trials_and_no_other(workdir, monkeypatch, undisturbed):
    Fault(monkeypatch, NativeFleet, "train_epoch", lambda calls, *_: calls in (2, 4))
    assert cli.main(ARGUMENTS) == 1
    records = journal(workdir).read()
    states = Counter(r.state for r in records if isinstance(r, TrialRecord) and r.stage == "search")
    assert states["FAIL"] == 2, "two trials of one strategy were in the slots of its fleet"
    assert states["COMPLETE"] == 8
    replicates = [r for r in records if isinstance(r, ReplicateRecord) and r.state == "FAIL"]
    assert len(replicates) == 4
    for key, value in finished(workdir).items():
        if len(key) == 4 and key[1] == "search":
            assert value == undisturbed[key]


def test_a_sweep_in_which_everything_raises_ends_and_says_so(workdir, monkeypatch, capsys):
    Fault(monkeypatch, NativeFleet, "train_epoch", lambda *_: True)
    assert cli.main(ARGUMENTS) == 1
    errors = capsys.readouterr().err
    assert "lossfleet: error: no trial was completed: 10 failed, the first because it raised" in errors
    assert not trials(workdir, "final")
