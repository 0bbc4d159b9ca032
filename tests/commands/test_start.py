"""The command from its first line on: Ctrl-C, terminals without letters, files that cannot be written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from lossfleet.conf.errors import remedy
from lossfleet.sweeps.commands import run as commands
from lossfleet.sweeps.commands.cli import main
from lossfleet.sweeps.running.interrupts import ends_by_interrupt


def start(code: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c_amid_the_imports_ends_without_a_traceback():
    process = start(
        """
        import sys
        from lossfleet.sweeps.commands import start

        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "lossfleet.sweeps.commands.cli":
                    print("importing", flush=True)
                    __import__("time").sleep(600)

        sys.meta_path.insert(0, Slow())
        start.command()
        """
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "lossfleet: interrupted\n")


@pytest.mark.parametrize("error", [ValueError, AttributeError, ImportError])
def test_an_interrupt_that_a_library_makes_an_error_of_is_one(error, monkeypatch, capsys):
    def train(overrides, **options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise error("a library's words") from None

    monkeypatch.setattr(commands, "train", train)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "lossfleet: interrupted\n"


def test_other_errors_stay_and_so_does_the_handler():
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="words"), ends_by_interrupt():
        raise ValueError("words")
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_a_terminal_without_the_letters_shows_their_numbers(variables):
    process = start(
        """
        from lossfleet.sweeps.commands import cli, run
        run.sync = lambda sweeps, uri: print("class 故障")
        import sys
        sys.argv = ["lossfleet", "sync"]
        cli.command()
        """,
        **variables,
    )
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed, errors) == (0, "class \\u6545\\u969c\n", "")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "Read-only file system; give this user the right to write there"),
        (errno.EACCES, "Permission denied; give this user the right"),
        (errno.ENOSPC, "No space left on device; make space"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_in_one_line(number, words, monkeypatch, capsys):
    def sync(sweeps, uri):
        raise OSError(number, os.strerror(number), "there/records.jsonl")

    monkeypatch.setattr(commands, "sync", sync)
    assert main(["sync"]) == 1
    assert capsys.readouterr().err.startswith(f"lossfleet: error: there/records.jsonl {words}")


def test_other_faults_of_files_are_no_matter_of_space():
    assert remedy(OSError(errno.EIO, "")) == "mend that"
