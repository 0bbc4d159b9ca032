"""Whole sweeps in the process of the tests, without what takes seconds each: further processes, and figures."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pytest

from lossfleet.runners.records import JOURNAL_FILE, Record
from lossfleet.runners.tracking.writer import sync
from lossfleet.sweeps.commands import cli
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.running.references import fit_references


class ReferencesHere:
    """In the place of `References`: fits them before the sweep trains."""

    def __init__(self, plan: Plan, folder: Path, records: list[Record]) -> None:
        if plan.references:
            fit_references(plan, folder)

    def __enter__(self) -> ReferencesHere:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def wait(self) -> None:
        pass


def sweep_here(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str | None]:
    """Run the sweeps of these arguments in the working directory; returns the note of the figures of each."""
    notes: list[str | None] = []
    monkeypatch.setattr("lossfleet.sweeps.running.sweep.References", ReferencesHere)
    monkeypatch.setattr(
        "lossfleet.sweeps.report.conclusion.draw_figures",
        lambda *tables, note=None, **others: notes.append(note),
    )
    assert cli.main(["sweep", *arguments, "tracking.enabled=false", "fleet.processes=1"]) == 0
    return notes


def send(folder: Path, uri: str, experiment: str) -> None:
    """Send the one sweep of a folder to MLflow."""
    (file,) = folder.glob(f"studies/*/{JOURNAL_FILE}")
    sync(file.parent, uri, experiment)
