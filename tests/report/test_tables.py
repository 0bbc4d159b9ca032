"""Tables as text: what they say, and names shown as they are in every format."""

from __future__ import annotations

import io
import math
import re

import pandas as pd
import pytest

from lossfleet.sweeps.comparison.frame import SHOWN, Comparison
from lossfleet.sweeps.report.tables import (
    csv_table,
    escape_latex,
    escape_markdown,
    latex_table,
    markdown_table,
    print_table,
)

WILD = r"a|b & c_d % #1 {x} ~^ \end <i> $e$ [red]*"


def table(data="wine", strategies=("focal", "ce", WILD), metrics=SHOWN):
    best, second, failed = strategies
    rows = pd.DataFrame(
        {
            "data": data,
            "strategy": [best, second, failed],
            "hyperparameters": ["loss.gamma=2", "", "name=[red]a|b"],
            "replicates": [10, 1, 0],
        }
    )
    for metric in metrics:
        rows[metric] = [0.91249, 0.5, math.nan]
        rows[f"{metric}_std"] = [0.0216, math.nan, math.nan]
    rows["difference_low"] = [math.nan, -0.6213, math.nan]
    rows["difference_high"] = [math.nan, -0.2049, math.nan]
    return rows.assign(beaten=[False, True, False])


def comparison(metrics=SHOWN[:1], **changes):
    return Comparison(
        metrics, table(metrics=metrics, **changes), f"On wine [bold]{WILD}[/bold].", pd.DataFrame()
    )


def several(data_sets=("wine", "digits"), ranks=None, metrics=SHOWN[:1]):
    turned = [("focal", "ce", WILD), ("ce", "focal", WILD)]
    parts = [table(data, turned[index % 2], metrics) for index, data in enumerate(data_sets)]
    ranks = pd.Series({"focal": 1.25, "ce": 1.75} if ranks is None else ranks)
    return Comparison(metrics, pd.concat(parts, ignore_index=True), "Said.", pd.DataFrame(), ranks)


def test_markdown_of_one_data_set():
    assert markdown_table(comparison(strategies=("focal", "ce", "a|b"))) == (
        "| strategy | test balanced accuracy | difference to the best, 95 % |\n"
        "| --- | --- | --- |\n"
        "| focal | **0.912 ±0.022** |  |\n"
        "| ce | 0.500\\* | -0.62 to -0.20 |\n"
        "| a\\|b | no result |  |\n\n"
        "\\* the best is better: corrected t-test, Holm's correction, p < 0.05\n\n"
        "| strategy | splits | best hyperparameters |\n"
        "| --- | --- | --- |\n"
        "| focal | 10 | loss.gamma=2 |\n"
        "| ce | 1 |  |\n"
        "| a\\|b | 0 | name=\\[red\\]a\\|b |"
    )


def test_markdown_of_several_data_sets():
    assert markdown_table(several(ranks={"focal": 1.25, "ce": 1.75, WILD: 3.0})).split("\n\n")[:2] == [
        "test balanced accuracy:",
        "| strategy | wine | digits | average rank |\n"
        "| --- | --- | --- | --- |\n"
        "| focal | **0.912 ±0.022** | 0.500\\* | 1.25 |\n"
        "| ce | 0.500\\* | **0.912 ±0.022** | 1.75 |\n"
        f"| {escape_markdown(WILD)} | no result | no result | 3.00 |",
    ]


def test_more_metrics_of_several_data_sets_are_more_tables_without_marks():
    found = markdown_table(several(metrics=("test_macro_f1", "test_brier_score")))
    first, second = found.split("test brier score:")
    assert first.startswith("test macro f1:")
    assert "average rank" in first
    assert "average rank" not in second
    assert "\\*" in first
    assert "\\*" not in second.replace(escape_markdown(WILD), "")
    # The lowest Brier score is the best one.
    assert "| ce | **0.500** | 0.912 ±0.022 |" in second


def test_a_strategy_that_is_missing_on_a_data_set_has_an_empty_place():
    found = several()
    found.table.drop(index=0, inplace=True)
    assert "| focal |  | 0.500\\* | 1.25 |" in markdown_table(found)


def test_many_data_sets_go_into_several_tables(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"data_set_{number}" for number in range(7)]
    print_table(several(names))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    headers = [line for line in lines if line.startswith("strategy")]
    # The words of "average rank" stand above each other.
    assert [header.split()[1:-1] for header in headers] == [names[:4], names[4:]]
    assert sum(line.startswith("focal") for line in lines) == 2


def test_latex_is_whole():
    for found in (comparison(), several(("wine", "digits", "a_b"))):
        text = latex_table(found)
        assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule")
        opened = re.findall(r"\\begin\{(\w+)\}", text)
        assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+)\}", text))
        for columns, body in re.findall(
            r"\\begin\{tabular\}\{(l+)\}\n\\toprule\n(.*?)\n\\bottomrule", text, re.DOTALL
        ):
            rows = [line for line in body.splitlines() if line != r"\midrule"]
            assert len(rows) == 4
            for row in rows:
                assert row.endswith(r" \\")
                assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
        # Without what is escaped no special character is left but the commands' own.
        plain = re.sub(
            r"\\[&%$#_{}]|\$[^$]*\$|\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}", "", text
        )
        plain = plain.split("\n", 1)[1]
        assert not set("%#_~^$<>|") & set(plain)
        assert plain.count("{") == plain.count("}")
    assert r"\textbf{0.912 $\pm$0.022}" in text
    assert r"0.500{*}" in text


def test_latex_escapes():
    assert escape_latex("a_b & 50 % #1 {x} $") == r"a\_b \& 50 \% \#1 \{x\} \$"
    assert escape_latex("\\~^<>|") == (
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
    )
    # At a row's start both would be the option of the row before.
    assert escape_latex("[x]*") == "{[}x]{*}"
    assert escape_latex("-0.62 to -0.20, 1e-05 t-test") == "$-$0.62 to $-$0.20, 1e-05 t-test"


def test_markdown_escapes():
    assert escape_markdown("a|b_c*d`e[f](g)<b>&\\") == r"a\|b\_c\*d\`e\[f\](g)&lt;b&gt;&amp;\\"
    assert "\n" not in escape_markdown("a\nb")


def test_csv_gives_the_numbers_back():
    found = comparison(metrics=SHOWN)
    back = pd.read_csv(io.StringIO(csv_table(found)), keep_default_na=True, dtype={"hyperparameters": str})
    back["hyperparameters"] = back["hyperparameters"].fillna("")
    pd.testing.assert_frame_equal(back, found.table, check_dtype=False)


def test_the_terminal_shows_names_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_table(comparison())
    out = capsys.readouterr().out
    for text in (WILD, "name=[red]a|b", "0.912 ±0.022", "no result", f"On wine [bold]{WILD}[/bold]."):
        assert text in out
    assert "digits" not in out


def test_the_terminal_has_a_table_of_data_sets(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    print_table(several())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["test", "balanced", "accuracy"] in lines
    assert ["focal", "0.912", "±0.022", "0.500*", "1.25"] in lines
    assert ["ce", "0.500*", "0.912", "±0.022", "1.75"] in lines


def test_no_note_without_marks(capsys):
    found = comparison()
    found.table["beaten"] = False
    print_table(found)
    assert "the best is better" not in capsys.readouterr().out
    assert "the best is better" not in markdown_table(found) + latex_table(found)


def test_the_default_table_fits_into_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = table(strategies=("weighted_ce", "resampling", "focal"))
    for metric in SHOWN:
        rows[metric], rows[f"{metric}_std"] = 0.91249, 0.0216
    print_table(Comparison(SHOWN, rows, "", pd.DataFrame()))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = (line for line in lines if line.startswith("resampling") and "±" in line)
    assert row.split("resampling")[1].count("0.912 ±0.022") == len(SHOWN)
    assert "0.912 ±0.022* -0.62 to -0.20 0.912" in row


@pytest.mark.parametrize(
    ("letters", "lost"),
    [
        (12, []),
        (18, ["the deviations of test macro f1", "the deviations of test macro average precision"]),
        (
            30,
            [
                "the deviations of test corrected balanced accuracy",
                "the deviations of test macro f1",
                SHOWN[3],
            ],
        ),
        (50, SHOWN[1:]),
    ],
)
def test_names_stay_whole_where_columns_give_way(letters, lost, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "hist_gradient_boosting_of_mine"[:letters].ljust(letters, "x")
    print_table(Comparison(SHOWN, table(strategies=(name, "ce", "focal")), "", pd.DataFrame()))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(name) for line in lines) == 2
    told = re.search(r"without room in 80 columns: (.*?)\n\n", "\n".join(lines), re.DOTALL)
    found = told[1].replace("\n", " ").replace("  ", " ").split(", ") if told else []
    assert found == [each.replace("_", " ") for each in lost]
