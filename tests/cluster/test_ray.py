"""Sweeps on a Ray cluster of two nodes, with PostgreSQL behind Optuna and MLflow; one node is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest
from neighbours import LOSSFLEET, folder_with
from postgres import postgres_server
from shared_sweeps import FAST, SMALL, check_complete, mlflow_server, run, wait_for

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
        head_node_args={"num_cpus": 1, "include_dashboard": False},
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


def heartbeats_of(queue: WorkQueue, driver: subprocess.Popen) -> dict[str, int]:
    """The living workers, once the driver has put the sweep up."""
    assert driver.poll() is None, driver.stderr.read()
    return queue.workers.heartbeats() if "small" in queue.records.sweeps() else {}


def test_a_sweep_on_two_nodes_outlives_one_node_and_the_driver(cluster, tmp_path):
    print(f"LOSSFLEET_KILL_SEED={KILL_SEED}")
    ray_cluster, node = cluster
    with postgres_server() as server, mlflow_server(server.url("mlflow"), tmp_path) as uri:
        storage = server.url("optuna")
        places = (f"engine.address={ray_cluster.address}", f"engine.storage={storage}", f"tracking.uri={uri}")
        # In graphs and for many epochs, so that it lasts until both workers have come.
        long = ("budget.epochs=400", "engine.native=off")
        sweep = ("sweep", *SMALL, FAST, "engine=ray", *long, *places)
        folder = folder_with(tmp_path / "user")
        driver = subprocess.Popen([LOSSFLEET, *sweep], cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            queue = WorkQueue(storage, "small", create=True)
            wait_for(lambda: len(heartbeats_of(queue, driver)) == 2, "two workers")
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
