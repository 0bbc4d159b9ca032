from __future__ import annotations

import io
import math

import pandas as pd
import pytest

from sweeps.compare import SHOWN, Comparison
from sweeps.tables import csv_table, markdown_table, presentable, print_table


def comparison(data=("wine", "wine", "wine")):
    table = pd.DataFrame(
        {
            "data": data,
            "strategy": ["focal", "ce", "a|b"],
            "hyperparameters": ["loss.gamma=2", "", "[red]"],
            "replicates": [10, 1, 0],
            "test_macro_f1": [0.91249, 0.5, math.nan],
            "test_macro_f1_std": [0.0216, math.nan, math.nan],
        }
    )
    return Comparison(table, "On wine [bold]focal[/bold] is ahead.", pd.DataFrame())


def test_markdown():
    assert markdown_table(comparison()) == (
        "| strategy | hyperparameters | replicates | test macro f1 |\n"
        "| --- | --- | --- | --- |\n"
        "| focal | loss.gamma=2 | 10 | 0.912 ± 0.022 |\n"
        "| ce |  | 1 | 0.500 |\n"
        "| a\\|b | [red] | 0 | no result |"
    )


def test_csv_gives_the_numbers_back():
    found = comparison()
    back = pd.read_csv(io.StringIO(csv_table(found)), keep_default_na=True, dtype={"hyperparameters": str})
    back["hyperparameters"] = back["hyperparameters"].fillna("")
    pd.testing.assert_frame_equal(back, found.table, check_dtype=False)


@pytest.mark.parametrize(
    ("data", "shown"), [(("wine", "wine", "wine"), False), (("wine", "digits", "digits"), True)]
)
def test_the_data_set_is_a_column_where_there_are_several(data, shown):
    assert ("data" in presentable(comparison(data).table)) == shown


def test_the_terminal_shows_names_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_table(comparison())
    out = capsys.readouterr().out
    for text in ("a|b", "[red]", "0.912 ±0.022", "no result", "On wine [bold]focal[/bold] is ahead."):
        assert text in out
    assert "digits" not in out


def test_the_terminal_has_a_table_a_data_set(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_table(comparison(("wine", "digits", "digits")))
    lines = capsys.readouterr().out.splitlines()
    titles = [line.strip() for line in lines if line.strip() in ("wine", "digits")]
    assert titles == ["digits", "wine"]


def test_five_metrics_fit_into_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = pd.DataFrame(
        {"data": ["wine"], "strategy": ["weighted_ce"], "hyperparameters": [""], "replicates": [10]}
    )
    for metric in SHOWN:
        table[metric], table[f"{metric}_std"] = 0.91249, 0.0216
    print_table(Comparison(table, "", pd.DataFrame()))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("weighted_ce")]
    assert rows[0].split("weighted_ce")[1].count("0.912 ±0.022") == len(SHOWN)
