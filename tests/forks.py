"""Commands in forks of a process that has imported and composed what they need, which takes each of them seconds.

What a command starts of ours or of MLflow's is a fork as well.
"""

from __future__ import annotations

import atexit
import inspect
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver, get_context, resource_tracker
from pathlib import Path
from typing import Any

import pytest

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "composed",
        "hydra",
        "imblearn.over_sampling",
        "lossfleet.sweeps.running.local",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "mindspore",
        "mlflow.cli",
        "mlflow.server.fastapi_app",
        "mlflow.store.tracking.sqlalchemy_store",
        "optuna",
        "pandas",
        "plotly.graph_objects",
        "scipy.stats",
        "sklearn.datasets",
        "sklearn.model_selection",
        "uvicorn.main",
    ]
)
SECONDS = 300
LOSSFLEET = "lossfleet.sweeps.commands.cli"
TESTS = Path(__file__).parent
STARTS = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
# Linux keeps so many letters of a process's name.
LETTERS = 15


class ForkedCommand:
    """A command in a session of its own, with what `subprocess.Popen` would tell of it."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        module: str = LOSSFLEET,
        figures: bool = False,
        **environment: str,
    ) -> None:
        """Args:
        arguments: of the command.
        folder: the working directory.
        module: whose command it is.
        figures: whether a sweep draws them, which takes as long as all the rest of a small one.
        environment: more variables.
        """
        self.arguments = arguments
        self._outputs = tempfile.TemporaryDirectory()
        self.printed, self.errors = (Path(self._outputs.name, name) for name in ("printed", "errors"))
        for output in (self.printed, self.errors):
            output.touch()
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        variables = {**os.environ, **environment}
        outputs = (self.printed, self.errors)
        start_server()
        self._process = FORKS.Process(
            target=_become, args=(module, arguments, folder.resolve(), variables, limit, outputs, figures)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = SECONDS) -> int:
        """Wait for the end; returns the code."""
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            raise AssertionError(f"{self.arguments} did not end in {timeout} s: {self.errors.read_text()}")
        return self.returncode

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """Wait for the end; returns what was printed and the errors."""
        self.wait(timeout)
        return self.printed.read_text(), self.errors.read_text()

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it and what it has started, if it has not ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        self.wait()


@cache
def start_server() -> None:
    """Start what is forked, with the modules of the tests on a path of its own: Python does not give it this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        forkserver.ensure_running()


def run_command(
    arguments: Sequence[str], folder: Path, *, figures: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of lossfleet in a folder to its end, with more environment variables."""
    command = ForkedCommand(arguments, folder, figures=figures, **environment)
    printed, errors = command.communicate()
    assert command.returncode is not None
    return subprocess.CompletedProcess(arguments, command.returncode, printed, errors)


def _become(
    module: str,
    arguments: Sequence[str],
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
        os.dup2(os.open(path, os.O_WRONLY), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    if limit[0] != resource.RLIM_INFINITY:
        # Python would keep what the limit leaves of a compiled module, and no process could import it again.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.argv = [module.partition(".")[0], *arguments]
    subprocess.Popen = _ForkedPopen  # type: ignore[misc]
    if not figures:
        from lossfleet.sweeps.report import conclusion

        conclusion.draw_figures = lambda *_, **__: None
    if module == LOSSFLEET:
        from lossfleet.sweeps.commands.cli import command

        command()
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


class _ForkedPopen(subprocess.Popen):  # type: ignore[type-arg]
    """Starts Python as a fork of this process where that may be, and all else as it is."""

    def _execute_child(self, *given: Any) -> None:
        options = STARTS.bind(self, *given).arguments
        command = options["args"]
        if not _is_forked(command):
            super()._execute_child(*given)  # type: ignore[misc]
            return
        sys.stdout.flush()
        sys.stderr.flush()
        # Who starts MLflow's web server has opened its store, and only waits for the server: no fork.
        self.pid = 0 if "uvicorn" in command else os.fork()
        if self.pid == 0:
            _run_as(command, options)
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(options[name] for name in pipes))  # type: ignore[attr-defined]


def _is_forked(command: Sequence[str]) -> bool:
    """Whether a command is Python's, and this process may be forked: MindSpore at work has threads of its own."""
    is_python = list(command[:1]) == [sys.executable] and command[1] in ("-c", "-m")
    # A script of PyTorch's is measured without MindSpore.
    is_ours = is_python and "torch" not in command[2]
    return is_ours and len(os.listdir("/proc/self/task")) == threading.active_count()


def _run_as(command: Sequence[str], options: Mapping[str, Any]) -> None:
    """In a fork: run what the command says, and end."""
    code: object = 1
    # Its parent's temporary folders are not for this process to remove.
    atexit._clear()
    try:
        for taken, stream in (("p2cread", 0), ("c2pwrite", 1), ("errwrite", 2)):
            if options[taken] not in (-1, stream):
                os.dup2(options[taken], stream)
        if "uvicorn" not in command:
            os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            resource_tracker._resource_tracker._fd = None
        if options["start_new_session"]:
            os.setsid()
        if options["cwd"] is not None:
            os.chdir(options["cwd"])
        if options["env"] is not None:
            os.environ.clear()
            os.environ.update(options["env"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - until the end of the process
        _, kind, what, *arguments = command
        _take_name(what)
        sys.argv = [kind, *arguments]
        if kind == "-c":
            exec(what, {"__name__": "__main__"})
        else:
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def _take_name(what: str) -> None:
    """Let the system name a process of ours by the last two words of its module."""
    module = what.partition("import lossfleet.")[2].partition(" ")[0]
    if module:
        Path("/proc/self/comm").write_text(".".join(module.split(".")[-2:])[:LETTERS])
