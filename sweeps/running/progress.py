"""The progress of a sweep on the terminal: trials done, trials a second, best so far, time left."""

from __future__ import annotations

import os
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lossfleet.conf.metrics import sign_of
from lossfleet.runners.records import TrialRecord

# The mean over the last trials follows a change of pace.
RECENT_TRIALS = 50


class SweepProgress:
    """A progress bar on a terminal; nothing in CI or where the output is a file."""

    def __init__(self, total: int, done: int) -> None:
        """Args:
        total: trials and final evaluations of the sweep.
        done: those that an earlier process finished.
        """
        console = Console(stderr=True)
        self._best: tuple[float, str] | None = None
        self._ends: list[float] = [time.monotonic()]
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal or bool(os.environ.get("CI")),
            transient=True,
        )
        self._task = self._bar.add_task("trials", total=total, completed=done, pace="")
        self._total, self._done = total, done

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def finished(self, record: TrialRecord) -> None:
        """Count a trial or a final evaluation that ended."""
        self._done += 1
        self._ends = [*self._ends, time.monotonic()][-RECENT_TRIALS:]
        if record.stage == "search" and record.value is not None:
            better = min if sign_of(record.config["search"]["metric"]) < 0 else max
            self._best = better(
                self._best or (record.value, record.strategy), (record.value, record.strategy)
            )
        self._bar.update(self._task, completed=self._done, pace=self._pace())

    def _pace(self) -> str:
        passed = self._ends[-1] - self._ends[0]
        parts = []
        if passed > 0:
            speed = (len(self._ends) - 1) / passed
            parts += [f"{speed:.1f} a second", f"{(self._total - self._done) / speed:.0f} s left"]
        if self._best is not None:
            parts.append(f"best {self._best[0]:.4f} ({self._best[1]})")
        return ", ".join(parts)
