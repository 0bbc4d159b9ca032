"""A kept model over HTTP: MLflow's own scoring server, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.tracking.models.fetch import fetched_model
from lossfleet.runners.tracking.ui import require_port


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
        environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # MLflow looks for its web server there, which stands beside this Python.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        # Whoever ends this process ends the server.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # The server looks for modules in its working directory first, whatever files are there.
        with tempfile.TemporaryDirectory() as empty:
            server = subprocess.Popen(command, cwd=empty, env=environment)
            try:
                server.wait()
            except KeyboardInterrupt:
                pass
            finally:
                server.terminate()
                server.wait()
