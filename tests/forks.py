"""Commands in forks of a process that has imported what they import, which each would need five seconds for."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "hydra",
        "imblearn.over_sampling",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "mindspore",
        "optuna",
        "pandas",
        "plotly.graph_objects",
        "scipy.stats",
        "sklearn.datasets",
        "sklearn.model_selection",
    ]
)
SECONDS = 300


def run_command(
    arguments: tuple[str, ...], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of lossfleet in a folder to its end, with more environment variables."""
    variables = {**os.environ, **environment}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tempfile.TemporaryDirectory() as outputs:
        printed, errors = Path(outputs, "printed"), Path(outputs, "errors")
        process = FORKS.Process(
            target=_become, args=(arguments, folder.resolve(), variables, limit, printed, errors)
        )
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"{arguments} did not end in {SECONDS} s: {errors.read_text()}")
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            arguments, process.exitcode, printed.read_text(), errors.read_text()
        )


def _become(
    arguments: tuple[str, ...],
    folder: Path,
    variables: Mapping[str, str],
    limit: tuple[int, int],
    printed: Path,
    errors: Path,
) -> None:
    """Turn this process into the command."""
    for path, stream in ((printed, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    sys.argv = ["lossfleet", *arguments]
    from lossfleet.sweeps.commands.cli import command

    command()
