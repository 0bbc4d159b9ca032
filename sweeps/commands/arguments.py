"""The arguments of the command line: commands, options and the help of each."""

from __future__ import annotations

import argparse
import importlib.resources
import textwrap
from typing import NoReturn, cast, get_args

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.evaluations import ROPE
from lossfleet.conf.metrics import split_names
from lossfleet.conf.parts import part_names
from lossfleet.sweeps.commands.model_arguments import MODEL_COMMANDS, add_model_commands, picture
from lossfleet.sweeps.commands.run import Format

COMMANDS = ("sweep", "train", "compare", *MODEL_COMMANDS, "plot", "ui", "sync", "worker")
FIGURES = ("losses",)
FORMATS = get_args(Format)

DESCRIPTION = """Which way of handling class imbalance is best on your data?

lossfleet tunes cross-entropy, weighted cross-entropy, hard example mining, resampling and focal
loss with the same budget, evaluates the best of each on fresh seeds and splits, and records
every run in MLflow."""

EXAMPLES = """examples:
  lossfleet sweep                        five strategies on page_blocks
  lossfleet sweep experiment=quick       the same in small, to see that it runs
  lossfleet compare                      the tables of what has run
  lossfleet serve page_blocks            the winner, over HTTP
  lossfleet plot losses                  the losses and their gradients as a picture
  lossfleet ui                           every run in the browser

'lossfleet COMMAND --help' explains a command."""

SWEEP_EXAMPLES = """\
Arguments are Hydra overrides, key=value. One value is fixed, several values or a distribution are
searched, each for the strategies that have the key. Several values of data, data.*, model or
model.* are compared side by side, a sweep each; model.widths=choice([16],[64,64]) searches.

examples:
  lossfleet sweep strategy=ce,focal data=breast_cancer budget.trials=20
  lossfleet sweep strategy=focal 'loss.gamma=interval(0,5)' 'optimizer.lr=tag(log,interval(1e-4,1e-1))'
  lossfleet sweep strategy=focal loss.gamma=0,1,2 loss.alpha=0.25 data=page_blocks_binary
  lossfleet sweep data=wine,digits data.long_tail=50
  lossfleet sweep data.long_tail=10,50,100
  lossfleet sweep 'model.widths=[16],[64,64]'
  lossfleet sweep experiment=paper_grid
  lossfleet sweep --config-dir mine strategy=ce,my_poly1
  lossfleet sweep strategy=resampling --print-config

The same command again continues a sweep that was stopped; a larger budget.trials adds trials.
--fresh starts it anew and keeps what there was aside.

exit codes:
  0 done, also where trials diverged or MLflow gets its runs later    1 trials or the sweep failed
  2 input that cannot be used, nothing was done                     130 interrupted (SIGTERM: 143)"""

TRAIN_EXAMPLES = """\
Arguments are Hydra overrides, key=value, with one value each.

examples:
  lossfleet train strategy=focal loss.gamma=2 loss.tau=0.5
  lossfleet train strategy=ce sampler=smote data=wine seed=3
  lossfleet train --print-config"""

COMPARE_EXAMPLES = """examples:
  lossfleet compare
  lossfleet compare page_blocks wine --format md
  lossfleet compare page_blocks --metrics test_macro_f1,test_mcc --format latex
  lossfleet compare page_blocks --html report.html --figures figures
  lossfleet compare --sweeps page_blocks-1b2c3d4e page_blocks-5f6a7b8c
  lossfleet compare --uri sqlite:///elsewhere.db --format csv"""

SYNC_EXAMPLES = """\
A sweep whose tracking server was away leaves its runs in the journal under studies/. This sends
what MLflow lacks; what it has stays as it is.

examples:
  lossfleet sync
  lossfleet sync wine-5f2a9c31 --uri http://127.0.0.1:5000"""

PLOT_EXAMPLES = """figures:
  losses    focal loss and the size of its gradient by p_t, for five gammas

examples:
  lossfleet plot losses
  lossfleet plot losses --output losses.svg"""

WORKER_EXAMPLES = """\
Any number of workers, started at any time on any machine, share one sweep and train what it still lacks.
A password belongs into ~/.pgpass or PGPASSWORD.

examples:
  lossfleet sweep engine=workers engine.storage=postgresql+psycopg2://sweeps@db/sweeps name=first_try
  lossfleet worker first_try --storage postgresql+psycopg2://sweeps@db/sweeps"""

UI_EXAMPLES = """\
MLflow asks for no password: on 127.0.0.1 only users of this machine reach it. From another one
'ssh -L 5000:127.0.0.1:5000 THIS_MACHINE' leads there; --host opens it to all who reach the address.

examples:
  lossfleet ui
  lossfleet ui --open
  lossfleet ui --port 5001"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors read like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(
            what=message, expected="the usage of the command", hint=f"'{self.prog} --help' shows it"
        )


def _all_names() -> str:
    """The files of every group, for whoever looks for a word."""
    groups = sorted(each.name for each in importlib.resources.files("lossfleet.conf").iterdir())
    lines = [f"  {group}: {', '.join(names)}" for group in groups if (names := part_names(group))]
    wrapped = [textwrap.fill(line, 100, subsequent_indent="    ", break_on_hyphens=False) for line in lines]
    return "\n".join(["what there is, beside files of your own:", *wrapped])


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="lossfleet",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def add(name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
        return subparsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    for name, summary, epilog in (
        ("sweep", "tune each strategy and compare the best of each", f"{SWEEP_EXAMPLES}\n\n{_all_names()}"),
        ("train", "run one training and print its metrics", TRAIN_EXAMPLES),
    ):
        command = add(name, summary, epilog)
        command.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")
        command.add_argument("--print-config", action="store_true", help="print the configuration and stop")
        _add_config_dir(command)
        if name == "sweep":
            command.add_argument("--fresh", action="store_true", help="start anew, keep the old folder aside")

    command = add("compare", "print the comparison of the strategies from MLflow", COMPARE_EXAMPLES)
    command.add_argument(
        "experiments", nargs="*", metavar="experiment", help="names of MLflow experiments (all)"
    )
    command.add_argument(
        "--format", type=_format, default="terminal", help=f"{', '.join(FORMATS)} (terminal)"
    )
    command.add_argument(
        "--metrics",
        type=_metrics,
        metavar="A,B,...",
        help="columns of the table; the first one is compared (test_balanced_accuracy,...)",
    )
    # --sweep is taken for it, as any beginning of an option is.
    command.add_argument(
        "--sweeps",
        nargs="+",
        metavar="SWEEP",
        help="names of sweeps, side by side (the latest finished one of each experiment)",
    )
    command.add_argument(
        "--rope",
        type=_rope,
        default=ROPE,
        help=f"differences of the first metric up to it are practically none ({ROPE})",
    )
    command.add_argument("--figures", metavar="FOLDER", help="write the figures there, PNG and HTML")
    command.add_argument("--html", metavar="FILE", help="write a report there, one file that can be mailed")
    _add_config_dir(command)
    _add_uri(command)

    add_model_commands(add, _add_uri, _add_config_dir, _port)

    command = add("plot", "draw a figure of the losses", PLOT_EXAMPLES)
    command.add_argument("figure", nargs="?", help=", ".join(FIGURES))
    command.add_argument(
        "--output", type=picture("--output"), metavar="FILE", help="a .png or .svg file (FIGURE.png, here)"
    )

    command = add("ui", "serve the MLflow UI", UI_EXAMPLES)
    command.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="of this machine, for others to reach (127.0.0.1)",
    )
    command.add_argument("--port", type=_port, default=5000, help="the port (5000)")
    command.add_argument("--open", action="store_true", help="open the first experiment in the browser")
    _add_uri(command)

    command = add("sync", "send MLflow the runs that it lacks", SYNC_EXAMPLES)
    command.add_argument("sweeps", nargs="*", metavar="sweep", help="names of sweeps under studies/ (all)")
    _add_uri(command)

    command = add("worker", "train a part of a sweep that several machines share", WORKER_EXAMPLES)
    command.add_argument(
        "sweep", help="the name of a sweep that was published with engine=workers or engine=ray"
    )
    command.add_argument(
        "--storage", required=True, metavar="URL", help="the database that the workers share"
    )
    _add_config_dir(command)
    _add_uri(command)
    return parser


def _add_uri(command: argparse.ArgumentParser) -> None:
    command.add_argument("--uri", help="MLflow's store (MLFLOW_TRACKING_URI, else sqlite:///mlflow.db)")


def _add_config_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder with parts of your own: YAML files in config groups, and their code; may be repeated",
    )


def _format(text: str) -> Format:
    if text not in FORMATS:
        raise UserError(
            what=f"--format is {text}", expected=f"one of {', '.join(FORMATS)}", hint=suggest(text, FORMATS)
        )
    return cast(Format, text)


def _rope(text: str) -> float:
    try:
        rope = float(text)
    except ValueError:
        rope = -1.0
    if not 0 <= rope < float("inf"):
        raise UserError(
            what=f"--rope is {text}", expected="a number from 0 on", hint=f"write for example --rope {ROPE}"
        )
    return rope


def _metrics(text: str) -> list[str]:
    return [name.strip() for name in split_names(text)]


def checked_figure(name: str | None) -> str:
    """The name of a figure.

    Raises:
        UserError: there is none of this name.
    """
    if name not in FIGURES:
        raise UserError(
            what="plot has no figure" if name is None else f"there is no figure {name}",
            expected=f"one of {', '.join(FIGURES)}",
            hint="write for example 'lossfleet plot losses'" if name is None else suggest(name, FIGURES),
        )
    return name


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise UserError(
            what=f"--port is {text}",
            expected="a whole number from 1 to 65535",
            hint="write for example --port 5000",
        )
    return int(text)
