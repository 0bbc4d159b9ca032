"""A tracking server that is away or slow, and a store whose disk is full: training goes on, nothing is lost."""

from __future__ import annotations

import resource
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from forks import start_server
from mlflow_servers import MlflowServer
from whole_sweeps import (
    TINY,
    TINY_SIZE,
    check_complete,
    children,
    is_running,
    lines,
    mlflow_runs,
    run,
    start,
    succeed,
    wait_until,
    with_store,
)

LATER = "'lossfleet sync tiny' sends the rest"


class Proxy:
    """Stands between a sweep and a server: away, or keeping every request waiting for so many seconds."""

    def __init__(self, port: int) -> None:
        self.port, self.seconds, self.is_away = port, 0.0, False
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            if self.is_away:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.carry, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.carry, args=(server, client, False), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket, slowly: bool) -> None:
        try:
            while piece := source.recv(65536):
                if slowly:
                    time.sleep(self.seconds)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture(scope="module")
def started(tmp_path_factory, template) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(template, folder / "server.db")
    server = MlflowServer(f"sqlite:///{folder / 'server.db'}", folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(started) -> MlflowServer:
    """The server, started again where a test before left it stopped."""
    if started.process.poll() is not None:
        started.start()
    return started


def test_a_server_that_goes_away_gets_everything_by_sync(server, tmp_path):
    # In graphs, which train for longer than the first runs need to come to MLflow.
    to_server = (f"tracking.uri={server.uri}", "engine.native=off")
    process = start(tmp_path, "sweep", *TINY, *to_server, "tracking.experiment=wine", "budget.trials=8")
    assert wait_until(lambda: bool(children(process.pid, "tracking.writer")), process)
    (writer,) = children(process.pid, "tracking.writer")
    assert wait_until(lambda: bool(mlflow_runs(server.uri)), process, pause=0.2)
    server.stop()
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "test balanced accuracy" in " ".join(printed.split())
    assert f"MLflow at {server.uri} does not have all runs of this sweep yet" in errors
    assert LATER in errors
    assert wait_until(lambda: not is_running(writer))
    away = run(tmp_path, "sync", "tiny")
    assert away.returncode == 1
    assert away.stderr.startswith(f"lossfleet: error: MLflow at {server.uri} did not take the runs of tiny (")
    assert "Traceback" not in away.stderr
    server.start()
    sent = succeed(tmp_path, "sync")
    assert sent.startswith("tiny: ")
    assert sent.endswith(f" runs sent to {server.uri}\n")
    size = type(TINY_SIZE)(strategies=2, trials=8, replicates=2, final=3)
    check_complete(tmp_path, size, server.uri)
    assert succeed(tmp_path, "sync", "tiny") == "tiny: nothing to send\n"
    check_complete(tmp_path, size, server.uri)


def test_a_server_that_comes_during_the_sweep_gets_everything(server, tmp_path):
    proxy = Proxy(server.port)
    proxy.is_away = True
    # Trained step by step in a graph, so that it takes longer than the writer takes to fail.
    late = (f"tracking.uri={proxy.uri}", "name=late", "budget.epochs=600", "engine.native=off")
    process = start(tmp_path, "sweep", *TINY, *late)
    # The writer has failed for some time, by its log.
    assert wait_until(lambda: lines(tmp_path, "Exception", name="tracking.log") > 0, process)
    proxy.is_away = False
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "sync" not in errors
    check_complete(tmp_path, TINY_SIZE, server.uri)


def test_a_slow_server_gets_everything_in_the_background(server, tmp_path):
    proxy = Proxy(server.port)
    proxy.seconds = 1.5
    process = start(tmp_path, "sweep", *TINY, f"tracking.uri={proxy.uri}", "name=slow")
    assert wait_until(lambda: len(children(process.pid, "tracking.writer")) == 1, process)
    (writer,) = children(process.pid, "tracking.writer")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "is being sent in the background" in errors
    assert "'lossfleet sync slow' sends the rest" in errors
    busy = run(tmp_path, "sync", "slow")
    assert busy.returncode == 2
    assert "the runs of slow are being sent to MLflow by another process" in busy.stderr
    proxy.seconds = 0.0
    assert wait_until(lambda: not is_running(writer))
    check_complete(tmp_path, TINY_SIZE, server.uri)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """What this process starts finds a full disk where a file grows beyond the size in bytes."""
    start_server()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_store_on_a_full_disk_gets_everything_by_sync(tmp_path):
    with_store(tmp_path)
    with largest_file((tmp_path / "mlflow.db").stat().st_size // 2):
        done = run(tmp_path, "sweep", *TINY)
    assert done.returncode == 0, done.stderr
    assert "MLflow at sqlite:///mlflow.db does not have all runs of this sweep yet" in done.stderr
    assert LATER in done.stderr
    assert mlflow_runs(f"sqlite:///{tmp_path / 'mlflow.db'}") == []
    sent = succeed(tmp_path, "sync")
    assert sent == f"tiny: {TINY_SIZE.runs - 1} runs sent to sqlite:///mlflow.db\n"
    check_complete(tmp_path, TINY_SIZE)


@pytest.mark.parametrize(("processes", "size"), [(1, 9_000), (2, 40_000)])
def test_a_journal_on_a_full_disk_stops_the_sweep_and_the_next_run_completes_it(processes, size, tmp_path):
    arguments = ("sweep", *TINY, f"fleet.processes={processes}")
    with_store(tmp_path)
    with largest_file(size):
        full = run(tmp_path, *arguments, "tracking.enabled=false")
    assert full.returncode == 1, full.stderr
    assert full.stderr.splitlines()[-1].startswith("lossfleet: error: studies/tiny cannot be written (")
    assert "the same command again continues" in full.stderr
    assert "Traceback" not in full.stderr
    succeed(tmp_path, *arguments)
    check_complete(tmp_path, TINY_SIZE)
