"""Ctrl-C and SIGTERM: a command ends within seconds, wherever it is."""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Nothing waits longer for an orderly end, for example for a graph that is being compiled.
SECONDS_TO_END = 4.0
SECONDS_BETWEEN_LOOKS = 0.2


class Interrupts:
    """Waits for the signals that ask this process to end; `code` is then its exit code, `sender` who sent one."""

    def __init__(self, farewell: str) -> None:
        self.code = 128 + signal.SIGINT
        self.sender = ""
        self.was_heard = False
        self.over = threading.Event()
        self._farewell = farewell
        # A shell starts what it runs in the background with Ctrl-C ignored.
        self._signals = {each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN}

    def block(self) -> set[signal.Signals]:
        """Block the signals in this thread and those that it starts; returns what was blocked before."""
        return {signal.Signals(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)}

    def say_farewell(self) -> None:
        """Tell the user by whom it was interrupted, where not by the terminal, and how to go on."""
        print(f"lossfleet: interrupted{self.sender}; {self._farewell}", file=sys.stderr, flush=True)

    def watch(self) -> None:
        """Interrupt the main thread at the first signal; end the process at the second, or if it hangs."""
        if not self._wait(float("inf")):
            return
        _thread.interrupt_main(signal.SIGTERM)
        self._wait(SECONDS_TO_END)
        if not self.over.is_set():
            # Nothing is lost by it: what is on disk is as good after a kill as after an orderly end.
            self.say_farewell()
            os._exit(self.code)

    def _wait(self, seconds: float) -> bool:
        """Wait for a signal for so long; returns whether there was one."""
        waited = 0.0
        while not self.over.is_set() and waited < seconds:
            received = signal.sigtimedwait(self._signals, SECONDS_BETWEEN_LOOKS)
            waited += SECONDS_BETWEEN_LOOKS
            if received is not None:
                self.was_heard = True
                self.code = 128 + received.si_signo
                self.sender = described_sender(received)
                return True
        return False


def described_sender(received: signal.struct_siginfo) -> str:
    """Who sent a signal, to be put behind "interrupted"; nothing where the terminal did."""
    if not received.si_pid:
        return ""
    try:
        command = Path(f"/proc/{received.si_pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        command = "which has ended"
    return f" by {signal.Signals(received.si_signo).name} from process {received.si_pid} ({command[:80]})"


@contextmanager
def interruptible(farewell: str) -> Iterator[Interrupts]:
    """Turn SIGINT and SIGTERM into a KeyboardInterrupt of the main thread, which this must be.

    MindSpore replaces Python's handlers by one that kills the process. So the signals are blocked in every
    thread, and one waits for them. Processes inherit that: those that shall hear the signals unblock them.

    Args:
        farewell: what the user reads behind "interrupted": how to go on.
    """
    interrupts = Interrupts(farewell)
    handler = signal.signal(signal.SIGTERM, raise_interrupt)
    blocked = interrupts.block()
    watcher = threading.Thread(target=interrupts.watch, daemon=True)
    watcher.start()
    try:
        yield interrupts
    finally:
        interrupts.over.set()
        watcher.join()
        # What came after the first signal has nothing left to end.
        while signal.sigtimedwait(SIGNALS, 0) is not None:
            pass
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def ends_by_interrupt() -> Iterator[None]:
    """Let Ctrl-C be what ends the inside, also where a library makes another exception of it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN or not _is_main_thread():
        yield
        return
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        heard.set()
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Exception:
        if heard.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def leave(code: int) -> NoReturn:
    """End this process with an exit code, without the destructors of what it has imported.

    MindSpore's wait for ever where its import was interrupted, and abort at a further signal. Python's own search
    for garbage would take half a second.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1
    os._exit(code)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the main thread finish what is inside before it hears an interrupt.

    A process whose parent was interrupted while starting it would complain of what it did not get.
    """
    received: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
    if received:
        raise KeyboardInterrupt


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """A signal handler that ends what runs, as Ctrl-C does."""
    raise KeyboardInterrupt
