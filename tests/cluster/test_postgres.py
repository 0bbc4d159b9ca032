"""Workers on one PostgreSQL: what the ledger promises, and whole sweeps with a worker killed."""

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

from lossfleet.runners.cluster.ledger import END, GONE, OPEN, WHOLE, Count, Ledger, Ticket, key_of
from lossfleet.runners.records import Journal
from lossfleet.sweeps.cluster.worker import Watch
from lossfleet.sweeps.commands.cli import main

KILL_SEED = int(os.environ.get("LOSSFLEET_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
TICKETS = [Ticket("ce", "search", number) for number in range(23)]


@pytest.fixture(scope="module")
def server():
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request, server: Postgres, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return server.url(f"ledger_{abs(hash(str(tmp_path)))}")


@pytest.fixture
def ledger(url) -> Ledger:
    ledger = Ledger(url, "first", create=True)
    ledger.issue(TICKETS)
    return ledger


def test_each_ticket_goes_to_one_worker_however_many_ask_at_once(ledger, url):
    taken: list[Ticket] = []

    def take() -> None:
        own = Ledger(url, "first")
        worker = own.join()
        while (ticket := own.claim(worker, "ce", "search")) is not None:
            taken.append(ticket)

    threads = [threading.Thread(target=take) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == TICKETS


def test_tickets_are_issued_once_and_count_by_their_state(ledger):
    ledger.issue([*TICKETS, END])
    worker = ledger.join()
    first, second = ledger.claim(worker, "ce", "search"), ledger.claim(worker, "ce", "search")
    assert (first, second) == (TICKETS[0], TICKETS[1])
    assert ledger.finish(worker, first, tracked=False)
    assert ledger.finish(worker, second, tracked=True)
    assert ledger.counts() == {("ce", "search"): Count(23, 2, 1), END[:2]: Count(1, 0, 0)}
    assert ledger.untracked(worker) == [first]
    ledger.withdraw("ce", "search")
    assert ledger.counts()["ce", "search"] == Count(2, 2, 1)


def test_what_the_gone_held_is_free_and_what_they_did_is_done(ledger):
    gone, other = ledger.join(), ledger.join()
    done, held = ledger.claim(gone, "ce", "search"), ledger.claim(gone, "ce", "search")
    ledger.finish(gone, done, tracked=False)
    assert not ledger.adopt(other)
    ledger.leave(gone)
    assert ledger.adopt(other)
    assert ledger.untracked(other) == [done]
    assert ledger.claim(other, "ce", "search") == held


def test_a_worker_given_up_gets_no_tickets_and_hands_in_none(ledger):
    silent, other = ledger.join(), ledger.join()
    held = ledger.claim(silent, "ce", "search")
    ledger.give_up(silent, ledger.beats()[silent])
    ledger.free_tickets_of_the_gone()
    assert not ledger.beat(silent)
    assert ledger.claim(silent, "ce", "search") is None
    assert ledger.claim(other, "ce", "search") == held
    assert not ledger.finish(silent, held, tracked=True)


def test_a_sign_of_life_keeps_a_worker_that_was_about_to_be_given_up(ledger):
    worker = ledger.join()
    seen = ledger.beats()[worker]
    assert ledger.beat(worker)
    ledger.give_up(worker, seen)
    assert ledger.is_living(worker)


def test_the_watch_gives_up_the_silent_alone(ledger, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    silent, living = ledger.join(), ledger.join()
    watch = Watch(ledger, patience=6)
    for second in range(8):
        clock[0] = float(second)
        ledger.beat(living)
        watch.look()
        assert ledger.is_living(silent) == (second <= 6)
    assert ledger.is_living(living)


def test_the_first_record_of_a_key_stands(ledger):
    ledger.append(start())
    for record in trial("ce", 3, level=0.8):
        ledger.append(record)
    for record in trial("ce", 3, level=0.1):
        ledger.append(record)
    assert ledger.read() == [start(), *trial("ce", 3, level=0.8)]
    assert ledger.read(OPEN) == [start()]
    assert set(ledger.ended_trials()) == {Ticket("ce", "search", 3)}
    assert ledger.ended_trials({Ticket("ce", "search", 3)}) == {}
    assert [key_of(record)[-1] for record in ledger.read(Ticket("ce", "search", 3))] == [0, 1, 2, WHOLE]


def test_sweeps_in_one_database_do_not_see_each_other(ledger, url):
    other = Ledger(url, "second")
    assert other.sweeps() == []
    other.append(start("second"))
    worker = other.join()
    assert other.sweeps() == ["second"]
    assert other.claim(worker, "ce", "search") is None
    assert ledger.read() == []
    assert ledger.beats() == {}


def test_putting_up_a_sweep_again_adds_only_what_is_new_and_stores_no_password(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = server.url("again").replace("sweeps@", "sweeps:secret@")
    sweep = ("sweep", *SMALL, "engine=workers", f"engine.storage={storage}")
    counts = []
    for trials in (4, 4, 6):
        assert main([*sweep, f"budget.trials={trials}"]) == 0
        counts.append(Ledger(storage, "small").counts())
    assert counts[0] == counts[1]
    assert counts[2]["ce", "search"] == Count(6)
    assert counts[2][END[:2]] == counts[2][OPEN[:2]] == Count(1)
    (record,) = Ledger(storage, "small").read(OPEN)
    assert "secret" not in str(record)
    assert "sweeps:***@127.0.0.1" in record.config["studies"]["ce"]["engine"]["storage"]
    assert main([*sweep, "batch_size=20"]) == 2


def test_two_workers_one_killed_midway_complete_the_sweep_of_one_machine(server, tmp_path):
    print(f"LOSSFLEET_KILL_SEED={KILL_SEED}")
    storage, uri = server.url("workers"), f"sqlite:///{tmp_path / 'mlflow.db'}"
    alone = tmp_path / "alone"
    alone.mkdir()
    run(alone, "sweep", *SMALL)
    put_up = ("engine=workers", f"engine.storage={storage}", FAST, f"tracking.uri={uri}")
    assert "lossfleet worker small" in run(tmp_path, "sweep", *SMALL, *put_up)
    workers = [
        subprocess.Popen(
            command("worker", "small", "--storage", storage), cwd=tmp_path, stdout=log, stderr=log
        )
        for log in ((tmp_path / name).open("wb") for name in ("first.log", "second.log"))
    ]
    ledger = Ledger(storage, "small")
    wait_for(lambda: len(ledger.ended_trials()) > random.Random(KILL_SEED).randrange(6), "trials ended")
    workers[0].send_signal(signal.SIGKILL)
    # The other one is silent for too long, as it seems; it goes on under a new name.
    names = {name for name in ledger.beats() if f"-{workers[1].pid}-" in name}
    while names & ledger.beats().keys():
        for name in names:
            ledger.give_up(name, ledger.beats().get(name, GONE))
    assert workers[1].wait(400) == 0, (tmp_path / "second.log").read_text()
    workers[0].wait(30)
    check_complete(storage, uri)
    assert results(ledger.read()) == results(Journal(alone / "studies/small/records.jsonl").read())
    # A worker that comes late has nothing to do.
    assert "small is complete" in run(tmp_path, "worker", "small", "--storage", storage)
