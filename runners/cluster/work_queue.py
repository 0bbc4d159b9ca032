"""What the workers of one sweep share: tickets, records and signs of life, in one database.

A ticket stands for one piece of work: a trial, a final evaluation, the opening or the end of the sweep.

    free -> held by a worker -> done, its records are here -> tracked, its runs are in MLflow

Each step is one statement of SQL that names the state it starts from, so of several workers one succeeds. A
worker counts up while it lives. A count that stands still for too long, by the watcher's own clock, makes its
worker gone for good: its tickets lose their holder, what was done stays done. No two machines compare clocks.
Records have keys and the first of a key stands, so a worker that was given up too early doubles nothing.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lossfleet.runners.cluster.database import connect
from lossfleet.runners.records import (
    EndRecord,
    EngineRecord,
    Record,
    ReplicateRecord,
    SweepRecord,
    TrialRecord,
    decode_record,
    encode_record,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

# In the key of a record: that of a whole trial, not of one of its replicates.
WHOLE = -1
# The count of a worker that has left or was given up.
GONE = -1


class Ticket(NamedTuple):
    """A piece of work; stage is search, final, open or end."""

    strategy: str
    stage: str
    trial: int


# The sweep's own run in MLflow is made before all others, and ended after them.
OPEN, END = Ticket("", "open", 0), Ticket("", "end", 0)


@dataclass(frozen=True)
class Count:
    """How many tickets there are, and how many of them are done and tracked."""

    total: int = 0
    done: int = 0
    tracked: int = 0


class Ledger:
    """The ledger of one sweep.

    Args:
        url: of a PostgreSQL or SQLite database.
        sweep: the sweep's name.
        create: whether to make what is missing of the database.

    Raises:
        UserError: the database cannot be used.
    """

    def __init__(self, url: str, sweep: str, *, create: bool = False) -> None:
        self.sweep = sweep
        self._engine = connect(url, create=create)
        self._workers, self._tickets, self._records = define_tables()
        if create:
            self._tickets.metadata.create_all(self._engine)

    # Tickets

    def issue(self, tickets: Iterable[Ticket]) -> None:
        """Add the tickets that are not there yet."""
        rows = [
            {"sweep": self.sweep, **ticket._asdict(), "done": False, "tracked": False} for ticket in tickets
        ]
        with self._engine.begin() as connection:
            insert_new(connection, self._tickets, rows)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off others who put up the same sweep. (SQLite has no such lock; there, one machine does it.)"""
        from sqlalchemy import select

        row = select(self._records.c.line).where(*self._is(self._records, OPEN)).with_for_update()
        with self._engine.begin() as connection:
            connection.execute(row)
            yield

    def sweeps(self) -> list[str]:
        """The names of the sweeps that the database holds; none where it holds no ledger."""
        from sqlalchemy import inspect, select

        if not inspect(self._engine).has_table(self._records.name):
            return []
        names = select(self._records.c.sweep).where(self._records.c.stage == OPEN.stage)
        with self._engine.connect() as connection:
            return sorted(connection.execute(names).scalars())

    def withdraw(self, strategy: str, stage: str) -> None:
        """Take back the free tickets of a strategy and stage."""
        tickets = self._tickets.c
        free = self._tickets.delete().where(
            tickets.sweep == self.sweep,
            tickets.strategy == strategy,
            tickets.stage == stage,
            tickets.worker.is_(None),
            ~tickets.done,
        )
        with self._engine.begin() as connection:
            connection.execute(free)

    def reopen(self) -> None:
        """Take back the end of a sweep that gets more tickets."""
        with self._engine.begin() as connection:
            for table in (self._tickets, self._records):
                connection.execute(table.delete().where(*self._is(table, END)))
            reset = self._tickets.update().where(*self._is(self._tickets, OPEN))
            connection.execute(reset.values(worker=None, done=False, tracked=False))

    def claim(self, worker: str, strategy: str, stage: str) -> Ticket | None:
        """Take the free ticket with the lowest number; None where none is free or the worker is gone."""
        from sqlalchemy import select

        tickets = self._tickets.c
        free = [
            tickets.sweep == self.sweep,
            tickets.strategy == strategy,
            tickets.stage == stage,
            tickets.worker.is_(None),
            ~tickets.done,
        ]
        # PostgreSQL passes over a row that another worker is just taking.
        first = select(tickets.trial).where(*free).order_by(tickets.trial).limit(1)
        first = first.with_for_update(skip_locked=True)
        while True:
            with self._engine.begin() as connection:
                trial = connection.execute(first).scalar()
                if trial is None:
                    return None
                take = self._tickets.update().where(*free, tickets.trial == trial, self._living(worker))
                if connection.execute(take.values(worker=worker)).rowcount == 1:
                    return Ticket(strategy, stage, trial)
            if not self.is_living(worker):
                return None

    def finish(self, worker: str, ticket: Ticket, *, tracked: bool) -> bool:
        """Mark a ticket as done, or as tracked too; returns whether the worker still held it."""
        held = self._tickets.update().where(
            *self._is(self._tickets, ticket), self._tickets.c.worker == worker
        )
        with self._engine.begin() as connection:
            return connection.execute(held.values(done=True, tracked=tracked)).rowcount == 1

    def adopt(self, worker: str) -> bool:
        """Take the done tickets that nobody carries into MLflow any more; returns whether there were any."""
        tickets = self._tickets.c
        orphans = self._tickets.update().where(
            tickets.sweep == self.sweep,
            tickets.worker.is_(None),
            tickets.done,
            ~tickets.tracked,
            self._living(worker),
        )
        with self._engine.begin() as connection:
            return connection.execute(orphans.values(worker=worker)).rowcount > 0

    def untracked(self, worker: str) -> list[Ticket]:
        """The done tickets that a worker has yet to carry into MLflow."""
        from sqlalchemy import select

        tickets = self._tickets.c
        wanted = select(tickets.strategy, tickets.stage, tickets.trial).where(
            tickets.sweep == self.sweep, tickets.worker == worker, tickets.done, ~tickets.tracked
        )
        with self._engine.connect() as connection:
            return [Ticket(*row) for row in connection.execute(wanted)]

    def counts(self) -> dict[tuple[str, str], Count]:
        """The tickets by strategy and stage."""
        from sqlalchemy import Integer, cast, func, select

        tickets = self._tickets.c
        grouped = (
            select(
                tickets.strategy,
                tickets.stage,
                func.count(),
                func.sum(cast(tickets.done, Integer)),
                func.sum(cast(tickets.tracked, Integer)),
            )
            .where(tickets.sweep == self.sweep)
            .group_by(tickets.strategy, tickets.stage)
        )
        with self._engine.connect() as connection:
            return {(row[0], row[1]): Count(*row[2:]) for row in connection.execute(grouped)}

    # Workers

    def join(self) -> str:
        """Sign on a worker; returns its name, which no other worker has or had."""
        worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with self._engine.begin() as connection:
            connection.execute(self._workers.insert().values(worker=worker, sweep=self.sweep, beats=0))
        return worker

    def beat(self, worker: str) -> bool:
        """A sign of life; returns whether the worker still counts as living."""
        beats = self._workers.c.beats
        living = self._workers.update().where(self._workers.c.worker == worker, beats != GONE)
        with self._engine.begin() as connection:
            return connection.execute(living.values(beats=beats + 1)).rowcount == 1

    def beats(self) -> dict[str, int]:
        """The counts of the living workers."""
        from sqlalchemy import select

        workers = self._workers.c
        living = select(workers.worker, workers.beats).where(
            workers.sweep == self.sweep, workers.beats != GONE
        )
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(living)}

    def is_living(self, worker: str) -> bool:
        """Whether a worker has neither left nor been given up."""
        return worker in self.beats()

    def give_up(self, worker: str, beats: int) -> None:
        """Count a worker as gone unless it has given a sign of life since it had this count."""
        workers = self._workers.c
        silent = self._workers.update().where(workers.worker == worker, workers.beats == beats)
        with self._engine.begin() as connection:
            connection.execute(silent.values(beats=GONE))

    def leave(self, worker: str) -> None:
        """Sign a worker off and free what it holds."""
        own = self._workers.update().where(self._workers.c.worker == worker)
        with self._engine.begin() as connection:
            connection.execute(own.values(beats=GONE))
        self.free_tickets_of_the_gone()

    def free_tickets_of_the_gone(self) -> None:
        """Let others take what a worker left behind. Safe at any time, by anyone, again and again."""
        from sqlalchemy import select

        gone = select(self._workers.c.worker).where(
            self._workers.c.sweep == self.sweep, self._workers.c.beats == GONE
        )
        tickets = self._tickets.c
        held = self._tickets.update().where(
            tickets.sweep == self.sweep, ~tickets.tracked, tickets.worker.in_(gone)
        )
        with self._engine.begin() as connection:
            connection.execute(held.values(worker=None))

    # Records

    def append(self, *records: Record) -> None:
        """Store records, all or none; where there is one of the same key, that one stands."""
        rows = []
        for record in records:
            strategy, stage, trial, replicate = key_of(record)
            key = {"strategy": strategy, "stage": stage, "trial": trial, "replicate": replicate}
            rows.append({"sweep": self.sweep, **key, "line": encode_record(record).decode()})
        with self._engine.begin() as connection:
            insert_new(connection, self._records, rows)

    def read(self, ticket: Ticket | None = None) -> list[Record]:
        """The records of one ticket or of all: the sweep, the replicates before their trial, the end."""
        from sqlalchemy import select

        records = self._records.c
        of_ticket = self._is(self._records, ticket) if ticket else [records.sweep == self.sweep]
        lines = select(records.line).where(*of_ticket)
        with self._engine.connect() as connection:
            found = [decode_record(line) for line in connection.execute(lines).scalars()]
        return sorted(found, key=place_of)

    def ended_trials(self, known: Collection[Ticket] = ()) -> dict[Ticket, TrialRecord]:
        """The ended trials and final evaluations, less the known ones."""
        from sqlalchemy import select

        records = self._records.c
        keys = select(records.strategy, records.stage, records.trial).where(
            records.sweep == self.sweep,
            records.replicate == WHOLE,
            records.stage.in_(("search", "final")),
        )
        with self._engine.connect() as connection:
            new = [Ticket(*row) for row in connection.execute(keys) if Ticket(*row) not in known]
        return {ticket: self.read(ticket)[-1] for ticket in new}  # type: ignore[misc]

    def _is(self, table: Table, ticket: Ticket) -> list[ColumnElement[bool]]:
        own = [table.c[name] == value for name, value in ticket._asdict().items()]
        return [table.c.sweep == self.sweep, *own]

    def _living(self, worker: str) -> ColumnElement[bool]:
        from sqlalchemy import exists

        return exists().where(self._workers.c.worker == worker, self._workers.c.beats != GONE)


def key_of(record: Record) -> tuple[str, str, int, int]:
    """Strategy, stage, trial and replicate; the first record of a key stands."""
    if isinstance(record, SweepRecord):
        return (*OPEN, WHOLE)
    if isinstance(record, EndRecord):
        return (*END, WHOLE)
    if isinstance(record, EngineRecord):
        raise TypeError("a ledger has no place for what one engine did")
    replicate = record.replicate if isinstance(record, ReplicateRecord) else WHOLE
    return record.strategy, record.stage, record.trial, replicate


def place_of(record: Record) -> tuple[Any, ...]:
    """Where a record stands among others: the order in which one process would have written them."""
    strategy, stage, trial, replicate = key_of(record)
    order = ("open", "search", "final", "end").index(stage)
    return order, strategy, trial, replicate == WHOLE, replicate


def define_tables() -> tuple[Table, Table, Table]:
    """The tables of workers, tickets and records."""
    from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, Text

    metadata = MetaData()

    def key(name: str, kind: Any) -> Column[Any]:
        return Column(name, kind, primary_key=True)

    def ticket() -> list[Column[Any]]:
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
            Column("beats", Integer, nullable=False),
        ),
        Table(
            "lossfleet_tickets",
            metadata,
            *ticket(),
            Column("worker", String(255), index=True),
            Column("done", Boolean, nullable=False),
            Column("tracked", Boolean, nullable=False),
        ),
        Table(
            "lossfleet_records",
            metadata,
            *ticket(),
            key("replicate", Integer),
            Column("line", Text, nullable=False),
        ),
    )


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose keys are not there yet."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[connection.dialect.name]
    if rows:
        connection.execute(insert(table).on_conflict_do_nothing(), rows)
