"""Commands in forks of a process that has imported what they import, which each would need five seconds for."""

from __future__ import annotations

import os
import resource
import signal
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
        "lossfleet.sweeps.running.local",
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


class ForkedCommand:
    """A command in a session of its own, with what `subprocess.Popen` would tell of it."""

    def __init__(
        self, arguments: tuple[str, ...], folder: Path, *, figures: bool, **environment: str
    ) -> None:
        """Args:
        arguments: of lossfleet.
        folder: the working directory.
        figures: whether a sweep draws them, which takes as long as all the rest of a small one.
        environment: more variables.
        """
        self.arguments = arguments
        self._outputs = tempfile.TemporaryDirectory()
        self._printed, self._errors = (Path(self._outputs.name, name) for name in ("printed", "errors"))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        variables = {**os.environ, **environment}
        outputs = (self._printed, self._errors)
        self._process = FORKS.Process(
            target=_become, args=(arguments, folder.resolve(), variables, limit, outputs, figures)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """Wait for the end; returns what was printed and the errors."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise AssertionError(f"{self.arguments} did not end in {timeout} s: {self._errors.read_text()}")
        return self._printed.read_text(), self._errors.read_text()


def run_command(
    arguments: tuple[str, ...], folder: Path, *, figures: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of lossfleet in a folder to its end, with more environment variables."""
    command = ForkedCommand(arguments, folder, figures=figures, **environment)
    printed, errors = command.communicate()
    assert command.returncode is not None
    return subprocess.CompletedProcess(arguments, command.returncode, printed, errors)


def _become(
    arguments: tuple[str, ...],
    folder: Path,
    variables: Mapping[str, str],
    limit: tuple[int, int],
    outputs: tuple[Path, Path],
    figures: bool,
) -> None:
    """Turn this process into the command."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path, stream in zip(outputs, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    sys.argv = ["lossfleet", *arguments]
    if not figures:
        from lossfleet.sweeps.report import conclusion

        conclusion.draw_figures = lambda *_, **__: None
    from lossfleet.sweeps.commands.cli import command

    command()
