"""Real MLflow servers on ports of their own."""

from __future__ import annotations

import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forks import ForkedCommand
from postgres import free_port


class MlflowServer:
    """A server over a store, that can be stopped and started again."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store, self.folder, self.port = store, folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1")
        stores = (
            "--backend-store-uri",
            self.store,
            "--artifacts-destination",
            str(self.folder / "artifacts"),
        )
        self.process = ForkedCommand(("server", *place, *stores), self.folder, module="mlflow")
        while not answers(f"{self.uri}/health"):
            assert self.process.poll() is None, self.process.errors.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        self.process.end(signal.SIGKILL)


@contextmanager
def mlflow_server(store: str, folder: Path) -> Iterator[str]:
    """A server as long as it is needed; gives its address."""
    server = MlflowServer(store, folder)
    server.start()
    try:
        yield server.uri
    finally:
        server.stop()


def answers(address: str) -> bool:
    """Whether a server is there."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True
