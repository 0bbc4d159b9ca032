"""Publishing a sweep for workers again: more trials, another commit; nothing is trained here."""

from __future__ import annotations

from shared_sweeps import SMALL

from lossfleet.runners.cluster.sidecar import Exporter, SidecarSettings
from lossfleet.runners.cluster.work_queue import WorkQueue
from lossfleet.runners.records import ContinuationRecord, SweepRecord
from lossfleet.sweeps.cluster import shared
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.running import folder


def publish(storage: str, *arguments: str) -> None:
    plans = []
    shared_by_workers = ("engine=workers", f"engine.storage={storage}", "tracking.enabled=false")
    run_sweeper([*SMALL, *shared_by_workers, *arguments], plans.append)
    shared.publish(plans[0])


def test_a_sweep_that_is_published_again_otherwise_keeps_both(workdir, monkeypatch, capsys):
    storage = f"sqlite:///{workdir / 'shared.db'}"
    for module in (shared, folder):
        monkeypatch.setattr(module, "environment", lambda: {"git_commit": "c0ffee"})
    publish(storage)
    publish(storage)
    records = WorkQueue(storage, "small").records
    assert [type(record) for record in records.runs()] == [SweepRecord]
    monkeypatch.setattr(folder, "environment", lambda: {"git_commit": "decade"})
    capsys.readouterr()
    publish(storage, "budget.trials=5")
    first, second = records.runs()
    assert isinstance(second, ContinuationRecord)
    assert (first.environment, second.environment) == ({"git_commit": "c0ffee"}, {"git_commit": "decade"})
    assert second.changes == ["budget.trials: 4 -> 5", "git_commit: 'c0ffee' -> 'decade'"]
    assert "small is continued with budget.trials: 4 -> 5" in capsys.readouterr().err
    assert records.sweeps() == ["small"]
    assert records.read() == [first, second]
    # A worker reads the plan with the trials that were added, and its sidecar exports both runs.
    assert shared.stored_plan(WorkQueue(storage, "small"), storage).budget.trials == 5
    settings = SidecarSettings(storage, "small", "one", 1.0, "", "wine")
    tree = Exporter(settings, "wine", WorkQueue(storage, "small"))._new_tree()
    assert (tree.sweep, tree.continuations) == (first, [second])
