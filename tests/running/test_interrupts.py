"""Ctrl-C and SIGTERM end a sweep within seconds, wherever it is, and it says how to go on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from whole_sweeps import (
    TINY,
    TINY_SIZE,
    check_complete,
    children,
    is_running,
    launch,
    lines,
    mlflow_runs,
    run,
    start,
    wait_until,
)

from lossfleet.runners.records import EndRecord, Journal

# More than have ended when a signal comes, also on a busy machine.
TRIALS = 200


@pytest.mark.parametrize(
    ("number", "processes", "moment"),
    [(signal.SIGINT, 1, "training"), (signal.SIGTERM, 2, "training"), (signal.SIGINT, 2, "import")],
)
def test_a_signal_ends_a_sweep_cleanly(number, processes, moment, tmp_path):
    arguments = ("sweep", *TINY, f"fleet.processes={processes}", f"budget.trials={TRIALS}")
    process = start(tmp_path, *arguments)
    wanted = {
        "training": lambda: lines(tmp_path, '"kind": "trial"') > 3,
        "import": lambda: bool(children(process.pid, "tracking.writer")),
    }
    assert wait_until(wanted[moment], process)
    # On a busy machine trials may end before the writer has begun.
    assert wait_until(wanted["import"], process)
    started = [*children(process.pid, "running.processes"), process.pid]
    (writer,) = children(process.pid, "tracking.writer")
    # As a terminal does: to all processes of the group.
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert errors.endswith(f"this continues: {shlex.join(('lossfleet', *arguments))}\n")
    assert wait_until(lambda: not any(is_running(pid) for pid in started))
    end = Journal(tmp_path / "studies" / "tiny" / "records.jsonl").read()[-1]
    assert isinstance(end, EndRecord)
    assert end.state == "KILLED"
    assert wait_until(lambda: not is_running(writer))
    statuses = {
        r.data.tags["lossfleet.kind"]: r.info.status for r in mlflow_runs(f"sqlite:///{tmp_path}/mlflow.db")
    }
    assert statuses["sweep"] == "KILLED"
    assert "RUNNING" not in statuses.values()
    if moment == "import":
        # As it says.
        done = run(tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        check_complete(tmp_path, replace(TINY_SIZE, trials=TRIALS))


@pytest.mark.parametrize("count", [1, 2])
def test_signals_during_the_import_of_mindspore_end_a_sweep(count, tmp_path):
    # So long that it cannot end by itself where an import swallows the interrupt, and the watcher has to end it.
    arguments = ("sweep", *TINY, "budget.trials=200", "fleet.processes=1", "tracking.enabled=false")
    process = launch(tmp_path, *arguments)
    maps = Path(f"/proc/{process.pid}/maps")
    assert wait_until(lambda: "libmindspore_core" in maps.read_text(), process)
    for _ in range(count):
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(0.1)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert errors.splitlines()[-1].startswith("lossfleet: interrupted by SIGTERM from process ")


def script(body: str) -> subprocess.Popen[str]:
    """A process in which a command of ours runs the body, having said that it has begun."""
    code = f"""
        import signal, sys, threading
        from lossfleet.sweeps.commands import cli
        from lossfleet.sweeps.commands import run as commands
        def sweep(overrides, **options):
            print("begun", flush=True)
            {body}
        commands.sweep = sweep
        sys.exit(cli.main(["sweep", "--fresh", "data=wine", "loss.gamma=interval(0,5)"]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "body",
    [
        "threading.Event().wait(600)",
        # As MindSpore does: a handler that Python does not know.
        "import ctypes; ctypes.CDLL(None).signal(2, None); threading.Event().wait(600)",
        # A main thread that hears nothing, like one that compiles a graph.
        "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    ],
    ids=["waiting", "handler replaced", "hanging"],
)
def test_a_signal_ends_a_process_that(body, number):
    process = script(body)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors.count("\n") == 1
    # Not with --fresh, which would start anew.
    assert errors.endswith("this continues: lossfleet sweep data=wine 'loss.gamma=interval(0,5)'\n")


def test_a_second_signal_ends_a_process_at_once():
    process = script("lock = threading.Lock(); lock.acquire(); lock.acquire()")
    # What has begun is some instructions away from hanging: a signal before that would end it in order.
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_what_is_uninterrupted_ends_before_the_interrupt_is_heard():
    process = script(
        "import time\n"
        "            from lossfleet.sweeps.running.interrupts import uninterrupted\n"
        "            with uninterrupted():\n"
        "                print('inside', flush=True)\n"
        "                time.sleep(1)\n"
        "                print('done', flush=True)\n"
        "            print('not reached', flush=True)"
    )
    assert process.stdout.readline() == "inside\n"
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=30)
    assert printed == "done\n"
    assert process.returncode == 130
