"""The main job: search every strategy, evaluate the best trials on fresh splits, say who wins."""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from conf.errors import UserError
from conf.rules import show
from runners.environment import environment
from runners.records import EndRecord, Journal, Record, SweepRecord, TrialRecord
from runners.replicate import Workshop
from runners.tracking import start_writer
from sweeps.plan import Plan, total_trials
from sweeps.progress import SweepProgress

STUDIES = Path("studies")
# What may change when a sweep is continued: it decides how long or where, not with which results.
FREE_PARTS = ("tracking", "fleet")


def run_sweep(plan: Plan) -> None:
    """Run a sweep, or continue it to its defined total, and print its table and sentence.

    Raises:
        UserError: the data cannot be split as asked, another process runs this sweep, or its name stands for
            another configuration.
    """
    workshop = Workshop(plan.data)
    workshop.split(plan.budget.search_seeds[0], 0)
    folder = STUDIES / plan.sweep
    with locked(folder):
        store_configuration(folder / "config.yaml", plan)
        journal = Journal(folder / "records.jsonl")
        records = journal.read()
        if not any(isinstance(record, SweepRecord) for record in records):
            dataset = workshop.dataset.describe()
            journal.append(
                SweepRecord(plan.sweep, plan.data.name, plan.to_dict(), environment(), time.time(), dataset)
            )
        writer = None
        if plan.tracking.enabled:
            writer = start_writer(folder, plan.tracking.uri, plan.tracking.experiment or plan.data.name)
        end = EndRecord("KILLED", time.time(), "", "")
        try:
            train(plan, workshop, folder, records)
            end = conclude(journal.read())
        finally:
            journal.append(end)
            if writer is not None:
                writer.finish()


def train(plan: Plan, workshop: Workshop, folder: Path, records: list[Record]) -> None:
    """Train what the journal does not have yet: all trials, then each strategy's final evaluation."""
    from sweeps.engines.processes import process_count, train_in_processes, train_studies

    # This process holds the folder alone, so the lock is a killed one's: Optuna would wait 30 s for it.
    (folder / "optuna.journal.lock").unlink(missing_ok=True)
    total = sum(total_trials(study) + 1 for study in plan.studies)
    done = sum(isinstance(record, TrialRecord) for record in records)
    with SweepProgress(total, done) as progress:
        count = process_count(plan, workshop)
        if count == 1:
            train_studies(plan, workshop, folder, progress.finished)
        else:
            train_in_processes(plan, folder, count, progress.finished)


def conclude(records: list[Record]) -> EndRecord:
    """Compare the final evaluations and print the table, the sentence and a summary of what failed.

    Raises:
        UserError: no trial of any strategy was completed.
    """
    from sweeps.compare import frame_from_records, summary
    from sweeps.tables import markdown_table, print_table

    trials = [record for record in records if isinstance(record, TrialRecord)]
    failed = [record for record in trials if record.state == "FAIL"]
    if failed and not any(record.stage == "final" for record in trials):
        raise UserError(
            what=f"no trial was completed: {len(failed)} failed, the first because it {failed[0].reason}",
            expected="at least one complete trial",
            mend="search smaller learning rates, for example 'optimizer.lr=tag(log,interval(1e-4,1e-2))'",
        )
    for strategy in dict.fromkeys(record.strategy for record in failed):
        reasons = [record.reason for record in failed if record.strategy == strategy]
        print(
            f"{len(reasons)} trials of {strategy} failed, the first because it {reasons[0]}", file=sys.stderr
        )
    comparison = summary(frame_from_records(records))
    print_table(comparison)
    return EndRecord("FINISHED", time.time(), markdown_table(comparison), comparison.sentence)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a sweep for this process; the lock falls with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                what=f"the sweep {folder.name} is running in another process",
                expected="one process a sweep",
                mend="wait for it to end, or write name=... for a sweep of its own",
            ) from None
        yield


def store_configuration(file: Path, plan: Plan) -> None:
    """Write the configuration of a sweep beside its records, or refuse it where they are of another one.

    Raises:
        UserError: the stored configuration differs in more than the number of trials, tracking and fleet.
    """
    wanted = plan.to_dict()
    if file.exists():
        before, now = flatten(yaml.safe_load(file.read_text())), flatten(wanted)
        for key in sorted(before.keys() | now.keys()):
            if is_free(key) or before.get(key) == now.get(key):
                continue
            raise UserError(
                what=f"{key} is {show(now.get(key))}, but the sweep {plan.sweep} was started "
                f"with {show(before.get(key))}",
                expected="the configuration that the sweep has",
                mend="write another name=..., or leave the name out",
            )
    file.write_text(yaml.safe_dump(wanted, sort_keys=False))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def is_free(key: str) -> bool:
    """Whether a key such as studies.ce.budget.trials may change between runs of a sweep."""
    return key.endswith(".budget.trials") or any(part in FREE_PARTS for part in key.split(".")[2:3])
