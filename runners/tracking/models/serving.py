"""A kept model over HTTP: MLflow's own scoring server, as a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.tracking.models.fetch import fetched_model
from lossfleet.runners.tracking.ui import require_port, served


def serve_model(model: str, uri: str | None, port: int) -> None:
    """Serve a model on 127.0.0.1 until this is interrupted.

    Args:
        model: as `fetched_model` takes it.
        uri: MLflow's store.
        port: where to.

    Raises:
        UserError: no such model, or one that is damaged, or the port is taken.
    """
    with fetched_model(model, uri) as folder:
        description = read_model(folder).description
        require_port(port)
        made = description["made"]
        address = f"http://127.0.0.1:{port}"
        print(
            f"{description['name']}, {made['strategy']} of {made['sweep']}: {address}/invocations", flush=True
        )
        print(
            f"  takes MLflow's formats, for example {folder.absolute()}/serving_input_example.json",
            flush=True,
        )
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
        command += ["--model-uri", str(folder.absolute()), "--host", "127.0.0.1", "--port", str(port)]
        # MLflow looks for its web server there, which stands beside this Python.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        with served(command, {**os.environ, "PATH": path}) as server:
            server.wait()
