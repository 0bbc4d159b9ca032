"""A PostgreSQL server of its own for the tests, on 127.0.0.1."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def binaries() -> Path:
    """Where initdb and postgres are; Debian does not put them on the path."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        message = "PostgreSQL is not installed: make system"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A running server with the databases that were asked for."""

    def __init__(self, folder: Path, port: int, as_user: dict) -> None:
        self._folder, self._port, self._as_user = folder, port, as_user
        self._databases: set[str] = set()

    def url(self, database: str) -> str:
        """The URL of a database, which is made when it does not exist."""
        if database not in self._databases:
            createdb = [binaries() / "createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "sweeps"]
            subprocess.run([*createdb, database], check=True, cwd="/", **self._as_user)
            self._databases.add(database)
        return f"postgresql+psycopg2://sweeps@127.0.0.1:{self._port}/{database}"


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[Postgres]:
    """Start a server, and remove it with all it holds; only a durable one waits for the disk."""
    # PostgreSQL refuses to be root.
    as_user: dict = {}
    folder = Path(tempfile.mkdtemp(prefix="lossfleet-postgres-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)
    port = free_port()
    initdb = [binaries() / "initdb", "-D", folder / "data", "-U", "sweeps", "--auth=trust", "--no-sync"]
    subprocess.run(initdb, check=True, cwd="/", stdout=subprocess.DEVNULL, **as_user)
    server = subprocess.Popen(
        [
            *(binaries() / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1"),
            *("-k", folder, "-c", "log_min_messages=fatal", "-c", f"fsync={'on' if durable else 'off'}"),
        ],
        cwd="/",
        stderr=subprocess.DEVNULL,
        **as_user,
    )
    try:
        ready = [binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None, "PostgreSQL ended"
            time.sleep(0.1)
        yield Postgres(folder, port, as_user)
    finally:
        # SIGINT: end at once, whoever is connected.
        server.send_signal(2)
        server.wait(30)
        shutil.rmtree(folder)
