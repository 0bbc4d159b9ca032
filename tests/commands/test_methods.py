"""docs/methods.md: its strategies are those that there are, its commands compose, and all of them train."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from forks import run_command

from lossfleet.conf.parts import part_names
from lossfleet.sweeps.commands.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
TINY = (
    "budget.trials=1",
    "budget.replicates=1",
    "budget.final_replicates=2",
    "budget.epochs=3",
    "budget.rungs=1",
)


def strategies() -> list[str]:
    table, *_ = PAGE.split("**Late weights.**")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def test_the_page_has_every_strategy():
    # docs/detection.md has those that find objects.
    of_rows = [name for name in part_names("strategy") if not re.match("retinanet|two_stage", name)]
    assert sorted(strategies()) == of_rows


def test_the_page_has_every_optimizer_and_schedule():
    for name in (*part_names("optimizer"), *part_names("schedule")):
        assert f"`{name}`" in PAGE


def test_commands_of_the_page_compose():
    commands = re.findall(r"`lossfleet sweep ([^`]+)`", PAGE)
    assert len(commands) == 9
    for command in commands:
        assert main(["sweep", *shlex.split(command), "--print-config"]) == 0


def test_all_strategies_train_and_are_compared(tmp_path):
    names = ",".join(strategies())
    sweep = (
        "sweep",
        "data=wine",
        "data.long_tail=10",
        f"strategy={names}",
        *TINY,
        "keep=none",
        "references=[]",
    )
    done = run_command((*sweep, "name=all"), tmp_path)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "studies/all/records.jsonl").read_text().splitlines()]
    ended = {
        each["strategy"]
        for each in records
        if each.get("stage") == "final" and each.get("state") == "COMPLETE"
    }
    assert ended == set(strategies())
