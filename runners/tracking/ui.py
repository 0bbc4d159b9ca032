"""MLflow's UI, as a process of its own (no mlflow in here)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from lossfleet.conf.errors import UserError
from lossfleet.runners.tracking.store import (
    absolute_uri,
    database_path,
    is_local,
    open_database,
    require_store,
    tracking_uri,
)


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
    require_port(port)
    address = f"http://127.0.0.1:{port}"
    print(f"MLflow UI: {address}, choose 'Model training' at the top left (Ctrl-C ends it)", flush=True)
    for name, identifier in experiments(chosen).items():
        # Without the workflow the UI opens on its pages for language models.
        runs = f"{address}/#/experiments/{identifier}/runs?workflowType=machine_learning"
        print(f"  {name}: {runs}", flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", absolute_uri(chosen), "--workers", "1"]
    command += ["--artifacts-destination", str(Path("mlartifacts").absolute())]
    # The server and what it starts look for modules in their working directory first, whatever files are there.
    with tempfile.TemporaryDirectory() as empty:
        server = subprocess.Popen(
            command,
            cwd=empty,
            # Nine more processes wait for jobs of language models otherwise.
            env={
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
        )
        try:
            server.wait()
        except KeyboardInterrupt:
            pass
        finally:
            server.terminate()
            server.wait()


def require_port(port: int) -> None:
    """Raises UserError where a port of this machine is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                what=f"port {port} cannot be used ({error.strerror})",
                expected="a free port",
                hint=f"choose another one, for example {port + 1 if port < 65535 else 5000}",
            ) from error


def experiments(uri: str) -> dict[str, int]:
    """The ids of the experiments with sweeps in a local database, by name; none of another store."""
    if not is_local(uri):
        return {}
    with closing(open_database(database_path(uri))) as connection:
        query = (
            "SELECT DISTINCT e.name, e.experiment_id FROM experiments e JOIN runs r USING (experiment_id) "
            "JOIN tags t USING (run_uuid) WHERE t.key = 'lossfleet.kind' AND t.value = 'sweep' "
            "AND e.lifecycle_stage = 'active' AND r.lifecycle_stage = 'active' ORDER BY e.name"
        )
        return dict(connection.execute(query).fetchall())
