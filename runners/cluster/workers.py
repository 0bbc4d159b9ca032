"""Which workers of a sweep are alive, by the heartbeats that they count up in the database."""

from __future__ import annotations

import os
import socket
import uuid
from typing import TYPE_CHECKING

from lossfleet.runners.cluster.tables import GONE, Database

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select


class Workers:
    """The workers of one sweep.

    A worker counts up while it lives. A count that stands still for too long, by the watcher's own clock, makes
    its worker gone for good. No two machines compare clocks.
    """

    def __init__(self, database: Database) -> None:
        self._sweep = database.sweep
        self._engine = database.engine
        self._workers = database.workers

    def join(self) -> str:
        """Sign on a worker; returns its name, which no other worker has or had."""
        worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with self._engine.begin() as connection:
            connection.execute(self._workers.insert().values(worker=worker, sweep=self._sweep, heartbeats=0))
        return worker

    def heartbeat(self, worker: str) -> bool:
        """Count a worker up; returns whether it still counts as alive."""
        heartbeats = self._workers.c.heartbeats
        alive = self._workers.update().where(self._workers.c.worker == worker, heartbeats != GONE)
        with self._engine.begin() as connection:
            return connection.execute(alive.values(heartbeats=heartbeats + 1)).rowcount == 1

    def heartbeats(self) -> dict[str, int]:
        """The counts of the workers that are alive."""
        from sqlalchemy import select

        workers = self._workers.c
        alive = select(workers.worker, workers.heartbeats).where(
            workers.sweep == self._sweep, workers.heartbeats != GONE
        )
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(alive)}

    def is_alive(self, worker: str) -> bool:
        """Whether a worker has neither left nor expired."""
        return worker in self.heartbeats()

    def expire(self, worker: str, heartbeats: int) -> None:
        """Count a worker as gone unless it has given a heartbeat since it had this count."""
        workers = self._workers.c
        silent = self._workers.update().where(workers.worker == worker, workers.heartbeats == heartbeats)
        with self._engine.begin() as connection:
            connection.execute(silent.values(heartbeats=GONE))

    def sign_off(self, worker: str) -> None:
        """Count a worker as gone."""
        own = self._workers.update().where(self._workers.c.worker == worker)
        with self._engine.begin() as connection:
            connection.execute(own.values(heartbeats=GONE))

    def alive(self, worker: str) -> ColumnElement[bool]:
        """The condition, in a statement, that a worker is alive."""
        from sqlalchemy import exists

        return exists().where(self._workers.c.worker == worker, self._workers.c.heartbeats != GONE)

    def gone(self) -> Select[tuple[str]]:
        """The names of those that are gone, for a statement."""
        from sqlalchemy import select

        return select(self._workers.c.worker).where(
            self._workers.c.sweep == self._sweep, self._workers.c.heartbeats == GONE
        )
