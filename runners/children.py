"""Child processes that run a module of ours, see what this process sees, and end when it ends.

`python -m` and `python -c`, and so multiprocessing too, look for modules in the working directory first. There the
user may have a `conf`, a `random.py`, a `numpy.py`; these are not for us.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

# So many objects more than before are looked through for garbage; Python's own 700 take a seventh of the time of
# imports, which make hundreds of thousands and no garbage (AMD EPYC).
GARBAGE_THRESHOLD = 100_000


def start_child(
    module: str,
    *arguments: str,
    output: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    is_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process that calls `main` of a module, with Python's path of this process.

    Its standard input is a pipe from this process, whose end is the end of this process.

    Args:
        module: its full name.
        arguments: of `main`; who lists the processes of the machine can read them.
        output: takes what it prints; None for where this process prints.
        environment: its environment variables; None for those of this process.
        is_session: whether it is in a session of its own, where Ctrl-C does not reach it.
    """
    path = [entry for entry in sys.path if entry]
    # These two need no path: they are built in.
    start = f"import gc, sys; gc.set_threshold({GARBAGE_THRESHOLD}); sys.path[:] = {path!a}"
    code = f"{start}; import {module} as module; module.main(*{arguments!a})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=is_session,
    )


def run_within(seconds: float, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a session of its own, which ends with it or when the time is over, whatever it has started.

    Args:
        seconds: that it may take.
        command: whose errors are taken, and whose output is not.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it does not come to an end.
    """
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=silent, stdout=silent, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    # Its end closes the pipe and waits for the process.
    with process:
        try:
            _, errors = process.communicate(timeout=seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, stderr=errors)


def end_of_parent() -> threading.Event:
    """In a child: an event that is set when the parent closes the child's standard input, or is gone."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended
