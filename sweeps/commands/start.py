"""The command `lossfleet`: from its first line on Ctrl-C ends it with exit code 130, also amid its imports."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn


def leave_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """A signal handler for as long as nothing has begun that would have to be ended."""
    os.write(2, b"lossfleet: interrupted\n")
    os._exit(128 + number)


def command() -> NoReturn:
    """Runs one command, and ends the process with its exit code."""
    from lossfleet.sweeps.commands.cli import command as run

    run()


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave_at_once)
