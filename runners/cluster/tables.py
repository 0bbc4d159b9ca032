"""The tables that the workers of a sweep share, and what their keys mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lossfleet.runners.records import (
    ContinuationRecord,
    EndRecord,
    EngineRecord,
    Record,
    ReferenceRecord,
    ReplicateRecord,
    SweepRecord,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Table

# In the key of a record: that of a whole trial, not of one of its replicates.
WHOLE = -1
# The heartbeats of a worker that has left or has expired.
GONE = -1


class Task(NamedTuple):
    """A piece of work; stage is search, final, open or end."""

    strategy: str
    stage: str
    trial: int


# The sweep's own run in MLflow is made before all others, and ended after them.
OPEN, END = Task("", "open", 0), Task("", "end", 0)


class Database(NamedTuple):
    """The database of one sweep: the engine that reaches it, and its tables."""

    engine: Engine
    sweep: str
    workers: Table
    tasks: Table
    records: Table


def define_tables() -> tuple[Table, Table, Table]:
    """The tables of workers, tasks and records."""
    from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, Text

    metadata = MetaData()

    def key(name: str, kind: Any) -> Column[Any]:
        return Column(name, kind, primary_key=True)

    def task() -> list[Column[Any]]:
        return [
            key("sweep", String(100)),
            key("strategy", String(100)),
            key("stage", String(10)),
            key("trial", Integer),
        ]

    return (
        Table(
            "lossfleet_workers",
            metadata,
            key("worker", String(255)),
            Column("sweep", String(100), nullable=False, index=True),
            Column("heartbeats", Integer, nullable=False),
        ),
        Table(
            "lossfleet_tasks",
            metadata,
            *task(),
            Column("worker", String(255), index=True),
            Column("done", Boolean, nullable=False),
            Column("tracked", Boolean, nullable=False),
        ),
        Table(
            "lossfleet_records",
            metadata,
            *task(),
            key("replicate", Integer),
            Column("line", Text, nullable=False),
        ),
    )


def rows_of(table: Table, sweep: str, task: Task) -> list[ColumnElement[bool]]:
    """The condition on the rows of a task."""
    return [table.c.sweep == sweep, *(table.c[name] == value for name, value in task._asdict().items())]


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose keys are not there yet."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[connection.dialect.name]
    if rows:
        connection.execute(insert(table).on_conflict_do_nothing(), rows)


def key_of(record: Record) -> tuple[str, str, int, int]:
    """Strategy, stage, trial and replicate; the first record of a key stands."""
    if isinstance(record, SweepRecord):
        return (*OPEN, WHOLE)
    if isinstance(record, ContinuationRecord):
        return ("", OPEN.stage, int(record.started), WHOLE)
    if isinstance(record, EndRecord):
        return (*END, WHOLE)
    if isinstance(record, EngineRecord | ReferenceRecord):
        raise TypeError("workers share no record of what one engine did, nor of references")
    replicate = record.replicate if isinstance(record, ReplicateRecord) else WHOLE
    return record.strategy, record.stage, record.trial, replicate


def place_of(record: Record) -> tuple[Any, ...]:
    """Where a record stands among others: the order in which one process would have written them."""
    strategy, stage, trial, replicate = key_of(record)
    order = ("open", "search", "final", "end").index(stage)
    return order, strategy, trial, replicate == WHOLE, replicate
