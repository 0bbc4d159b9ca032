"""The commands in a folder of a user whose own files have the names of ours, and of what we import."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient
from neighbours import LOSSFLEET, OURS, folder_with
from postgres import free_port
from whole_sweeps import with_store

from lossfleet.runners.records import Journal, ReferenceRecord, ReplicateRecord, TrialRecord

SWEEP = (
    *("sweep", "experiment=quick", "strategy=ce,focal", "references=[logistic]", "name=small"),
    *("budget.trials=2", "budget.epochs=2", "budget.rungs=1", "keep=none"),
)


def run(folder: Path, *arguments: str, **environment: str) -> str:
    """Run the installed command in the folder; returns what it printed."""
    done = subprocess.run(
        [LOSSFLEET, *arguments],
        cwd=with_store(folder),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_runs(folder: Path) -> None:
    """MLflow has a run for the sweep and for each of its trials, references and replicates."""
    records = Journal(folder / "studies/small/records.jsonl").read()
    ended = [record for record in records if isinstance(record, TrialRecord | ReplicateRecord)]
    assert len(ended) > 10
    (reference,) = [record for record in records if isinstance(record, ReferenceRecord)]
    assert runs_in(folder) == 1 + len(ended) + 1 + len(reference.replicates)


def runs_in(folder: Path) -> int:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [each.experiment_id for each in client.search_experiments()]
    return len(client.search_runs(experiments, max_results=1000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with such files, in which a sweep was run."""
    folder = folder_with(tmp_path_factory.mktemp("user"))
    run(folder, *SWEEP, "fleet.processes=2")
    return folder


def test_a_sweep_has_its_runs_in_mlflow(folder):
    check_runs(folder)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--help",), "usage: lossfleet"),
        (("train", "data=wine", "budget.epochs=2", "budget.rungs=2"), "recall of"),
        (("compare",), "test balanced"),
        (("plot", "losses"), "losses.png"),
        (("sync",), "small: nothing to send"),
    ],
)
def test_a_command_works(folder, arguments, printed):
    assert printed in run(folder, *arguments)


def test_the_ui_is_served(folder):
    port = str(free_port())
    server = subprocess.Popen(
        [LOSSFLEET, "ui", "--port", port],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert answers_within(60, f"http://127.0.0.1:{port}/health", server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def answers_within(seconds: float, address: str, server: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return True
    return False


def test_a_worker_trains_a_shared_sweep(tmp_path):
    folder = folder_with(tmp_path)
    small = ("data=wine", "strategy=ce", "budget.trials=2", "budget.replicates=1", "budget.epochs=2")
    small += ("budget.rungs=1", "budget.final_replicates=2", "name=shared", "engine=workers")
    storage = f"sqlite:///{folder / 'shared.db'}"
    run(folder, "sweep", *small, f"engine.storage={storage}")
    run(folder, "worker", "shared", "--storage", storage)
    # The sweep, two trials, a replicate each, the final evaluation with two.
    assert runs_in(folder) == 1 + 2 + 2 + 1 + 2


def test_the_folder_may_be_on_pythons_path(tmp_path):
    """There it hides what we import, as the user says, but not what is ours."""
    folder = folder_with(tmp_path, OURS)
    run(folder, *SWEEP, PYTHONPATH=".")
    check_runs(folder)
