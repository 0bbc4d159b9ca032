"""A job: one trial on its way through the slots, from asked to told. docs/states.md has its states."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lossfleet.conf.metrics import sign_of
from lossfleet.conf.schema import Config
from lossfleet.runners.records import ReplicateRecord, TrialRecord

if TYPE_CHECKING:
    from lossfleet.runners.training.slots import Engine

Stage = Literal["search", "final"]
State = Literal["COMPLETE", "PRUNED", "FAIL"]

# A trial that an exception ended is trained once more.
ATTEMPTS = 2


@dataclass(eq=False)
class ReplicateState:
    """One replicate of a job: what it has measured so far, why it failed, and its record once it has ended."""

    number: int
    seed: int
    split: int
    started: float = field(default_factory=time.time)
    epochs: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    failure: str | None = None
    record: ReplicateRecord | None = None
    confusion: list[list[int]] | None = None
    mistakes: list[list[float]] | None = None
    importance: dict[str, float] | None = None
    found: list[list[Any]] | None = None
    anchor_losses: dict[str, list[list[Any]]] | None = None
    speed: dict[str, float] | None = None
    engine: Engine | None = None

    def start_over(self) -> None:
        """Forget what was measured, to train once more."""
        self.started, self.epochs, self.failure = time.time(), 0, None
        self.metrics, self.curves = {}, {}
        self.confusion = self.mistakes = self.importance = None
        self.found = self.anchor_losses = self.speed = None

    def measure(self, metrics: Mapping[str, float], *, rung: bool) -> None:
        """Keep metrics of the current epoch, those of a rung as a curve too."""
        self.metrics.update(metrics)
        if rung:
            for name, value in metrics.items():
                self.curves.setdefault(name, []).append((self.epochs, value))


@dataclass(eq=False)
class Job:
    """A trial of the search, or the final evaluation of a strategy's best one, with all its replicates."""

    strategy: str
    stage: Stage
    trial: int
    params: dict[str, float | int | str]
    config: Config
    replicates: list[ReplicateState]
    started: float = field(default_factory=time.time)
    state: State | None = None
    reason: str | None = None
    error: str | None = None
    attempts: int = 1
    told: bool = False

    def start_over(self, error: Exception) -> None:
        """Make the job ready to train once more after an exception; at the last attempt it fails."""
        if self.attempts == ATTEMPTS:
            # As text: the exception itself would keep the memory of the fleet it came from.
            self.error = "".join(traceback.format_exception(error))
            self.stop("FAIL", f"raised {type(error).__name__}: {error}")
            return
        self.attempts += 1
        for replicate in self.replicates:
            if replicate.record is None:
                replicate.start_over()

    def stop(self, state: State, reason: str) -> None:
        """End the job early; the first reason stands."""
        if self.state is None:
            self.state, self.reason = state, reason

    def diverge(self, replicate: ReplicateState, loss: float) -> None:
        """A training loss that is not finite fails a trial of the search, of a final evaluation the replicate alone."""
        reason = f"diverged: the training loss is {loss:g} at epoch {replicate.epochs}"
        if self.stage == "search":
            self.stop("FAIL", reason)
        else:
            replicate.failure = reason

    def has_ended(self, replicate: ReplicateState) -> bool:
        """Whether a replicate has trained all of its epochs, or failed."""
        return replicate.failure is not None or replicate.epochs == self.config.budget.epochs

    def rung_value(self, epoch: int) -> float | None:
        """The mean of the searched metric over the replicates at a rung; None before all have reached it."""
        values = self.rung_values(epoch)
        return float(np.mean(values)) if len(values) == len(self.replicates) else None

    def rung_values(self, epoch: int) -> list[float]:
        """The searched metric of each replicate that has reached a rung."""
        curves = [dict(replicate.curves.get(self.metric, ())) for replicate in self.replicates]
        return [curve[epoch] for curve in curves if epoch in curve]

    def takes_best(self, replicate: ReplicateState) -> bool:
        """Whether a replicate counts as it was at its best rung; one that has diverged does not."""
        return self.config.budget.checkpoint == "best" and replicate.failure is None

    def best_epoch(self, replicate: ReplicateState) -> int:
        """The rung at which a replicate's searched metric was best so far, the first of several; NaN is none."""
        sign = sign_of(self.config.search.metric)
        epochs, values = zip(*replicate.curves[self.metric], strict=True)
        found: int = epochs[int(np.argmax(np.nan_to_num(sign * np.array(values), nan=-np.inf)))]
        return found

    @property
    def metric(self) -> str:
        """The name of the metric whose mean is the trial's value."""
        return f"validation_{self.config.search.metric}"

    def finish_replicate(
        self, replicate: ReplicateState, state: State, reason: str | None = None
    ) -> ReplicateRecord:
        """End a replicate and return its record."""
        replicate.record = ReplicateRecord(
            strategy=self.strategy,
            stage=self.stage,
            trial=self.trial,
            replicate=replicate.number,
            seed=replicate.seed,
            split=replicate.split,
            state=state,
            epochs=replicate.epochs,
            metrics=replicate.metrics,
            curves=replicate.curves,
            started=replicate.started,
            ended=time.time(),
            reason=reason,
            confusion=replicate.confusion,
            mistakes=replicate.mistakes,
            importance=replicate.importance,
            found=replicate.found,
            anchor_losses=replicate.anchor_losses,
            speed=replicate.speed,
            engine=replicate.engine,
        )
        return replicate.record

    def finish(self) -> TrialRecord:
        """End the job, all of its replicates having ended, and return its record."""
        search = self.config.search
        means: dict[str, float] = {}
        if all(replicate.failure for replicate in self.replicates):
            self.stop("FAIL", f"{self.replicates[0].failure}")
        if self.state is None:
            self.state = "COMPLETE"
            wanted = (*search.objectives, *(each.metric for each in search.constraints))
            means = {name: self._mean(name) for name in wanted}
            for name in wanted:
                if not math.isfinite(means.get(name, 0.0)):
                    self.state, self.reason = "FAIL", f"validation_{name} is {means[name]}"
                    means = {}
        return TrialRecord(
            strategy=self.strategy,
            stage=self.stage,
            trial=self.trial,
            state=self.state,
            params=self.params,
            config=self.config.to_dict(),
            value=means.get(search.metric),
            started=self.started,
            ended=time.time(),
            reason=self.reason,
            error=self.error,
            values={name: means[name] for name in search.objectives if means},
            violations={
                str(each): each.violation(means[each.metric]) for each in search.constraints if means
            },
        )

    def _mean(self, metric: str) -> float:
        counted = self.replicates
        if self.config.evaluation.diverged == "drop":
            counted = [replicate for replicate in self.replicates if replicate.failure is None]
        return float(np.mean([replicate.metrics[f"validation_{metric}"] for replicate in counted]))
