"""What the stores of a shared sweep cost a call, and what that means for many workers.

    python -m tests.benchmarks.scaling

First the calls are measured on this machine, then a simulation of events uses the medians: workers that end a
trial every so many seconds share one database, and their keepers one MLflow server.
"""

from __future__ import annotations

import heapq
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

REPEATS = 30
REPLICATES = 3
# What one trial with three replicates writes: itself and its replicates.
RUNS_A_TRIAL = 1 + REPLICATES
# Commits that PostgreSQL takes at the same time, and the worker processes of MLflow's server.
DATABASE_CONNECTIONS, MLFLOW_WORKERS = 4, 4
SIMULATED_TRIALS = 20


def median_ms(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median duration of a call in milliseconds, after one that does not count."""
    call()
    durations = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        durations.append(1000 * (time.perf_counter() - started))
    return statistics.median(durations)


def plan(trials: int):
    """A study of two strategies with as many trials."""
    from lossfleet.sweeps.planning.compose import run_sweeper

    plans: list = []
    run_sweeper(["data=wine", "strategy=focal", "search=tpe", f"budget.trials={trials}"], plans.append)
    return plans[0]


def optuna_costs(make_storage: Callable[[], object], trials: int) -> dict[str, float]:
    """Milliseconds of ask (all values of focal, TPE), of a report at a rung, and of tell, in a study this long."""
    from lossfleet.sweeps.search.shared_study import SharedSearch

    search = SharedSearch(plan(trials).studies[0], make_storage(), f"scaling{trials}")
    search.prepare()
    numbers = iter(range(trials))
    asked: list = []
    reported = iter(range(1, trials))

    def tell() -> None:
        search.tell(asked.pop().number, "COMPLETE", 0.5)

    repeats = min(REPEATS, trials // 2)
    return {
        "ask": median_ms(lambda: asked.append(search.ask_for(next(numbers))), repeats),
        "report": median_ms(lambda: asked[0].trial.report(0.5, next(reported)), repeats),
        "tell": median_ms(tell, repeats),
    }


def queue_costs(url: str) -> dict[str, float]:
    """Milliseconds of claiming a task, storing a record, handing in, and of a heartbeat."""
    from sweep_records import trial

    from lossfleet.runners.cluster.tables import Task
    from lossfleet.runners.cluster.work_queue import WorkQueue

    queue = WorkQueue(url, "first", create=True)
    queue.add(Task("ce", "search", number) for number in range(10 * REPEATS))
    worker = queue.workers.join()
    held: list[Task] = []
    records = iter([record for number in range(REPEATS) for record in trial("ce", number)])
    return {
        "claim": median_ms(lambda: held.append(queue.claim(worker, "ce", "search"))),
        "record": median_ms(lambda: queue.records.append(next(records))),
        "hand in": median_ms(lambda: queue.finish(worker, held.pop(), tracked=False)),
        "heartbeat": median_ms(lambda: queue.workers.heartbeat(worker)),
    }


def mlflow_costs(uri: str) -> float:
    """Milliseconds of a run with its params and curves."""
    from sweep_records import start, trial

    from lossfleet.runners.tracking.runs import RunTree
    from lossfleet.runners.tracking.tracker import Tracker

    tracker = Tracker(uri, "scaling", start())
    tracker.open_sweep(start(), Path("none"))
    tree = RunTree()
    tree.add([start()])
    trials = iter(range(1000))
    return median_ms(lambda: tracker.write(tree.add(trial("focal", next(trials)))), 10) / RUNS_A_TRIAL


@dataclass
class Server:
    """Takes so many requests at a time, the others wait in line."""

    places: int
    free_at: list[float] = field(default_factory=list)
    busy: float = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When a request that comes now is done."""
        if len(self.free_at) < self.places:
            self.free_at.append(0.0)
        done = max(now, heapq.heappop(self.free_at)) + seconds
        heapq.heappush(self.free_at, done)
        self.busy += seconds
        return done


def simulate(workers: int, seconds_a_trial: float, database_ms: float, mlflow_ms: float) -> dict[str, float]:
    """Workers that train a trial, store it and take the next, while MLflow gets the runs.

    Args:
        workers: how many.
        seconds_a_trial: the mean time between two ends of trials in one worker, were the database free.
        database_ms: of all calls of one trial.
        mlflow_ms: of one run.

    Returns:
        The share of the time that workers train and do not wait for the database, how busy both servers are,
        and the seconds that MLflow needs for the rest when the last trial has ended.
    """
    draw = random.Random(0)

    def duration() -> float:
        return seconds_a_trial * draw.uniform(0.5, 1.5)

    database, mlflow = Server(DATABASE_CONNECTIONS), Server(MLFLOW_WORKERS)
    trained = waited = end = tracked = 0.0
    # (when a trial ends in a worker, how many that worker still has to train)
    events = [(duration(), SIMULATED_TRIALS) for _ in range(workers)]
    heapq.heapify(events)
    while events:
        now, left = heapq.heappop(events)
        stored = database.serve(now, database_ms / 1000)
        waited += stored - now
        tracked = max(tracked, mlflow.serve(stored, RUNS_A_TRIAL * mlflow_ms / 1000))
        end = max(end, stored)
        trained += seconds_a_trial
        if left > 1:
            heapq.heappush(events, (stored + duration(), left - 1))
    return {
        "training %": 100 * trained / (trained + waited),
        "database busy %": 100 * database.busy / (DATABASE_CONNECTIONS * end),
        "MLflow busy %": 100 * mlflow.busy / (MLFLOW_WORKERS * tracked),
        "MLflow behind s": tracked - end,
    }


def print_table(rows: list[dict[str, object]]) -> None:
    """Rows as a Markdown table."""
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" * len(rows[0]) + "|")
    for row in rows:
        cells = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row.values()]
        print("| " + " | ".join(cells) + " |")
    print()


def storages(server, folder: Path) -> Iterator[tuple[str, Callable[[], object], str | None]]:
    """Name, Optuna storage, and the queue's URL where it can have one."""
    from lossfleet.sweeps.search.shared_study import open_shared_storage
    from lossfleet.sweeps.search.study import open_storage

    sqlite, postgres = f"sqlite:///{folder / 'shared.db'}", server.url("scaling")
    yield "journal file", lambda: open_storage(folder / "optuna.journal"), None
    yield "SQLite", lambda: open_shared_storage(sqlite), sqlite
    yield "PostgreSQL", lambda: open_shared_storage(postgres), postgres


def main() -> None:
    """Measure, simulate, print."""
    from postgres import postgres_server
    from shared_sweeps import mlflow_server

    with tempfile.TemporaryDirectory() as name, postgres_server(durable=True) as server:
        folder = Path(name)
        os.chdir(folder)
        calls: list[dict[str, object]] = []
        for storage, make_storage, url in storages(server, folder):
            costs = {
                f"{call} of {trials}": cost
                for trials in (100, 1000)
                for call, cost in optuna_costs(make_storage, trials).items()
            }
            queue = queue_costs(url) if url else {}
            calls.append({"ms": storage, **costs, **queue})
            if not queue:
                calls[-1] |= dict.fromkeys(("claim", "record", "hand in", "heartbeat"), "")
        print_table(calls)
        with mlflow_server(server.url("mlflow"), folder) as address:
            runs = {
                "SQLite, inserted directly": mlflow_costs(f"sqlite:///{folder / 'mlflow.db'}"),
                "server over PostgreSQL": mlflow_costs(address),
            }
        print_table([{"MLflow": way, "ms a run": cost} for way, cost in runs.items()])
        postgres = calls[-1]
        # A trial: its task, ask, ten reports, three replicates and itself, tell, task.
        database_ms = sum(
            times * float(str(postgres[call]))
            for call, times in {
                "claim": 1,
                "ask of 100": 1,
                "report of 100": 10,
                "record": RUNS_A_TRIAL,
                "tell of 100": 1,
                "hand in": 1,
            }.items()
        )
        print(f"{database_ms:.0f} ms of database a trial\n")
        print_table(
            [
                {"workers": workers, "seconds a trial": seconds}
                | simulate(workers, seconds, database_ms, runs["server over PostgreSQL"])
                for seconds in (1, 10, 100)
                for workers in (1, 10, 100, 1000)
            ]
        )


if __name__ == "__main__":
    main()
