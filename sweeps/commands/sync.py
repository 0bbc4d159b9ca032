"""Sending to MLflow what the journals of sweeps have and MLflow lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.records import JOURNAL_FILE, Journal, SweepRecord
from lossfleet.runners.tracking.store import shown_uri, tracking_uri
from lossfleet.runners.tracking.writer import sync
from lossfleet.sweeps.running.folder import STUDIES


def sync_sweeps(names: Sequence[str], uri: str | None) -> None:
    """Send the runs that MLflow lacks, sweep by sweep, and say how many they were.

    Args:
        names: the folders under studies/; none for all of them.
        uri: the tracking URI; None for that of each sweep's configuration, else as `tracking_uri` says.

    Raises:
        UserError: no such sweep, or it is still running.
        Failure: MLflow does not take the runs.
    """
    folders = [sweep_folder(name) for name in names] or list(known_sweeps().values())
    if not folders:
        raise UserError(
            what=f"there are no sweeps under {STUDIES}/",
            expected="sweeps that were run in this directory",
            hint="run lossfleet sweep first, or go to its directory",
        )
    for folder in folders:
        study = first_study(folder)
        place = tracking_uri(uri or study["tracking"]["uri"])
        experiment = study["tracking"]["experiment"] or data_label(folder)
        sent = sync(folder, place, experiment)
        print(
            f"{folder.name}: {sent} runs sent to {shown_uri(place)}"
            if sent
            else f"{folder.name}: nothing to send"
        )


def sweep_folder(name: str) -> Path:
    """The folder of a sweep.

    Raises:
        UserError: there is no sweep of this name.
    """
    known = known_sweeps()
    if name not in known:
        raise UserError(
            what=f"there is no sweep {name} under {STUDIES}/",
            expected=f"one of {', '.join(known)}" if known else "sweeps that were run in this directory",
            hint=suggest(name, known) if known else "run lossfleet sweep first, or go to its directory",
        )
    return known[name]


def known_sweeps() -> dict[str, Path]:
    """The folders of all sweeps by name."""
    return {path.parent.name: path.parent for path in sorted(STUDIES.glob(f"*/{JOURNAL_FILE}"))}


def first_study(folder: Path) -> dict[str, Any]:
    """The configuration of a sweep's first study; data and tracking are the same for all."""
    configuration = yaml.safe_load((folder / "config.yaml").read_text())
    return next(iter(configuration["studies"].values()))


def data_label(folder: Path) -> str:
    """What a sweep's data is filed under, as its journal has it: the data itself may be out of reach here."""
    records = Journal(folder / JOURNAL_FILE).read()
    labels = [record.data for record in records if isinstance(record, SweepRecord)]
    # Without a first record there is nothing to send.
    return labels[0] if labels else folder.name
