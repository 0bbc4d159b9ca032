"""The commands about kept models: their options, their help, and what each calls."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from lossfleet.conf.errors import UserError, suggest

MODEL_COMMANDS = ("keep", "predict", "evaluate", "serve", "export")
# Those of `lossfleet.runners.portable.model`, which takes NumPy and pandas to import.
DECISIONS = ("argmax", "prior", "threshold", "costs")
EXPORTS = ("ckpt", "mindir")
PICTURES = (".png", ".svg")

MODEL = """\
MODEL is the name of an experiment, whose champion is taken; models:/NAME@ALIAS or
models:/NAME/VERSION; runs:/RUN/PATH; or a folder such as studies/SWEEP/models/STRATEGY.
"""

KEEP_EXAMPLES = """\
Trains the best configuration of a strategy again, on all rows, and stores it as a model: in the
sweep's folder, on its run in MLflow, and as a version of the registered model of the experiment's
name. A sweep does so for its winner.

examples:
  lossfleet keep page_blocks-886810a5
  lossfleet keep page_blocks-886810a5 --strategy focal --members 10"""

PREDICT_EXAMPLES = f"""\
{MODEL}
examples:
  lossfleet predict page_blocks rows.csv --output predictions.csv
  lossfleet predict models:/page_blocks/1 rows.parquet --output predictions.parquet --decision prior
  lossfleet predict studies/wine-5f2a9c31/models/focal rows.csv | head
  lossfleet predict leaves photos/ --output predictions.csv
  lossfleet predict trees photographs/ --output finds.csv --draw drawn"""

EVALUATE_EXAMPLES = f"""\
{MODEL}
examples:
  lossfleet evaluate page_blocks labelled.csv --target class
  lossfleet evaluate trees annotated"""

SERVE_EXAMPLES = f"""\
{MODEL}
examples:
  lossfleet serve page_blocks --port 5001
  curl 127.0.0.1:5001/invocations -H 'Content-Type: text/csv' --data-binary @rows.csv"""

EXPORT_EXAMPLES = f"""\
{MODEL}
examples:
  lossfleet export page_blocks --format mindir
  lossfleet export page_blocks --format ckpt --output winner.ckpt"""

Add = Callable[[str, str, str], argparse.ArgumentParser]


def add_model_commands(
    add: Add,
    add_uri: Callable[[argparse.ArgumentParser], None],
    add_config_dir: Callable[[argparse.ArgumentParser], None],
    port: Callable[[str], int],
) -> None:
    """Add the commands to the parser of all.

    Args:
        add: makes the parser of a command of a name, a summary and examples.
        add_uri, add_config_dir: give a parser the option.
        port: reads a port.
    """
    command = add("keep", "make a model of a strategy of a sweep that has ended", KEEP_EXAMPLES)
    command.add_argument("sweep", help="the name of a sweep under studies/")
    command.add_argument("--strategy", help="one of the sweep's strategies (the winner)")
    command.add_argument("--members", type=_members, help="trainings of different seeds (keep.members)")
    add_config_dir(command)
    add_uri(command)

    command = add("predict", "classify rows or images, or find objects in photographs", PREDICT_EXAMPLES)
    _add_model_and_file(
        command,
        "CSV or Parquet, with the columns that the model was trained on; or images: a folder, a file, NPZ",
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="CSV or Parquet (CSV, printed)")
    command.add_argument(
        "--draw", type=Path, metavar="FOLDER", help="write photographs with the objects found in them, as PNG"
    )
    add_uri(command)

    command = add("evaluate", "measure a model on labelled rows, beside what was expected", EVALUATE_EXAMPLES)
    _add_model_and_file(
        command,
        "CSV or Parquet, with the classes in a column; or a folder of images a class, or annotated photographs",
    )
    command.add_argument("--target", metavar="COLUMN", help="the column with the classes (as in training)")
    command.add_argument(
        "--importance",
        type=picture("--importance"),
        metavar="FILE",
        help="draw what each column matters (.png or .svg)",
    )
    add_uri(command)

    command = add("serve", "serve a model on 127.0.0.1, with MLflow's scoring server", SERVE_EXAMPLES)
    command.add_argument("model", help="see below")
    command.add_argument("--port", type=port, default=5001, help="the port (5001)")
    add_uri(command)

    command = add("export", "write a model as a checkpoint or a graph of MindSpore", EXPORT_EXAMPLES)
    command.add_argument("model", help="see below")
    command.add_argument("--format", type=_export, required=True, help=" or ".join(EXPORTS))
    command.add_argument("--output", type=Path, metavar="FILE", help="the file (model.FORMAT, here)")
    add_uri(command)


def run_model_command(options: argparse.Namespace) -> None:
    """Run what was parsed."""
    # Late: help must not wait for it.
    if options.command == "keep":
        from lossfleet.sweeps.commands.folders import importable
        from lossfleet.sweeps.commands.keep import keep

        with importable(options.config_dir):
            keep(options.sweep, strategy=options.strategy, members=options.members, uri=options.uri)
    elif options.command == "predict":
        from lossfleet.sweeps.commands.predict import predict_file

        predict_file(
            options.model,
            options.file,
            output=options.output,
            decision=options.decision,
            uri=options.uri,
            drawings=options.draw,
        )
    elif options.command == "evaluate":
        from lossfleet.sweeps.commands.evaluate import evaluate_file

        evaluate_file(
            options.model,
            options.file,
            target=options.target,
            decision=options.decision,
            uri=options.uri,
            importance=options.importance,
        )
    elif options.command == "export":
        from lossfleet.sweeps.commands.export import export_model

        output = options.output or Path("model")
        export_model(options.model, output.with_suffix(f".{options.format}"), uri=options.uri)
    else:
        from lossfleet.runners.tracking.models.serving import serve_model

        serve_model(options.model, options.uri, options.port)


def picture(option: str) -> Callable[[str], Path]:
    """What reads the name of a picture's file, given by an option."""

    def read(text: str) -> Path:
        path = Path(text)
        if path.suffix not in PICTURES or not path.parent.is_dir():
            raise UserError(
                what=f"{option} is {text}",
                expected=f"a file that ends in {' or '.join(PICTURES)}, in a folder that is there",
                hint=f"write for example {option} figure.png",
            )
        return path

    return read


def _add_model_and_file(command: argparse.ArgumentParser, file: str) -> None:
    command.add_argument("model", help="see below")
    command.add_argument("file", type=Path, help=file)
    command.add_argument(
        "--decision",
        type=_decision,
        metavar="RULE",
        help="argmax, prior, threshold, costs or threshold=0.3 (the model's)",
    )


def _decision(text: str) -> str:
    name, is_given, number = text.partition("=")
    if text not in DECISIONS and not (name == "threshold" and is_given and _is_share(number)):
        raise UserError(
            what=f"--decision is {text}",
            expected=f"one of {', '.join(DECISIONS)}, or a threshold from 0 to 1",
            hint="write for example --decision threshold=0.3" if is_given else suggest(text, DECISIONS),
        )
    return text


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _export(text: str) -> str:
    if text not in EXPORTS:
        raise UserError(
            what=f"--format is {text}",
            expected=f"one of {', '.join(EXPORTS)}",
            hint="write for example --format mindir",
        )
    return text


def _members(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise UserError(
            what=f"--members is {text}",
            expected="a whole number from 1 on",
            hint="write for example --members 5",
        )
    return int(text)
