"""What a sweep writes down: one JSON object a line, the truth from which MLflow and tables are made."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from lossfleet.conf.errors import UserError
from lossfleet.runners.locks import lock, unlock

# A sweep's journal, in its folder.
JOURNAL_FILE = "records.jsonl"
# Beside it the confusion counts of a strategy each, where there are too many classes for a metric each.
CONFUSION = "confusion"
# And of the strategy ahead the rows that it gets wrong.
MISTAKES = "mistakes.csv"
# And what a paper published beside what was measured.
PUBLISHED = "published.md"
# And the figures with the page that shows them all; of images, examples are there from the start.
FIGURES = "figures"
PAGE = "figures.html"
EXAMPLES_FILE = "examples.png"
# JSON has no NaN and no infinity: {"not_finite": "nan"} stands for them.
NOT_FINITE = "not_finite"
# What few records have: it is written where it is there.
OPTIONAL = ("confusion", "mistakes", "importance", "found", "anchor_losses", "speed", "engine")


@dataclass(frozen=True)
class SweepRecord:
    """The start of a sweep: its id, data, configuration and environment (versions, git commit, machine).

    `dataset` is what `lossfleet.runners.data.builtin.Dataset.describe` says of the data.
    """

    sweep: str
    data: str
    config: dict[str, Any]
    environment: dict[str, str]
    started: float
    dataset: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ContinuationRecord:
    """A later run of a sweep by another plan or in another environment than the run before; trials after it have these.

    `changes` says what differs, as `key: before -> now`.
    """

    config: dict[str, Any]
    environment: dict[str, str]
    changes: list[str]
    started: float


@dataclass(frozen=True)
class TrialRecord:
    """A trial at its end; `params` are the sampled values, `config` all that it trained with.

    `reason` says why it was pruned or failed, `error` is the traceback where an exception ended it.
    `values` has each metric that is optimised, `value` the first. `violations` says by constraint how far a
    trial is from holding it, 0 or less where it does.
    """

    strategy: str
    stage: Literal["search", "final", "reference"]
    trial: int
    state: Literal["COMPLETE", "PRUNED", "FAIL"]
    params: dict[str, float | int | str]
    config: dict[str, Any]
    value: float | None
    started: float
    ended: float
    reason: str | None = None
    error: str | None = None
    values: dict[str, float] = field(default_factory=dict)
    violations: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplicateRecord:
    """A replicate at its end: last metrics, curves of (step, value), epochs trained, unix seconds.

    The steps of a curve are epochs, but those of `lossfleet.runners.metrics.evaluation.DIAGRAMS`. `confusion` has the
    counts (true, predicted) of the test part where there are too many classes for a metric each. `mistakes` has what a
    final one gets wrong there, see `lossfleet.runners.metrics.evaluation.mistakes`, `importance` by column how much of
    the searched metric it loses there when the column is shuffled; both are None where it diverged, and in records of
    earlier versions. `found` has what a final one that finds objects finds in some images of the test part: a row of
    the data set, then boxes, scores and labels, as `lossfleet.runners.portable.objects.detections` has them in lists.
    `anchor_losses` has of the first of those, if all anchors count, where losses fall in some images (`own`, and
    beside focal loss `cross_entropy`): a row of the data set, then what
    `lossfleet.runners.detection.anchor_losses.mapped` gives.
    `speed` has how fast the first final one of a strategy finds them, see `lossfleet.runners.detection.timing`; it is
    no metric, since it is never the same twice. `engine` is who trained it, see
    `lossfleet.runners.training.slots.Engine`; it is None of references, of what never came to train, and in records of
    earlier versions.
    """

    strategy: str
    stage: Literal["search", "final", "reference"]
    trial: int
    replicate: int
    seed: int
    split: int
    state: Literal["COMPLETE", "PRUNED", "FAIL"]
    epochs: int
    metrics: dict[str, float]
    curves: dict[str, list[tuple[int, float]]]
    started: float
    ended: float
    reason: str | None = None
    confusion: list[list[int]] | None = None
    mistakes: list[list[float]] | None = None
    importance: dict[str, float] | None = None
    found: list[list[Any]] | None = None
    anchor_losses: dict[str, list[list[Any]]] | None = None
    speed: dict[str, float] | None = None
    engine: str | None = None

    def __post_init__(self) -> None:
        # JSON turns pairs into lists.
        curves = {name: [(epoch, value) for epoch, value in curve] for name, curve in self.curves.items()}
        object.__setattr__(self, "curves", curves)


@dataclass(frozen=True)
class ReferenceRecord:
    """A reference, fitted and measured on the final splits: its `part`, as JSON has it, and a replicate a split.

    `reason` says why it failed, `error` is the traceback; then it has the replicates from before.
    """

    part: dict[str, Any]
    replicates: list[ReplicateRecord]
    started: float
    ended: float
    reason: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        # JSON turns records into mappings.
        made = [ReplicateRecord(**each) if isinstance(each, dict) else each for each in self.replicates]
        object.__setattr__(self, "replicates", made)


@dataclass(frozen=True)
class EngineRecord:
    """How an engine, one a process, spent its time.

    slots: of each fleet. slot_epochs: epochs times slots; occupied_slot_epochs: those that trained a replicate.
    seconds: of wall time, by what they were spent on: compile, train, measure, search, write, enter.
    fused: whether the kernels were. native: of each fleet, whether the native core trained it; what trained a strategy
    is in the records of its replicates.
    """

    strategies: list[str]
    slots: list[int]
    slot_epochs: int
    occupied_slot_epochs: int
    seconds: dict[str, float]
    started: float
    ended: float
    fused: bool = False
    native: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class EndRecord:
    """The end of a sweep: its table (Markdown), the sentence that sums it up, metrics of the whole sweep.

    `front` has the trials on the Pareto fronts as pairs of strategy and trial; it is empty where one metric is
    optimised. `winner` is the strategy ahead in words, with those from which it cannot be told apart; `best` its name.
    """

    state: Literal["FINISHED", "KILLED", "FAILED"]
    ended: float
    table: str
    sentence: str
    metrics: dict[str, float] = field(default_factory=dict)
    front: list[list[Any]] = field(default_factory=list)
    winner: str = ""
    best: str = ""


Record = (
    SweepRecord
    | ContinuationRecord
    | TrialRecord
    | ReplicateRecord
    | ReferenceRecord
    | EngineRecord
    | EndRecord
)
KINDS: dict[str, type[Record]] = {
    "sweep": SweepRecord,
    "continuation": ContinuationRecord,
    "trial": TrialRecord,
    "replicate": ReplicateRecord,
    "reference": ReferenceRecord,
    "engine": EngineRecord,
    "end": EndRecord,
}


class Journal:
    """A file of records that the processes of a sweep append to and any may read.

    A line counts once its newline is written. A process killed while it wrote leaves a torn last line, which
    readers ignore and the next writer cuts off.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: FileIO | None = None

    def append(self, *records: Record) -> None:
        """Write records, all or none, and wait until the disk has them.

        Args:
            records: their fields as JSON has them (dict, list, str, int, float, bool, None).

        Raises:
            OSError: where the disk does not take every line whole; the file is then as it was before.
            TypeError: for a value that JSON does not have.
        """
        lines = b"".join(encode_record(record) for record in records)
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(self.path, "a+")
        descriptor = self._file.fileno()
        # Several processes write to the journal of a sweep.
        lock(descriptor)
        try:
            end = end_of_last_line(descriptor)
            os.ftruncate(descriptor, end)
            try:
                # A nearly full disk takes a part of them before it refuses.
                while lines:
                    lines = lines[os.write(descriptor, lines) :]
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, end)
                raise
        finally:
            unlock(descriptor)

    def read(self) -> list[Record]:
        """All records; none where there is no file yet.

        Raises:
            UserError: for a line that is no record.
        """
        return self.follow(0)[0]

    def follow(self, offset: int) -> tuple[list[Record], int]:
        """The records written since an earlier call.

        Args:
            offset: 0, or what the earlier call returned.

        Returns:
            The records after it, and the offset for the next call.

        Raises:
            UserError: for a line that is no record.
        """
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as file:
            file.seek(offset)
            written = file.read()
        whole = written[: written.rfind(b"\n") + 1]
        records = []
        for index, line in enumerate(whole.split(b"\n")[:-1]):
            try:
                records.append(decode_record(line))
            except (ValueError, TypeError, KeyError) as error:
                raise self._broken(offset, index, error) from error
        return records, offset + len(whole)

    def close(self) -> None:
        """Close the file; a further append opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _broken(self, offset: int, index: int, error: Exception) -> UserError:
        with self.path.open("rb") as file:
            number = file.read(offset).count(b"\n") + index + 1
        return UserError(
            what=f"{self.path}, line {number} is no record ({type(error).__name__}: {error})",
            expected=f"a JSON object with a kind of {', '.join(KINDS)} and the fields of that kind",
            hint="remove the line, or read the file with the version of lossfleet that wrote it",
        )


def end_of_last_line(descriptor: int) -> int:
    """Where the last whole line ends: a process that was killed may have left a part of one behind it."""
    end = os.fstat(descriptor).st_size
    if end == 0 or os.pread(descriptor, 1, end - 1) == b"\n":
        return end
    return os.pread(descriptor, end, 0).rfind(b"\n") + 1


def encode_record(record: Record) -> bytes:
    """A record as a line of JSON."""
    kind = {record_type: kind for kind, record_type in KINDS.items()}[type(record)]
    fields = _to_json({"kind": kind, **vars(record)})
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def decode_record(line: bytes | str) -> Record:
    """The record of a line of JSON."""
    fields = json.loads(line, object_hook=_from_json)
    if not isinstance(fields, dict):
        raise TypeError(f"it is a {type(fields).__name__}")
    return KINDS[fields.pop("kind")](**fields)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings, such as a configuration, as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _to_json(value: Any) -> Any:
    if isinstance(value, ReplicateRecord):
        return _to_json(vars(value))
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items() if item is not None or key not in OPTIONAL}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_FINITE: repr(float(value))}
    return value


def _from_json(fields: dict[str, Any]) -> Any:
    return float(fields[NOT_FINITE]) if fields.keys() == {NOT_FINITE} else fields
