"""The end of a sweep: the models that it keeps, trained in this process, or beside it while it draws its figures."""

from __future__ import annotations

import importlib
import os
import pickle
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lossfleet.conf.errors import Failure, UserError
from lossfleet.runners.children import start_child
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.records import JOURNAL_FILE, Journal, Record
from lossfleet.runners.tracking.models.registry import registered_name
from lossfleet.sweeps.keeping.keep import MODELS, Order, chosen_strategies, is_kept, keep_strategies
from lossfleet.sweeps.planning.plan import Plan


class Keeper:
    """Keeps the models of one sweep; whatever goes wrong is told, and the sweep has its result all the same."""

    def __init__(self, plan: Plan, dataset: Dataset, folder: Path) -> None:
        self._plan = plan
        self._dataset = dataset
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._order: Order | None = None
        self._is_done = False
        self._best = ""

    def start_ahead(self) -> None:
        """Start a process that imports and reads the data ahead, where a core is free before the sweep's end."""
        if self._plan.keep.name != "none":
            self._process = start_child("lossfleet.sweeps.keeping.keeper")
            self._send((self._plan, self._folder))

    def order(self, best: str, verdict: str, records: Sequence[Record]) -> None:
        """Say which strategy is ahead; where a process was started it begins with the training.

        Args:
            best: the strategy.
            verdict: the sentence of the comparison.
            records: of the sweep.
        """
        plan = self._plan
        self._best = best
        strategies = chosen_strategies(plan.keep.name, best, records)
        name = plan.tracking.experiment or plan.data.label
        order = Order(strategies, name, plan.keep.members, verdict)
        missing = [each for each in strategies if not is_kept(order, records, self._folder / MODELS / each)]
        if missing:
            self._order = Order(tuple(missing), name, plan.keep.members, verdict)
            self._send(self._order)

    def wait(self, records: Sequence[Record]) -> None:
        """Have the models that were ordered, as far as they can be made."""
        if self._order is None or self._is_done:
            return
        self._is_done = True
        if self._process is None:
            problem = attempt(self._order, records, self._dataset, self._folder)
            if problem:
                print(problem, file=sys.stderr)
        else:
            self._process.wait()

    def finish(self, records: Sequence[Record]) -> None:
        """Have the models that were ordered, and say where they are, or why they are not."""
        self.wait(records)
        if self._order is None:
            return
        for strategy in self._order.strategies:
            target = self._folder / MODELS / strategy
            if is_kept(self._order, records, target):
                name = self._callable_name(strategy, target)
                print(f"Model of {strategy}: {target}; 'lossfleet predict {name} FILE' uses it")
            else:
                print(
                    f"there is no model of {strategy}; 'lossfleet keep {self._plan.sweep} --strategy {strategy}' "
                    "makes it later",
                    file=sys.stderr,
                )

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _callable_name(self, strategy: str, target: Path) -> str:
        """What commands call a model: of the best strategy its registered name, where it is registered."""
        tracking = self._plan.tracking
        # In a store that is not the default the name would need --uri.
        if strategy != self._best or not tracking.enabled or tracking.uri or self._order is None:
            return shlex.quote(str(target))
        return shlex.quote(registered_name(self._order.name))

    def _send(self, message: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            # Where it has died, its models are missing in the end.
            with suppress(BrokenPipeError):
                pickle.dump(message, self._process.stdin)
                self._process.stdin.flush()


def attempt(order: Order, records: Sequence[Record], dataset: Dataset, folder: Path) -> str | None:
    """Keep what is ordered; returns why that failed, in one line, or None."""
    try:
        keep_strategies(order, records, dataset, folder)
    except (UserError, Failure) as error:
        return f"lossfleet: warning: no model was kept: {error}"
    except Exception as error:
        return f"lossfleet: warning: no model was kept ({type(error).__name__}: {error})"
    return None


def main() -> None:
    """What the process does: read ahead, wait for the order, keep the models, and end with its parent."""
    if hasattr(os, "sched_setaffinity"):
        # A fleet as small as this one trains two to four times slower where MindSpore's threads wait for each other.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    plan, folder = pickle.load(sys.stdin.buffer)
    dataset = open_dataset(plan.data)
    for module in (
        "imblearn.over_sampling",
        "lossfleet.runners.training.fleet",
        "safetensors.numpy",
        "scipy.stats",
    ):
        importlib.import_module(module)
    try:
        order = pickle.load(sys.stdin.buffer)
    except EOFError:
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()
    problem = attempt(order, Journal(folder / JOURNAL_FILE).read(), dataset, folder)
    if problem:
        print(problem, file=sys.stderr, flush=True)
    # The sweep waits for the end of this process, and MindSpore takes its time.
    os._exit(1 if problem else 0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
