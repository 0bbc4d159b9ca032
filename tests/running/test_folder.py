"""The folder of a sweep: one process at a time, one configuration, moved aside for a fresh start."""

from __future__ import annotations

import re

import pytest
from whole_sweeps import (
    TINY,
    TINY_SIZE,
    check_complete,
    mlflow_runs,
    results,
    run,
    start,
    succeed,
)

from lossfleet.conf.errors import UserError
from lossfleet.runners.records import ContinuationRecord, SweepRecord
from lossfleet.runners.tracking.writer import writer_locked
from lossfleet.sweeps.running import folder as folder_module
from lossfleet.sweeps.running.folder import continuation, differences, locked, set_aside


def plan(**studies):
    return {"sweep": "one", "studies": studies}


@pytest.mark.parametrize(
    ("before", "now", "changed"),
    [
        (plan(ce={"seed": 0}), plan(ce={"seed": 0}), []),
        (plan(ce={"seed": 0}), plan(ce={"seed": 1}), ["seed: 0 -> 1"]),
        (plan(ce={"seed": 0}), plan(ce={}), ["seed: 0 -> null"]),
        (
            plan(ce={"data": {"path": "a", "test_path": "b"}}),
            plan(ce={"data": {"path": "c", "test_path": "d"}}),
            [],
        ),
        (
            plan(ce={"data": {"name": "wine"}, "seed": 0}, ohem={"data": {"name": "wine"}, "seed": 0}),
            plan(ce={"data": {"name": "digits"}, "seed": 2}, ohem={"data": {"name": "digits"}, "seed": 0}),
            ["data.name: 'wine' -> 'digits'", "seed: 0 -> 2 for ce"],
        ),
        (plan(ce={"seed": 0}, ohem={"seed": 0}), plan(ce={"seed": 0}), ["strategies: ce,ohem -> ce"]),
        (plan(ce={"evaluation": {"rope": 0.01}}), plan(ce={"evaluation": {"rope": 0.02}}), []),
        (
            plan(ce={"budget": {"trials": 3, "epochs": 2}, "fleet": {"slots": 1}, "tracking": {"uri": None}}),
            plan(ce={"budget": {"trials": 4, "epochs": 2}, "fleet": {"slots": 2}, "tracking": {"uri": "a"}}),
            [],
        ),
    ],
)
def test_differences_are_named_once_and_lengths_may_differ(before, now, changed):
    assert differences(before, now) == changed


class Planned:
    """A plan of which nothing but its settings is asked."""

    sweep = "one"

    def __init__(self, **settings):
        self.settings = settings

    def to_dict(self):
        return plan(ce=self.settings, ohem=self.settings)


def test_a_run_that_continues_a_sweep_otherwise_says_and_records_how(monkeypatch, capsys):
    before, now = {"python": "3.11", "git_commit": "c0ffee"}, {"python": "3.11", "git_commit": "decade"}
    short, long = Planned(budget={"trials": 2}, seed=0), Planned(budget={"trials": 3}, seed=0)
    first = SweepRecord("one", "wine", short.to_dict(), before, 1.0)
    monkeypatch.setattr(folder_module, "environment", lambda: before)
    assert continuation([first], short) is None
    assert capsys.readouterr().err == ""
    second = continuation([first], long)
    assert second.changes == ["budget.trials: 2 -> 3"]
    assert (second.config, second.environment) == (long.to_dict(), before)
    assert capsys.readouterr().err == "one is continued with budget.trials: 2 -> 3\n"
    # It is the run before that counts, not the first one.
    assert continuation([first, second], long) is None
    monkeypatch.setattr(folder_module, "environment", lambda: now)
    third = continuation([first, second], long)
    assert third == ContinuationRecord(
        long.to_dict(), now, ["git_commit: 'c0ffee' -> 'decade'"], third.started
    )
    said = capsys.readouterr().err
    assert said.startswith(
        "lossfleet: warning: one is continued in another environment (git_commit: 'c0ffee' -> "
    )
    assert said.count("\n") == 1


def test_a_folder_is_one_process_s(workdir):
    folder = workdir / "studies" / "one"
    with locked(folder), pytest.raises(UserError, match="the sweep one is running"), locked(folder):
        pass
    with locked(folder):
        pass


def test_a_folder_is_moved_to_the_first_free_name(workdir, capsys):
    folder = workdir / "studies" / "one"
    set_aside(folder)
    assert not folder.exists()
    for number in (1, 2):
        folder.mkdir(parents=True)
        (folder / "records.jsonl").write_text(str(number))
        set_aside(folder)
        assert not folder.exists()
        assert (workdir / "studies" / f"one.{number}" / "records.jsonl").read_text() == str(number)
    assert f"{folder} is kept as {folder}.2" in capsys.readouterr().err


@pytest.mark.parametrize("lock", [locked, writer_locked])
def test_a_folder_that_is_in_use_is_not_moved(workdir, lock):
    folder = workdir / "studies" / "one"
    folder.mkdir(parents=True)
    with lock(folder), pytest.raises(UserError, match="another process"):
        set_aside(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_fresh_starts_anew_and_mlflow_tells_the_two_sweeps_apart(tmp_path):
    succeed(tmp_path, "sweep", *TINY)
    before = results(tmp_path)
    changed = run(tmp_path, "sweep", *TINY, "seed=1")
    assert changed.returncode == 2
    assert "was started with another configuration (seed: 0 -> 1)" in changed.stderr
    assert results(tmp_path) == before
    succeed(tmp_path, "sweep", *TINY, "seed=1", "--fresh")
    assert sorted(path.name for path in (tmp_path / "studies").iterdir()) == ["tiny", "tiny.1"]
    runs = mlflow_runs(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert len(runs) == 2 * TINY_SIZE.runs
    assert len({run.data.tags["lossfleet.sweep"] for run in runs}) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    for printed in succeed(tmp_path, "sync").splitlines():
        assert re.fullmatch(r"tiny(\.1)?: nothing to send", printed)
    assert len(mlflow_runs(f"sqlite:///{tmp_path / 'mlflow.db'}")) == len(runs)


def test_two_sweeps_at_once_in_one_directory_are_both_right(tmp_path):
    names = ("left", "right")
    sweeps = [start(tmp_path, "sweep", *TINY, f"name={name}") for name in names]
    for process in sweeps:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    for name in names:
        check_complete(tmp_path, TINY_SIZE, sweep=name)
    assert len(mlflow_runs(f"sqlite:///{tmp_path / 'mlflow.db'}")) == 2 * TINY_SIZE.runs
    assert results(tmp_path, "left") == results(tmp_path, "right")
