"""The records of a sweep that several workers share; what one process keeps in a journal."""

from __future__ import annotations

from collections.abc import Collection

from lossfleet.runners.cluster.tables import (
    OPEN,
    WHOLE,
    Database,
    Task,
    insert_new,
    key_of,
    place_of,
    rows_of,
)
from lossfleet.runners.records import Record, TrialRecord, decode_record, encode_record


class SharedRecords:
    """The records of one sweep in the database.

    They have keys and the first of a key stands, so a worker that expired too early doubles nothing.
    """

    def __init__(self, database: Database) -> None:
        self._sweep = database.sweep
        self._engine = database.engine
        self._records = database.records

    def append(self, *records: Record) -> None:
        """Store records, all or none; where there is one of the same key, that one stands."""
        rows = []
        for record in records:
            strategy, stage, trial, replicate = key_of(record)
            key = {"strategy": strategy, "stage": stage, "trial": trial, "replicate": replicate}
            rows.append({"sweep": self._sweep, **key, "line": encode_record(record).decode()})
        with self._engine.begin() as connection:
            insert_new(connection, self._records, rows)

    def read(self, task: Task | None = None) -> list[Record]:
        """The records of one task or of all: the sweep, the replicates before their trial, the end."""
        from sqlalchemy import select

        records = self._records
        wanted = rows_of(records, self._sweep, task) if task else [records.c.sweep == self._sweep]
        lines = select(records.c.line).where(*wanted)
        with self._engine.connect() as connection:
            found = [decode_record(line) for line in connection.execute(lines).scalars()]
        return sorted(found, key=place_of)

    def runs(self) -> list[Record]:
        """The SweepRecord and, in the order of time, what later runs did otherwise; none of an unknown sweep."""
        from sqlalchemy import select

        records = self._records.c
        lines = select(records.line).where(records.sweep == self._sweep, records.stage == OPEN.stage)
        with self._engine.connect() as connection:
            return sorted(map(decode_record, connection.execute(lines).scalars()), key=place_of)

    def ended_trials(self, known: Collection[Task] = ()) -> dict[Task, TrialRecord]:
        """The ended trials and final evaluations, less the known ones."""
        from sqlalchemy import select

        records = self._records.c
        keys = select(records.strategy, records.stage, records.trial).where(
            records.sweep == self._sweep,
            records.replicate == WHOLE,
            records.stage.in_(("search", "final")),
        )
        with self._engine.connect() as connection:
            new = [Task(*row) for row in connection.execute(keys) if Task(*row) not in known]
        return {task: self.read(task)[-1] for task in new}  # type: ignore[misc]

    def sweeps(self) -> list[str]:
        """The names of all sweeps that the database holds; none where it holds nothing of ours."""
        from sqlalchemy import inspect, select

        if not inspect(self._engine).has_table(self._records.name):
            return []
        names = select(self._records.c.sweep).where(self._records.c.stage == OPEN.stage).distinct()
        with self._engine.connect() as connection:
            return sorted(connection.execute(names).scalars())
