"""What the stores of a shared sweep cost a call, and what that means for many workers.

First the calls are measured on this machine, then a simulation of events uses the medians: workers that end a
trial every so many seconds share one database, and their keepers one MLflow server.
"""

from __future__ import annotations

import heapq
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.measure import Report, fresh_folder, median

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from lossfleet.sweeps.planning.plan import Plan

# The helpers of the tests start PostgreSQL and MLflow and make records up.
sys.path.insert(0, str(Path(__file__).parent.parent))

REPEATS = 30
REPLICATES = 3
# What one trial with three replicates writes: itself and its replicates.
RUNS_A_TRIAL = 1 + REPLICATES
# Commits that PostgreSQL takes at the same time, and the worker processes of MLflow's server.
DATABASE_CONNECTIONS, MLFLOW_WORKERS = 4, 4
SIMULATED_TRIALS = 20


def run(quick: bool) -> list[Report]:
    """Measure, then simulate with what was measured."""
    from mlflow_servers import mlflow_server
    from postgres import postgres_server

    sizes, repeats = ((4,), 2) if quick else ((100, 1000), REPEATS)
    with fresh_folder() as folder, postgres_server(durable=True) as server:
        calls = {
            name: store_costs(make_storage, url, sizes, repeats)
            for name, make_storage, url in storages(server, folder)
        }
        with mlflow_server(server.url("mlflow"), folder) as address:
            runs = {
                "SQLite, inserted directly": mlflow_costs(f"sqlite:///{folder / 'mlflow.db'}", repeats),
                "server over PostgreSQL": mlflow_costs(address, repeats),
            }
    postgres = calls["PostgreSQL"]
    # A trial: its task, ask, ten reports, three replicates and itself, tell, task.
    database_ms = (
        postgres["claim"]
        + postgres[f"ask of {sizes[0]}"]
        + 10 * postgres[f"report of {sizes[0]}"]
        + RUNS_A_TRIAL * postgres["record"]
        + postgres[f"tell of {sizes[0]}"]
        + postgres["hand in"]
    )
    mlflow_ms = runs["server over PostgreSQL"]
    simulated = [
        {"workers": workers, "seconds a trial": seconds} | simulate(workers, seconds, database_ms, mlflow_ms)
        for seconds in (1, 10, 100)
        for workers in ((1, 10) if quick else (1, 10, 100, 1000))
    ]
    return [
        Report(
            "Stores: ms a call",
            [{"store": name} | {call: costs.get(call) for call in postgres} for name, costs in calls.items()],
            (f"Medians of at most {repeats} calls; ask, report and tell in studies of so many trials, TPE.",),
        ),
        Report(
            "Stores: ms a run in MLflow",
            [{"MLflow": way, "ms a run": cost} for way, cost in runs.items()],
            ("A trial and its replicates, with params and curves.",),
        ),
        Report(
            "Scaling: workers that share the stores, simulated",
            simulated,
            (
                f"{database_ms:.0f} ms of database a trial, {DATABASE_CONNECTIONS} connections at a time, "
                f"an MLflow server with {MLFLOW_WORKERS} processes, {SIMULATED_TRIALS} trials a worker.",
            ),
        ),
    ]


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """The median duration of a call in milliseconds, after one that does not count."""
    call()
    durations = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        durations.append(1000 * (time.perf_counter() - started))
    return median(durations)


def plan(trials: int) -> Plan:
    """A study of two strategies with as many trials."""
    from lossfleet.sweeps.planning.compose import run_sweeper

    plans: list[Plan] = []
    run_sweeper(["data=wine", "strategy=focal", "search=tpe", f"budget.trials={trials}"], plans.append)
    return plans[0]


def storages(server: Any, folder: Path) -> Iterator[tuple[str, Callable[[], BaseStorage], str | None]]:
    """Name, Optuna storage, and the queue's URL where it can have one."""
    from lossfleet.sweeps.search.shared_study import open_shared_storage
    from lossfleet.sweeps.search.study import open_storage

    sqlite, postgres = f"sqlite:///{folder / 'shared.db'}", server.url("scaling")
    yield "journal file", lambda: open_storage(folder / "optuna.journal"), None
    yield "SQLite", lambda: open_shared_storage(sqlite), sqlite
    yield "PostgreSQL", lambda: open_shared_storage(postgres), postgres


def store_costs(
    make_storage: Callable[[], BaseStorage], url: str | None, sizes: tuple[int, ...], repeats: int
) -> dict[str, float]:
    """Milliseconds of every call to a store, those of Optuna in studies of these numbers of trials."""
    costs = {
        f"{call} of {trials}": cost
        for trials in sizes
        for call, cost in optuna_costs(make_storage, trials, repeats).items()
    }
    return costs | (queue_costs(url, repeats) if url else {})


def optuna_costs(make_storage: Callable[[], BaseStorage], trials: int, repeats: int) -> dict[str, float]:
    """Milliseconds of ask (all values of focal, TPE), of a report at a rung, and of tell, in a study this long."""
    from lossfleet.sweeps.search.shared_study import SharedSearch
    from lossfleet.sweeps.search.study import Asked

    search = SharedSearch(plan(trials).studies[0], make_storage(), f"scaling{trials}")
    search.prepare()
    numbers = iter(range(trials))
    asked: list[Asked] = []
    reported = iter(range(1, trials))

    def tell() -> None:
        search.tell(asked.pop().number, "COMPLETE", 0.5)

    repeats = min(repeats, trials // 2)
    return {
        "ask": median_ms(lambda: asked.append(search.ask_for(next(numbers))), repeats),
        "report": median_ms(lambda: asked[0].trial.report(0.5, next(reported)), repeats),
        "tell": median_ms(tell, repeats),
    }


def queue_costs(url: str, repeats: int) -> dict[str, float]:
    """Milliseconds of claiming a task, storing a record, handing in, and of a heartbeat."""
    from sweep_records import trial

    from lossfleet.runners.cluster.tables import Task
    from lossfleet.runners.cluster.work_queue import WorkQueue

    queue = WorkQueue(url, "first", create=True)
    queue.add(Task("ce", "search", number) for number in range(10 * repeats))
    worker = queue.workers.join()
    held: list[Task] = []
    records = iter([record for number in range(repeats) for record in trial("ce", number)])

    def claim() -> None:
        task = queue.claim(worker, "ce", "search")
        assert task is not None
        held.append(task)

    return {
        "claim": median_ms(claim, repeats),
        "record": median_ms(lambda: queue.records.append(next(records)), repeats),
        "hand in": median_ms(lambda: queue.finish(worker, held.pop(), tracked=False), repeats),
        "heartbeat": median_ms(lambda: queue.workers.heartbeat(worker), repeats),
    }


def mlflow_costs(uri: str, repeats: int) -> float:
    """Milliseconds of a run with its params and curves."""
    from sweep_records import start, trial

    from lossfleet.runners.tracking.runs import RunTree
    from lossfleet.runners.tracking.tracker import Tracker

    tracker = Tracker(uri, "scaling", start())
    tracker.open_sweep(start())
    tree = RunTree()
    tree.add([start()])
    trials = iter(range(1000))
    write = median_ms(lambda: tracker.write(tree.add(trial("focal", next(trials)))), min(10, repeats))
    return write / RUNS_A_TRIAL


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
