"""Sweeps on a Ray cluster of two nodes, with PostgreSQL behind Optuna and MLflow; one node is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mlflow_servers import mlflow_server
from neighbours import LOSSFLEET, folder_with
from postgres import postgres_server
from shared_sweeps import FAST, SMALL, check_complete, run, wait_for
from sqlalchemy import create_engine, text

from lossfleet.runners.cluster.work_queue import WorkQueue
from lossfleet.sweeps.cluster.worker import is_complete

KILL_SEED = int(os.environ.get("LOSSFLEET_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes with a CPU each; the second is the one that may be killed."""
    if not os.environ.get("CI"):
        pytest.importorskip("ray")
    # Ray puts the address of the network card for 127.0.0.1, unless it is told that it has one machine.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            # Else its workers wait for all that other tests do.
            "_system_config": {"worker_niceness": 0},
        },
    )
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster, node
    cluster.shutdown()


def kill_machine(node) -> None:
    """End all processes of a node at once, as a power cut would."""
    import psutil

    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    processes = [raylet, *raylet.children(recursive=True)]
    # Stopped first, so that none sees another's end.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            if process.is_running():
                process.send_signal(number)


def published(queue: WorkQueue, driver: subprocess.Popen) -> bool:
    """Whether the driver has put up what there is to do."""
    assert driver.poll() is None, driver.stderr.read()
    return bool(queue.counts())


@contextmanager
def tasks_held_back(storage: str) -> Iterator[None]:
    """Lock what a sweep has to do, as another worker that is just taking it would, so that nobody starts alone."""
    with create_engine(storage).begin() as connection:
        assert connection.execute(text("SELECT trial FROM lossfleet_tasks WHERE NOT done FOR UPDATE")).all()
        yield


def test_a_sweep_on_two_nodes_outlives_one_node_and_the_driver(cluster, tmp_path):
    print(f"LOSSFLEET_KILL_SEED={KILL_SEED}")
    ray_cluster, node = cluster
    with postgres_server() as server, mlflow_server(server.url("mlflow"), tmp_path) as uri:
        storage = server.url("optuna")
        places = (f"engine.address={ray_cluster.address}", f"engine.storage={storage}", f"tracking.uri={uri}")
        # In graphs and for many epochs, so that it outlasts the machine that is killed.
        long = ("budget.epochs=30", "engine.native=off")
        sweep = ("sweep", *SMALL, FAST, "engine=ray", *long, *places)
        folder = folder_with(tmp_path / "user")
        driver = subprocess.Popen([LOSSFLEET, *sweep], cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            queue = WorkQueue(storage, "small", create=True)
            wait_for(lambda: published(queue, driver), "the sweep in the database")
            with tasks_held_back(storage):
                wait_for(lambda: len(queue.workers.heartbeats()) == 2, "two workers")
            ended = random.Random(KILL_SEED).randrange(4)
            wait_for(lambda: len(queue.records.ended_trials()) > ended, f"more than {ended} trials ended")
            kill_machine(node)
        finally:
            driver.kill()
            driver.communicate()
        wait_for(
            lambda: is_complete(queue) and not queue.workers.heartbeats(),
            "the end of the sweep without its driver",
        )
        check_complete(storage, uri)
        assert "test balanced accuracy" in " ".join(run(tmp_path, *sweep).split())
        check_complete(storage, uri)


def test_without_ray_the_error_names_the_extra(monkeypatch, capsys):
    from lossfleet.sweeps.commands.cli import main

    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", "engine=ray", "data=wine"]) == 2
    assert "pip install 'lossfleet[ray]'" in capsys.readouterr().err
