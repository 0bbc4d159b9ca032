"""Workers on one PostgreSQL: what the queue promises, and whole sweeps with a worker killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time

import pytest
from postgres import Postgres, postgres_server
from shared_sweeps import FAST, SMALL, check_complete, command, results, run, wait_for
from sweep_records import start, trial

from lossfleet.runners.cluster.tables import END, GONE, OPEN, WHOLE, Task, key_of
from lossfleet.runners.cluster.work_queue import Count, WorkQueue
from lossfleet.runners.records import Journal
from lossfleet.sweeps.cluster.worker import Watch
from lossfleet.sweeps.commands.cli import main

KILL_SEED = int(os.environ.get("LOSSFLEET_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
TASKS = [Task("ce", "search", number) for number in range(23)]


@pytest.fixture(scope="module")
def server():
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request, server: Postgres, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/queue.db"
    return server.url(f"queue_{abs(hash(str(tmp_path)))}")


@pytest.fixture
def queue(url) -> WorkQueue:
    queue = WorkQueue(url, "first", create=True)
    queue.add(TASKS)
    return queue


def test_each_task_goes_to_one_worker_however_many_ask_at_once(queue, url):
    taken: list[Task] = []

    def take() -> None:
        own = WorkQueue(url, "first")
        worker = own.workers.join()
        while (task := own.claim(worker, "ce", "search")) is not None:
            taken.append(task)

    threads = [threading.Thread(target=take) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == TASKS


def test_tasks_are_added_once_and_count_by_their_state(queue):
    queue.add([*TASKS, END])
    worker = queue.workers.join()
    first, second = queue.claim(worker, "ce", "search"), queue.claim(worker, "ce", "search")
    assert (first, second) == (TASKS[0], TASKS[1])
    assert queue.finish(worker, first, tracked=False)
    assert queue.finish(worker, second, tracked=True)
    assert queue.counts() == {("ce", "search"): Count(23, 2, 1), END[:2]: Count(1, 0, 0)}
    assert queue.untracked(worker) == [first]
    queue.withdraw("ce", "search")
    assert queue.counts()["ce", "search"] == Count(2, 2, 1)


def test_what_the_gone_held_is_free_and_what_they_did_is_done(queue):
    gone, other = queue.workers.join(), queue.workers.join()
    done, held = queue.claim(gone, "ce", "search"), queue.claim(gone, "ce", "search")
    queue.finish(gone, done, tracked=False)
    assert not queue.adopt(other)
    queue.leave(gone)
    assert queue.adopt(other)
    assert queue.untracked(other) == [done]
    assert queue.claim(other, "ce", "search") == held


def test_a_worker_that_expired_gets_no_tasks_and_hands_in_none(queue):
    silent, other = queue.workers.join(), queue.workers.join()
    held = queue.claim(silent, "ce", "search")
    queue.workers.expire(silent, queue.workers.heartbeats()[silent])
    queue.free_tasks_of_the_gone()
    assert not queue.workers.heartbeat(silent)
    assert queue.claim(silent, "ce", "search") is None
    assert queue.claim(other, "ce", "search") == held
    assert not queue.finish(silent, held, tracked=True)


def test_a_heartbeat_keeps_a_worker_that_was_about_to_expire(queue):
    worker = queue.workers.join()
    seen = queue.workers.heartbeats()[worker]
    assert queue.workers.heartbeat(worker)
    queue.workers.expire(worker, seen)
    assert queue.workers.is_alive(worker)


def test_the_watch_lets_the_silent_alone_expire(queue, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    silent, living = queue.workers.join(), queue.workers.join()
    watch = Watch(queue, patience=6)
    for second in range(8):
        clock[0] = float(second)
        queue.workers.heartbeat(living)
        watch.look()
        assert queue.workers.is_alive(silent) == (second <= 6)
    assert queue.workers.is_alive(living)


def test_the_first_record_of_a_key_stands(queue):
    queue.records.append(start())
    for record in trial("ce", 3, level=0.8):
        queue.records.append(record)
    for record in trial("ce", 3, level=0.1):
        queue.records.append(record)
    assert queue.records.read() == [start(), *trial("ce", 3, level=0.8)]
    assert queue.records.read(OPEN) == [start()]
    assert set(queue.records.ended_trials()) == {Task("ce", "search", 3)}
    assert queue.records.ended_trials({Task("ce", "search", 3)}) == {}
    assert [key_of(record)[-1] for record in queue.records.read(Task("ce", "search", 3))] == [0, 1, 2, WHOLE]


def test_sweeps_in_one_database_do_not_see_each_other(queue, url):
    other = WorkQueue(url, "second")
    assert other.records.sweeps() == []
    other.records.append(start("second"))
    worker = other.workers.join()
    assert other.records.sweeps() == ["second"]
    assert other.claim(worker, "ce", "search") is None
    assert queue.records.read() == []
    assert queue.workers.heartbeats() == {}


def test_putting_up_a_sweep_again_adds_only_what_is_new_and_stores_no_password(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = server.url("again").replace("sweeps@", "sweeps:secret@")
    sweep = ("sweep", *SMALL, "engine=workers", f"engine.storage={storage}")
    counts = []
    for trials in (4, 4, 6):
        assert main([*sweep, f"budget.trials={trials}"]) == 0
        counts.append(WorkQueue(storage, "small").counts())
    assert counts[0] == counts[1]
    assert counts[2]["ce", "search"] == Count(6)
    assert counts[2][END[:2]] == counts[2][OPEN[:2]] == Count(1)
    (record,) = WorkQueue(storage, "small").records.read(OPEN)
    assert "secret" not in str(record)
    assert "sweeps:***@127.0.0.1" in record.config["studies"]["ce"]["engine"]["storage"]
    assert main([*sweep, "batch_size=20"]) == 2


def test_two_workers_one_killed_midway_complete_the_sweep_of_one_machine(server, tmp_path):
    print(f"LOSSFLEET_KILL_SEED={KILL_SEED}")
    storage, uri = server.url("workers"), f"sqlite:///{tmp_path / 'mlflow.db'}"
    alone = tmp_path / "alone"
    alone.mkdir()
    run(alone, "sweep", *SMALL)
    publish = ("engine=workers", f"engine.storage={storage}", FAST, f"tracking.uri={uri}")
    assert "lossfleet worker small" in run(tmp_path, "sweep", *SMALL, *publish)
    workers = [
        subprocess.Popen(
            command("worker", "small", "--storage", storage), cwd=tmp_path, stdout=log, stderr=log
        )
        for log in ((tmp_path / name).open("wb") for name in ("first.log", "second.log"))
    ]
    queue = WorkQueue(storage, "small")
    wait_for(
        lambda: len(queue.records.ended_trials()) > random.Random(KILL_SEED).randrange(6), "trials ended"
    )
    workers[0].send_signal(signal.SIGKILL)
    # The other one is silent for too long, as it seems; it goes on under a new name.
    names = {name for name in queue.workers.heartbeats() if f"-{workers[1].pid}-" in name}
    while names & queue.workers.heartbeats().keys():
        for name in names:
            queue.workers.expire(name, queue.workers.heartbeats().get(name, GONE))
    assert workers[1].wait(400) == 0, (tmp_path / "second.log").read_text()
    workers[0].wait(30)
    check_complete(storage, uri)
    assert results(queue.records.read()) == results(Journal(alone / "studies/small/records.jsonl").read())
    # A worker that comes late has nothing to do.
    assert "small is complete" in run(tmp_path, "worker", "small", "--storage", storage)
