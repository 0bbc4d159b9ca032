"""Whole sweeps in the process of the tests, without what takes seconds each: further processes, and figures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from lossfleet.runners.records import JOURNAL_FILE, Record
from lossfleet.runners.tracking.writer import sync
from lossfleet.sweeps.commands import cli
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.running.references import References, fit_references


class Ran(NamedTuple):
    """What was run: the plan of each sweep, and the note beside its figures."""

    plans: list[Plan]
    notes: list[str | None]


def sweep_here(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Ran:
    """Run the sweeps of these arguments in the working directory, references first."""
    ran = Ran([], [])

    class ReferencesHere(References):
        def __init__(self, plan: Plan, folder: Path, records: list[Record]) -> None:
            ran.plans.append(plan)
            fit_references(plan, folder)
            super().__init__(plan, folder, records)
            # All are fitted: there is no process to start.
            self._names = []

    monkeypatch.setattr("lossfleet.sweeps.running.sweep.References", ReferencesHere)
    monkeypatch.setattr(
        "lossfleet.sweeps.report.conclusion.draw_figures",
        lambda *tables, note=None, **others: ran.notes.append(note),
    )
    assert cli.main(["sweep", *arguments, "tracking.enabled=false", "fleet.processes=1"]) == 0
    return ran


def send(folder: Path, uri: str, experiment: str) -> None:
    """Send the one sweep of a folder to MLflow."""
    (file,) = folder.glob(f"studies/*/{JOURNAL_FILE}")
    sync(file.parent, uri, experiment)
