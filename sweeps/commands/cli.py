"""The command line. Nothing heavy is imported here: help and wrong usage answer at once."""

from __future__ import annotations

import gc
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from lossfleet.conf.errors import UNWRITABLE, Failure, UserError, UserErrors, remedy, suggest
from lossfleet.runners.children import GARBAGE_THRESHOLD
from lossfleet.sweeps.commands import run as commands
from lossfleet.sweeps.commands.arguments import COMMANDS, checked_figure, make_parser
from lossfleet.sweeps.commands.model_arguments import MODEL_COMMANDS, run_model_command
from lossfleet.sweeps.running.interrupts import ends_by_interrupt, interruptible, leave


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; None takes the process's own.

    Returns:
        The exit code: 0, 1 for work that failed, 2 for input that cannot be used, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["sweep"]:
            return _run_interruptible(arguments)
        with ends_by_interrupt():
            return _run(arguments)
    except (Failure, UserError) as error:
        for line in str(error).split("\n") if isinstance(error, UserErrors) else [error]:
            print(f"lossfleet: error: {line}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"lossfleet: error: {error.filename} {error.strerror}; {remedy(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lossfleet: interrupted", file=sys.stderr)
        return 130


def _run_interruptible(arguments: list[str]) -> int:
    again = shlex.join(["lossfleet", *(each for each in arguments if each != "--fresh")])
    with interruptible(f"what was finished is kept, this continues: {again}") as end:
        try:
            return _run(arguments)
        except BaseException as error:
            # Libraries make other exceptions of an interrupt.
            if not isinstance(error, KeyboardInterrupt) and not end.was_heard:
                raise
            end.say_farewell()
            return end.code


def _run(arguments: list[str]) -> int:
    parser = make_parser()
    if not arguments:
        raise UserError(
            what="there is no command",
            expected=f"one of {', '.join(COMMANDS)}",
            hint="write for example 'lossfleet sweep', or 'lossfleet --help'",
        )
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise UserError(
            what=f"there is no command {arguments[0]}",
            expected=f"one of {', '.join(COMMANDS)}",
            hint=suggest(arguments[0], COMMANDS),
        )
    options, rest = parser.parse_known_args(arguments)
    if options.version:
        print(f"lossfleet {_version()}")
        return 0
    # argparse takes positional arguments only in one piece; those behind an option come back as the rest.
    unknown = [each for each in rest if each.startswith("-")]
    if unknown or (rest and options.command in (None, *MODEL_COMMANDS, "plot", "ui", "worker")):
        command = " ".join(["lossfleet", *([options.command] if options.command else [])])
        raise UserError(
            what=f"{(unknown or rest)[0]} is no option of {command}",
            expected="the options in its help",
            hint=f"'{command} --help' shows them",
        )
    if options.command == "sweep":
        return commands.sweep(
            [*options.overrides, *rest],
            print_config=options.print_config,
            fresh=options.fresh,
            config_dirs=options.config_dir,
        )
    if options.command == "train":
        commands.train(
            [*options.overrides, *rest], print_config=options.print_config, config_dirs=options.config_dir
        )
    elif options.command == "compare":
        commands.compare(
            [*options.experiments, *rest],
            format=options.format,
            uri=options.uri,
            sweep=options.sweeps,
            metrics=options.metrics,
            figures=options.figures,
            html=options.html,
            rope=options.rope,
            config_dirs=options.config_dir,
        )
    elif options.command in MODEL_COMMANDS:
        run_model_command(options)
    elif options.command == "sync":
        commands.sync([*options.sweeps, *rest], uri=options.uri)
    elif options.command == "plot":
        commands.plot(checked_figure(options.figure), output=options.output)
    elif options.command == "worker":
        is_compared = commands.worker(
            options.sweep, storage=options.storage, uri=options.uri, config_dirs=options.config_dir
        )
        return 0 if is_compared else 1
    else:
        commands.ui(uri=options.uri, host=options.host, port=options.port, opens=options.open)
    return 0


def _version() -> str:
    from importlib.metadata import version

    return version("lossfleet")


def command() -> NoReturn:
    """Runs one command and ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a letter shows its number.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # MindSpore's own warnings, which it prints into our tables, are of no use to who calls this.
    os.environ.setdefault("GLOG_v", "3")
    gc.set_threshold(GARBAGE_THRESHOLD)
    leave(main())


if __name__ == "__main__":
    command()
