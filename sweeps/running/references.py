"""The process that fits the references of a sweep beside its training."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lossfleet.conf.parts import Part
from lossfleet.runners.data.splits import Split
from lossfleet.runners.environment import memory
from lossfleet.runners.records import JOURNAL_FILE, Journal, Record, ReferenceRecord
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.running.interrupts import uninterrupted
from lossfleet.sweeps.running.processes import at_work_in, start_with

# Training goes first, but a process that waits for its end would make the sweep longer; and no library starts threads
# on the cores that train.
NICENESS = 5
# Of images as numbers scikit-learn's own take up to so many bytes for each of a training part (gradient boosting, as
# measured), and may take this share of the memory.
BYTES_OF_A_NUMBER, SHARE_OF_MEMORY = 17, 0.25
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class References:
    """The references that a journal does not have yet, and the process that fits them.

    Used as a context: at its end the process is ended, whether or not it is done.
    """

    def __init__(self, plan: Plan, folder: Path, records: Sequence[Record]) -> None:
        self._names = [each.name for each in missing_references(plan, records)]
        self._plan, self._folder = plan, folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> References:
        if self._names:
            with uninterrupted():
                self._process = start_with(
                    "lossfleet.sweeps.running.references",
                    self._plan,
                    self._folder,
                    environment={**os.environ, **ONE_THREAD},
                )
        return self

    def wait(self) -> None:
        """Wait until all are fitted; those that could not be are named on standard error."""
        if self._process is None:
            return
        if self._process.poll() is None:
            print("training is done, the references are still being fitted", file=sys.stderr, flush=True)
        if code := self._process.wait():
            print(
                f"the process that fits the references {', '.join(self._names)} ended with code {code}; "
                "those that it had not finished are left out",
                file=sys.stderr,
            )

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def missing_references(plan: Plan, records: Sequence[Record]) -> list[Part]:
    """The references of a plan that have no record yet of all its final splits."""
    known = [
        record.part
        for record in records
        if isinstance(record, ReferenceRecord)
        and [(each.seed, each.split) for each in record.replicates] == plan.budget.final_pairs()
    ]
    return [each for each in plan.references if each.to_dict() not in known]


def fit_references(plan: Plan, folder: Path) -> None:
    """Fit the references that the journal in the folder does not have yet, one after the other."""
    # Late: scikit-learn takes a second to import.
    from lossfleet.runners.training.references import evaluate_reference, takes_weights
    from lossfleet.runners.training.replicate import ReplicateFactory

    journal = Journal(folder / JOURNAL_FILE)
    factory = ReplicateFactory.of(plan.studies[0].config)
    if (reason := too_large(factory.split(*plan.budget.final_pairs()[0]))) is not None:
        print(f"the references are left out: {reason}", file=sys.stderr, flush=True)
        return
    is_weighed = factory.dataset.weights is not None
    for reference in missing_references(plan, journal.read()):
        if is_weighed and not takes_weights(reference):
            print(
                f"the reference {reference.name} is fitted on rows that count alike: its fit takes no sample_weight",
                file=sys.stderr,
                flush=True,
            )
        record = evaluate_reference(reference, factory, plan.budget.final_pairs(), plan.search, plan.decision)
        journal.append(record)
        if record.reason is not None:
            print(
                f"the reference {reference.name} is left out: it {record.reason}", file=sys.stderr, flush=True
            )
    journal.close()


def too_large(split: Split) -> str | None:
    """Why the images of a split are too many for references, which take numbers, not bytes; None where they are not."""
    if split.image_shape is None:
        return None
    rows, features = split.train_features.shape
    needed, there_is = BYTES_OF_A_NUMBER * rows * features, SHARE_OF_MEMORY * memory()
    if needed <= there_is:
        return None
    return (
        f"{rows:,} images as numbers would take up to {needed / 1e9:.1f} GB, and a quarter of the memory is "
        f"{there_is / 1e9:.1f} GB; data.size or data.limit has less"
    )


def main() -> None:
    """What the process does; it ends with its parent, however that ends."""
    plan, folder = pickle.load(sys.stdin.buffer)
    os.nice(NICENESS)
    with at_work_in(folder):
        fit_references(plan, folder)
