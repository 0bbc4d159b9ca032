"""The work of one sweep that several workers share, in one database.

A task is one piece of work: a trial, a final evaluation, the opening or the end of the sweep.

    free -> held by a worker -> done, its records are here -> tracked, its runs are in MLflow

Each step is one statement of SQL that names the state it starts from, so of several workers one succeeds. When a
worker is gone its tasks lose their holder; what was done stays done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossfleet.runners.cluster.database import connect
from lossfleet.runners.cluster.shared_records import SharedRecords
from lossfleet.runners.cluster.tables import END, OPEN, Database, Task, define_tables, insert_new, rows_of
from lossfleet.runners.cluster.workers import Workers

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table


@dataclass(frozen=True)
class Count:
    """How many tasks there are, and how many of them are done and tracked."""

    total: int = 0
    done: int = 0
    tracked: int = 0


class WorkQueue:
    """The tasks of one sweep, with its workers and its records.

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
        database = Database(self._engine, sweep, *define_tables())
        self._tasks, self._records = database.tasks, database.records
        self.workers = Workers(database)
        self.records = SharedRecords(database)
        if create:
            self._tasks.metadata.create_all(self._engine)

    def add(self, tasks: Iterable[Task]) -> None:
        """Add the tasks that are not there yet."""
        rows = [{"sweep": self.sweep, **task._asdict(), "done": False, "tracked": False} for task in tasks]
        with self._engine.begin() as connection:
            insert_new(connection, self._tasks, rows)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off others who publish the same sweep. (SQLite has no such lock; there, one machine does it.)"""
        from sqlalchemy import select

        row = select(self._records.c.line).where(*self._rows(self._records, OPEN)).with_for_update()
        with self._engine.begin() as connection:
            connection.execute(row)
            yield

    def withdraw(self, strategy: str, stage: str) -> None:
        """Take back the free tasks of a strategy and stage."""
        tasks = self._tasks.c
        free = self._tasks.delete().where(
            tasks.sweep == self.sweep,
            tasks.strategy == strategy,
            tasks.stage == stage,
            tasks.worker.is_(None),
            ~tasks.done,
        )
        with self._engine.begin() as connection:
            connection.execute(free)

    def reopen(self) -> None:
        """Take back the end of a sweep that gets more tasks."""
        with self._engine.begin() as connection:
            for table in (self._tasks, self._records):
                connection.execute(table.delete().where(*self._rows(table, END)))
            reset = self._tasks.update().where(*self._rows(self._tasks, OPEN))
            connection.execute(reset.values(worker=None, done=False, tracked=False))

    def claim(self, worker: str, strategy: str, stage: str) -> Task | None:
        """Take the free task with the lowest number; None where none is free or the worker is gone."""
        from sqlalchemy import select

        tasks = self._tasks.c
        free = [
            tasks.sweep == self.sweep,
            tasks.strategy == strategy,
            tasks.stage == stage,
            tasks.worker.is_(None),
            ~tasks.done,
        ]
        # PostgreSQL passes over a row that another worker is just taking.
        first = select(tasks.trial).where(*free).order_by(tasks.trial).limit(1)
        first = first.with_for_update(skip_locked=True)
        while True:
            with self._engine.begin() as connection:
                trial = connection.execute(first).scalar()
                if trial is None:
                    return None
                take = self._tasks.update().where(*free, tasks.trial == trial, self.workers.alive(worker))
                if connection.execute(take.values(worker=worker)).rowcount == 1:
                    return Task(strategy, stage, trial)
            if not self.workers.is_alive(worker):
                return None

    def finish(self, worker: str, task: Task, *, tracked: bool) -> bool:
        """Mark a task as done, or as tracked too; returns whether the worker still held it."""
        held = self._tasks.update().where(*self._rows(self._tasks, task), self._tasks.c.worker == worker)
        with self._engine.begin() as connection:
            return connection.execute(held.values(done=True, tracked=tracked)).rowcount == 1

    def adopt(self, worker: str) -> bool:
        """Take the done tasks that nobody exports to MLflow any more; returns whether there were any."""
        tasks = self._tasks.c
        orphans = self._tasks.update().where(
            tasks.sweep == self.sweep,
            tasks.worker.is_(None),
            tasks.done,
            ~tasks.tracked,
            self.workers.alive(worker),
        )
        with self._engine.begin() as connection:
            return connection.execute(orphans.values(worker=worker)).rowcount > 0

    def untracked(self, worker: str) -> list[Task]:
        """The done tasks that a worker has yet to export to MLflow."""
        from sqlalchemy import select

        tasks = self._tasks.c
        wanted = select(tasks.strategy, tasks.stage, tasks.trial).where(
            tasks.sweep == self.sweep, tasks.worker == worker, tasks.done, ~tasks.tracked
        )
        with self._engine.connect() as connection:
            return [Task(*row) for row in connection.execute(wanted)]

    def counts(self) -> dict[tuple[str, str], Count]:
        """The tasks by strategy and stage."""
        from sqlalchemy import Integer, cast, func, select

        tasks = self._tasks.c
        grouped = (
            select(
                tasks.strategy,
                tasks.stage,
                func.count(),
                func.sum(cast(tasks.done, Integer)),
                func.sum(cast(tasks.tracked, Integer)),
            )
            .where(tasks.sweep == self.sweep)
            .group_by(tasks.strategy, tasks.stage)
        )
        with self._engine.connect() as connection:
            return {(row[0], row[1]): Count(*row[2:]) for row in connection.execute(grouped)}

    def leave(self, worker: str) -> None:
        """Sign a worker off and free what it holds."""
        self.workers.sign_off(worker)
        self.free_tasks_of_the_gone()

    def free_tasks_of_the_gone(self) -> None:
        """Let others take what a worker left behind. Safe at any time, by anyone, again and again."""
        tasks = self._tasks.c
        held = self._tasks.update().where(
            tasks.sweep == self.sweep, ~tasks.tracked, tasks.worker.in_(self.workers.gone())
        )
        with self._engine.begin() as connection:
            connection.execute(held.values(worker=None))

    def _rows(self, table: Table, task: Task) -> list[ColumnElement[bool]]:
        return rows_of(table, self.sweep, task)
