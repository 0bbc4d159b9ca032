"""The folder of a sweep, studies/<sweep>: one process at a time, one configuration, moved aside for a fresh start."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from lossfleet.conf.datasets import PATHS
from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import show
from lossfleet.runners import locks
from lossfleet.runners.environment import environment
from lossfleet.runners.records import ContinuationRecord, Record, SweepRecord, flatten
from lossfleet.runners.tracking.writer import writer_locked
from lossfleet.sweeps.planning.plan import Plan

STUDIES = Path("studies")
# What may change when a sweep is continued: it decides how long or where, not with which results.
FREE_PARTS = ("tracking", "fleet", "engine", "references", "keep", "published")
LENGTHS = ("budget.trials", "budget.seconds", "budget.patience")
# A table is known by the digest of its content; it may be moved.
PLACES = tuple(f"data.{name}" for name in PATHS)
# Of the comparison alone.
COMPARED = ("evaluation.rope",)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a sweep for this process; the lock falls with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(folder / "lock", wait=False))
        except BlockingIOError:
            raise UserError(
                what=f"the sweep {folder.name} is running in another process",
                expected="one process a sweep",
                hint="wait for it to end, or write name=... for a sweep of its own",
            ) from None
        yield


def set_aside(folder: Path) -> None:
    """Move the folder of an earlier sweep to the first free of studies/<sweep>.1, .2 and so on.

    Raises:
        UserError: a process still works in it.
    """
    if not folder.exists():
        return
    with locked(folder), writer_locked(folder):
        kept = next(path for number in count(1) if not (path := Path(f"{folder}.{number}")).exists())
        folder.rename(kept)
    print(f"{folder} is kept as {kept}", file=sys.stderr)


def store_configuration(file: Path, plan: Plan) -> None:
    """Write the configuration of a sweep beside its records, or refuse it where they are of another one.

    Raises:
        UserError: the stored configuration differs in more than the length of the search, tracking and fleet.
    """
    wanted = plan.to_dict()
    if file.exists():
        changed = differences(yaml.safe_load(file.read_text()), wanted)
        if changed:
            raise UserError(
                what=f"the sweep {plan.sweep} was started with another configuration ({', '.join(changed)})",
                expected="the configuration that the sweep has",
                hint="write another name=..., or start it anew with --fresh, which keeps the old one aside",
            )
    # Whole or not at all: the process may be killed here.
    new = file.with_suffix(".new")
    with new.open("w") as stream:
        yaml.safe_dump(wanted, stream, sort_keys=False)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def continuation(records: Iterable[Record], plan: Plan) -> ContinuationRecord | None:
    """What a run that continues a sweep does otherwise than the run before it; said on stderr.

    Args:
        records: of the sweep, with its SweepRecord.
        plan: of this run.

    Returns:
        The record to append, or None where plan and environment are the same.
    """
    before = [record for record in records if isinstance(record, SweepRecord | ContinuationRecord)][-1]
    config, here = plan.to_dict(), environment()
    planned = differences(before.config, config, with_free=True)
    around = [
        f"{name}: {show(before.environment.get(name))} -> {show(here.get(name))}"
        for name in dict.fromkeys((*before.environment, *here))
        if before.environment.get(name) != here.get(name)
    ]
    if planned:
        print(f"{plan.sweep} is continued with {', '.join(planned)}", file=sys.stderr)
    if around:
        print(
            f"lossfleet: warning: {plan.sweep} is continued in another environment ({', '.join(around)}); "
            "its trials from before are kept, and may not be what they would be here",
            file=sys.stderr,
        )
    if not planned and not around:
        return None
    return ContinuationRecord(config, here, [*planned, *around], time.time())


def differences(before: Mapping[str, Any], now: Mapping[str, Any], *, with_free: bool = False) -> list[str]:
    """What differs between two plans as dicts, as 'key: before -> now'.

    A key that differs in the same way for several strategies is named once.

    Args:
        before: what `Plan.to_dict` gave.
        now: likewise.
        with_free: whether to name what may differ too, see `is_free`.
    """
    strategies = [list(plan["studies"]) for plan in (before, now)]
    found = []
    if strategies[0] != strategies[1]:
        found.append(f"strategies: {','.join(strategies[0])} -> {','.join(strategies[1])}")
    common = [name for name in strategies[0] if name in strategies[1]]
    changes: dict[str, list[str]] = {}
    for name in common:
        old, new = flatten(before["studies"][name]), flatten(now["studies"][name])
        for key in sorted(old.keys() | new.keys()):
            if (with_free or not is_free(key)) and old.get(key) != new.get(key):
                changes.setdefault(f"{key}: {show(old.get(key))} -> {show(new.get(key))}", []).append(name)
    for change, names in changes.items():
        found.append(change if names == common else f"{change} for {','.join(names)}")
    return found


def is_free(key: str) -> bool:
    """Whether a setting such as budget.trials may change between runs of a sweep."""
    return key in (*LENGTHS, *PLACES, *COMPARED) or key.split(".")[0] in FREE_PARTS
