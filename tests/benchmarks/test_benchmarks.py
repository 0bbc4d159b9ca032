"""Each benchmark runs and has the rows it should, with PyTorch or, where it is not installed, without."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from forks import ForkedCommand
from postgres import binaries

from tests.benchmarks.__main__ import NAMES
from tests.benchmarks.measure import HAS_TORCH, NO_TORCH, ROOT

LOSSFLEET = ["lossfleet, the same work", "lossfleet as it comes (median pruner)"]
TORCH = ["PyTorch script, 1 process", "PyTorch script, joblib 2 processes"] if HAS_TORCH else []
# The cells of the first column of each table.
ROWS: dict[str, list[list[object]]] = {
    "kernel": [[1]],
    "latency": [
        [
            "--help",
            "sweep --help",
            "configuration error",
            "one training of one epoch, and the final one",
            "launch to the main job's first epoch",
            "the same, first time on a machine",
            "launch to the sweep's run in MLflow",
            "launch to the first replicate's run in MLflow",
        ]
    ],
    "growth": [[5, 5]],
    "searching": [["neither"]],
    "sweep": [[*LOSSFLEET, *TORCH, "MindSpore default mode"]],
    "losses": [["(97, 5)"] * 6],
    "methods": [["focal", "asymmetric", "crt", "under_bagging"]],
    "images": [["pool"]],
    "detection": [["small"]],
    "large_table": [[1000]],
    "scaling": [
        ["journal file", "SQLite", "PostgreSQL"],
        ["SQLite, inserted directly", "server over PostgreSQL"],
        [1, 10] * 3,
    ],
    "optimism": [["wine"]],
}
# Which have peers of PyTorch.
WITH_TORCH = ("kernel", "sweep", "images", "detection", "large_table")


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_runs(name: str, tmp_path: Path) -> None:
    if name == "scaling":
        binaries()
    arguments = (name, "--quick", "--output", str(tmp_path / "results.json"))
    command = ForkedCommand(arguments, ROOT, module="tests.benchmarks")
    printed, errors = command.communicate(600)
    assert command.returncode == 0, errors
    (tables,) = json.loads((tmp_path / "results.json").read_text())["benchmarks"].values()
    assert [[next(iter(row.values())) for row in table["rows"]] for table in tables] == ROWS[name]
    numbers = [
        value
        for table in tables
        for row in table["rows"]
        for value in row.values()
        if isinstance(value, float)
    ]
    assert all(math.isfinite(number) for number in numbers)
    for table in tables:
        assert all(seconds > 0 for measured in table["samples"].values() for seconds in measured)
        assert f"## {table['title']}" in printed
    if name in WITH_TORCH:
        assert (NO_TORCH in printed) != HAS_TORCH
    if name == "kernel":
        columns = [column for column in tables[0]["rows"][0] if "PyTorch" in column]
        assert len(columns) == (3 if HAS_TORCH else 0)
