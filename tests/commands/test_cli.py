"""The command line: help, printed configurations, and what is handed to the parts behind it."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

from lossfleet.conf.errors import Failure
from lossfleet.conf.schema import Config
from lossfleet.sweeps.commands import run as commands
from lossfleet.sweeps.commands.arguments import COMMANDS
from lossfleet.sweeps.commands.cli import main
from lossfleet.sweeps.report import printing

HEAVY = ("mindspore", "mlflow", "optuna", "hydra", "omegaconf", "pandas", "numpy", "sklearn", "scipy", "ray")

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> int | str | None:
    """The exit code, whether returned or, by argparse's --help, raised."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return stop.code


def replace_module(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> None:
    module = types.ModuleType(name)
    for function, value in functions.items():
        setattr(module, function, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)]
)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from lossfleet.sweeps.commands.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_wrong_usage_and_wrong_configuration_import_no_engine():
    code = (
        "import sys\n"
        "from lossfleet.sweeps.commands.cli import main\n"
        "assert main(['swep']) == main(['sweep', 'strategy=foca']) == main(['sweep', 'loss.gamma=-1']) == 2\n"
        f"print([name for name in {HEAVY} if name in sys.modules and name not in ('hydra', 'omegaconf')])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_the_main_help_names_every_command(capsys):
    assert run("--help") == 0
    printed = capsys.readouterr().out
    assert all(f"  {command} " in printed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command, capsys):
    assert run(command, "--help") == 0
    printed = capsys.readouterr().out
    assert f"\n  lossfleet {command}" in printed
    assert max(map(len, printed.splitlines())) <= 110


def examples(command: str) -> list[str]:
    from lossfleet.sweeps.commands import arguments

    text = getattr(arguments, f"{command.upper()}_EXAMPLES")
    return [line.strip() for line in text.splitlines() if line.strip().startswith("lossfleet ")]


@pytest.mark.parametrize("example", [*examples("sweep"), *examples("train")])
def test_every_example_of_the_help_composes(example, capsys, monkeypatch):
    import shlex

    # Where the folder of parts of one's own is that some of them name.
    monkeypatch.chdir(ROOT / "examples")
    arguments = shlex.split(example)[1:]
    assert run(*dict.fromkeys([*arguments, "--print-config"])) == 0
    assert yaml.safe_load(capsys.readouterr().out)


def test_print_config_prints_the_training_that_would_run(capsys):
    assert run("train", "strategy=focal", "--print-config", "loss.gamma=1.5", "data=wine") == 0
    config = Config.from_dict(yaml.safe_load(capsys.readouterr().out))
    assert (config.strategy, config.loss["gamma"], config.data.name) == ("focal", 1.5, "wine")


def test_print_config_prints_the_sweeps_that_would_run(capsys, monkeypatch):
    monkeypatch.setattr(commands, "run_plans", lambda plans, **options: pytest.fail("the sweep ran"))
    assert run("sweep", "--print-config", "strategy=ce,focal", "data=wine,digits") == 0
    printed = yaml.safe_load(capsys.readouterr().out)["sweeps"]
    assert [each["sweep"].split("-")[0] for each in printed] == ["wine", "digits"]
    assert all(list(each["studies"]) == ["ce", "focal"] for each in printed)
    assert printed[0]["studies"]["focal"]["space"]["loss.gamma"] == "interval(0.0,5.0)"


def test_sweep_runs_the_plans_in_order_and_then_compares_them(monkeypatch):
    ran, compared = [], []
    monkeypatch.setattr("lossfleet.sweeps.report.conclusion.conclude_side_by_side", compared.extend)
    replace_module(
        monkeypatch,
        "lossfleet.sweeps.running.sweep",
        run_sweep=lambda plan, fresh: ran.append((plan.data.name, len(plan.studies))) or True,
    )
    assert run("sweep", "strategy=ce,focal", "data=wine,digits") == 0
    assert ran == [("wine", 2), ("digits", 2)]
    assert [folder.name.split("-")[0] for folder in compared] == ["wine", "digits"]
    compared.clear()
    assert run("sweep", "strategy=ce,focal", "data=wine") == 0
    assert compared == []


def test_train_runs_the_configuration(monkeypatch):
    ran = []
    replace_module(monkeypatch, "lossfleet.sweeps.commands.train", run_training=ran.append)
    assert run("train", "strategy=ohem", "mining.keep=0.3") == 0
    assert [config.mining["keep"] for config in ran] == [0.3]


def test_compare_sync_and_ui_pass_their_options_on(monkeypatch):
    called = []
    # It alone: what else is there is imported by others, if this test is the first.
    monkeypatch.setattr(printing, "print_comparison", lambda *given: called.append(given))
    replace_module(
        monkeypatch,
        "lossfleet.runners.tracking.ui",
        serve_ui=lambda *given, host, opens: called.append((*given, host, opens)),
    )
    replace_module(
        monkeypatch, "lossfleet.sweeps.commands.sync", sync_sweeps=lambda *given: called.append(given)
    )
    assert run("compare") == 0
    assert (
        run("compare", "wine", "--format", "csv", "digits", "--uri", "sqlite:///a.db", "--sweep", "wine-1")
        == 0
    )
    assert run("compare", "--metrics", "test_mcc, test_macro_f1", "--format", "latex", "--rope", "0.02") == 0
    assert run("sync") == 0
    assert run("sync", "wine-1", "--uri", "sqlite:///a.db", "wine-2") == 0
    assert run("ui") == 0
    assert run("ui", "--open", "--port", "5001", "--host", "::1", "--uri", "sqlite:///a.db") == 0
    assert called == [
        ([], "terminal", None, None, None, 0.01),
        (["wine", "digits"], "csv", "sqlite:///a.db", ["wine-1"], None, 0.01),
        ([], "latex", None, None, ["test_mcc", "test_macro_f1"], 0.02),
        ([], None),
        (["wine-1", "wine-2"], "sqlite:///a.db"),
        (None, 5000, "127.0.0.1", False),
        ("sqlite:///a.db", 5001, "::1", True),
    ]


def test_an_interrupt_ends_without_a_traceback(monkeypatch, capsys):
    def interrupt(plan: object, fresh: bool) -> None:
        raise KeyboardInterrupt

    replace_module(monkeypatch, "lossfleet.sweeps.running.sweep", run_sweep=interrupt)
    assert run("sweep", "strategy=ce") == 130
    assert capsys.readouterr().err == (
        "lossfleet: interrupted; what was finished is kept, this continues: lossfleet sweep strategy=ce\n"
    )


@pytest.mark.parametrize(("went_well", "code"), [([True, True], 0), ([True, False], 1), ([False, True], 1)])
def test_trials_that_failed_give_code_1_and_the_other_sweeps_run(went_well, code, monkeypatch):
    results = iter(went_well)
    monkeypatch.setattr("lossfleet.sweeps.report.conclusion.conclude_side_by_side", lambda folders: None)
    replace_module(monkeypatch, "lossfleet.sweeps.running.sweep", run_sweep=lambda plan, fresh: next(results))
    assert run("sweep", "strategy=ce", "data=wine,digits") == code
    assert list(results) == []


def test_a_failure_gives_code_1_without_a_traceback(monkeypatch, capsys):
    def fail(plan: object, fresh: bool) -> None:
        raise Failure("the disk is full")

    replace_module(monkeypatch, "lossfleet.sweeps.running.sweep", run_sweep=fail)
    assert run("sweep", "strategy=ce") == 1
    assert capsys.readouterr().err == "lossfleet: error: the disk is full\n"


def test_the_module_runs_as_the_command():
    ended = subprocess.run(
        [sys.executable, "-m", "lossfleet.sweeps.commands.cli", "--version"], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("lossfleet ")
