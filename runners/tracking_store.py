"""Where MLflow records, and its UI (no mlflow in here)."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

from conf.errors import UserError

DEFAULT_URI = "sqlite:///mlflow.db"


def tracking_uri(uri: str | None) -> str:
    """Where MLflow records: the argument, else MLFLOW_TRACKING_URI, else mlflow.db in the working directory.

    Raises:
        UserError: for a folder, which MLflow no longer takes as a store.
    """
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if "://" not in chosen or chosen.startswith("file:"):
        raise UserError(
            what=f"the tracking URI is {chosen}",
            expected="a database or a server",
            mend=f"write for example tracking.uri={DEFAULT_URI} or tracking.uri=http://127.0.0.1:5000",
        )
    return chosen


def require_store(uri: str) -> None:
    """Raises where a local database is missing, which MLflow would create.

    Raises:
        UserError: no file, or not a database of MLflow.
    """
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.is_file() or not _has_experiments(path):
        raise UserError(
            what=f"there is no MLflow database {path}",
            expected="the store of an earlier sweep",
            mend="run lossfleet sweep first, or name the store with MLFLOW_TRACKING_URI",
        )


def _has_experiments(path: Path) -> bool:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"
        return connection.execute(query).fetchone() is not None
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()


def serve_ui(uri: str | None, port: int) -> None:
    """Serves MLflow's UI on 127.0.0.1 until it is interrupted.

    Raises:
        UserError: the store does not exist, or the port is taken.
    """
    chosen = tracking_uri(uri)
    if chosen.startswith("http"):
        print(f"MLflow is served at {chosen}")
        return
    require_store(chosen)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                what=f"port {port} cannot be used ({error.strerror})",
                expected="a free port",
                mend=f"choose another one, for example {port + 1 if port < 65535 else 5000}",
            ) from error
    print(f"MLflow UI: http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([*command, "--backend-store-uri", chosen, "--workers", "1"])
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()
