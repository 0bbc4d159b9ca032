"""A sweep killed with -9 at any moment and run again loses nothing and does nothing twice.

LOSSFLEET_KILLS says how often (4; `make soak` 50), LOSSFLEET_KILL_SEED repeats the moments that were printed.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from whole_sweeps import (
    TINY,
    TINY_SIZE,
    check_complete,
    children,
    finished,
    is_running,
    kill,
    lines,
    results,
    run,
    start,
    succeed,
    table,
    wait_until,
)

KILLS = int(os.environ.get("LOSSFLEET_KILLS", "4"))
SEED = int(os.environ.get("LOSSFLEET_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KILLS_A_SWEEP = 2
# In the order in which a sweep comes to them.
PHASES = ("start-up", "ask", "training", "tell", "final evaluation", "logging")
STARTS = ("config.yaml", "records.jsonl", "tracking.log", "tracking.lock", "optuna.journal")


def deal(seed: int, kills: int) -> list[list[str]]:
    """The phases in which each sweep is killed; all phases come before one comes again."""
    dealer = random.Random(seed)
    phases: list[str] = []
    while len(phases) < kills:
        phases += dealer.sample(PHASES, len(PHASES))
    phases = phases[:kills]
    hands = [phases[first : first + KILLS_A_SWEEP] for first in range(0, kills, KILLS_A_SWEEP)]
    return [sorted(hand, key=PHASES.index) for hand in hands]


def count(folder: Path, phase: str) -> int:
    """How far a sweep has come in a phase."""
    if phase == "ask":
        return lines(folder, name="optuna.journal")
    if phase == "logging":
        try:
            with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True, timeout=0) as store:
                return store.execute("SELECT count(*) FROM runs").fetchone()[0]
        except sqlite3.Error:
            return 0
    kind = {
        "training": '"kind": "replicate"',
        "tell": '"kind": "trial"',
        "final evaluation": '"stage": "final"',
    }
    return lines(folder, kind[phase])


def strike(folder: Path, phase: str, chance: random.Random, settings: tuple[str, ...]) -> str | None:
    """Start the sweep and kill it in a phase, alone or with all its processes.

    Returns:
        What was done, or None where the sweep came to its end before.
    """
    process = start(folder, "sweep", *TINY, *settings)
    if phase == "start-up":
        moment = chance.choice(STARTS)
        wait_until(lambda: bool(list(folder.glob(f"studies/*/{moment}"))), process)
    else:
        goal = count(folder, phase) + chance.randint(1, 4)
        moment = f"{phase} {goal}"
        wait_until(lambda: count(folder, phase) >= goal, process)
    pause = chance.choice((0.0, chance.uniform(0, 0.05), chance.uniform(0, 0.5)))
    time.sleep(pause)
    victims = [process.pid]
    if chance.random() < 0.5:
        victims += [*children(process.pid, "running.processes"), *children(process.pid, "tracking.writer")]
    for victim in victims:
        kill(victim)
    _, errors = process.communicate()
    if process.returncode == 0:
        return None
    assert process.returncode == -signal.SIGKILL, errors
    return f"{phase} ({moment}, {pause:.3f} s later, {len(victims)} processes)"


@pytest.fixture(scope="module")
def reference_of(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of the same sweep, never interrupted, natively or in graphs."""

    @cache
    def folder_of(native: str) -> Path:
        folder = tmp_path_factory.mktemp("reference")
        succeed(folder, "sweep", *TINY, f"engine.native={native}")
        check_complete(folder, TINY_SIZE)
        return folder

    return folder_of


@pytest.mark.parametrize(("number", "phases"), list(enumerate(deal(SEED, KILLS))))
def test_a_killed_sweep_run_again_loses_and_doubles_nothing(number, phases, reference_of, tmp_path):
    # Both engines in turn, each in one process and in two.
    native, processes = ("on", "off")[number % 2], 1 + (number + number // 2) % 2
    reference, settings = reference_of(native), (f"engine.native={native}", f"fleet.processes={processes}")
    chance = random.Random(f"{SEED} {number}")
    folder, attempt = tmp_path / "0", 0
    folder.mkdir()
    kept: dict[tuple, tuple] = {}
    for phase in phases:
        while (what := strike(folder, phase, chance, settings)) is None:
            # It came to its end before; a sweep that starts anew has every phase before it.
            check_repeats(folder, reference, kept)
            attempt += 1
            folder, kept = tmp_path / str(attempt), {}
            folder.mkdir()
        now = finished(folder)
        print(
            f"killed, LOSSFLEET_KILL_SEED={SEED}: sweep {number}.{attempt}, {native}, {what}, {len(now)} finished"
        )
        assert {key: now[key] for key in kept} == kept
        kept = now
    succeed(folder, "sweep", *TINY, *settings)
    check_repeats(folder, reference, kept)


def check_repeats(folder: Path, reference: Path, kept: dict[tuple, tuple]) -> None:
    """The sweep is complete, has what it had before, and found what the undisturbed one has found."""
    check_complete(folder, TINY_SIZE)
    after = results(folder)
    assert {key: after[key] for key in kept} == kept
    assert table(folder) == table(reference)
    for key, (state, value, params) in results(reference).items():
        if len(key) == 3:
            assert after[key] == (state, pytest.approx(value, abs=1e-6), params)


def trainers(process: subprocess.Popen[str]) -> list[int]:
    """The two processes that train, once both are at work."""
    assert wait_until(lambda: len(children(process.pid, "running.processes")) == 2, process)
    return children(process.pid, "running.processes")


def test_a_trainer_that_is_killed_is_replaced(reference_of, tmp_path):
    process = start(tmp_path, "sweep", *TINY, "fleet.processes=2")
    first = trainers(process)
    assert wait_until(lambda: lines(tmp_path, '"kind": "trial"') > 1, process)
    kill(first[0])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "the process that trains ce ended with code -9; another one goes on in its place" in errors
    check_complete(tmp_path, TINY_SIZE)
    assert table(tmp_path) == table(reference_of("on"))


def test_a_trainer_that_is_killed_again_ends_the_sweep_and_the_next_run_completes_it(tmp_path):
    process = start(tmp_path, "sweep", *TINY, "fleet.processes=2")
    first = trainers(process)
    kill(first[0])
    assert wait_until(lambda: set(children(process.pid, "running.processes")) - set(first), process)
    (second,) = set(children(process.pid, "running.processes")) - set(first)
    kill(second)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "lossfleet: error: the process that trains ce ended with code -9, 2 times" in errors
    assert "Traceback" not in errors
    assert not any(is_running(pid) for pid in (*first, second))
    done = run(tmp_path, "sweep", *TINY)
    assert done.returncode == 0, done.stderr
    check_complete(tmp_path, TINY_SIZE)
