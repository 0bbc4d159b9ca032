"""The best strategy beside the references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_compare import final_frame, several

from lossfleet.sweeps.comparison.frame import SHOWN
from lossfleet.sweeps.comparison.statistics import corrected_t
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report import tables
from lossfleet.sweeps.report.figures import data
from lossfleet.sweeps.report.html import report_tables

LEVELS = {"ce": 0.7, "focal": 0.9}
REFERENCES = {"dummy": 0.2, "forest": 0.9, "boosting": 0.95}


def with_references(frame, levels=REFERENCES, **changes):
    """The frame and made-up references on its splits, after an earlier evaluation of them that does not count."""
    for trial, shift in ((0, -0.5), (1, 0.0)):
        moved = {name: level + shift for name, level in levels.items()}
        rows = [
            final_frame(moved, data=name, sweep=sweep)
            for (name, sweep), _ in frame.groupby(["data", "sweep"])
        ]
        random = np.random.default_rng(5)
        references = pd.concat(rows).assign(stage="reference", trial=trial, **changes)
        noise = random.normal(0, 0.02, (len(references), 1))
        references[list(SHOWN)] += noise
        frame = pd.concat([frame, references], ignore_index=True)
    return frame


def test_they_have_no_place_in_the_ranking():
    frame = several(["wine", "digits", "more"], [{**LEVELS, "ohem": 0.8}])
    plain, found = summary(frame), summary(with_references(frame))
    pd.testing.assert_frame_equal(found.table, plain.table)
    pd.testing.assert_frame_equal(found.pairwise, plain.pairwise)
    pd.testing.assert_series_equal(found.average_ranks, plain.average_ranks)
    assert plain.references is None
    assert len(found.references) == 3 * len(REFERENCES)


def test_the_best_strategy_is_tested_against_each():
    frame = with_references(final_frame(LEVELS))
    found = summary(frame)
    assert found.winner == "focal"
    table = found.references.set_index("strategy")
    assert list(table.index) == ["boosting", "forest", "dummy"]
    own = frame[(frame["strategy"] == "focal")].set_index("split")[SHOWN[0]]
    tests = {}
    for name in table.index:
        rows = frame[(frame["strategy"] == name) & (frame["trial"] == 1)].set_index("split")[SHOWN[0]]
        tests[name] = corrected_t((rows - own).to_numpy(), train_rows=300, test_rows=100)
        assert table.loc[name, SHOWN[0]] == pytest.approx(rows.mean())
        assert table.loc[name, "difference"] == pytest.approx((rows - own).mean())
    assert table["p"].to_dict() == pytest.approx({name: test.p for name, test in tests.items()})
    # Holm's correction for three tests: the smallest p three times, the next twice.
    ordered = table["p"].sort_values()
    assert table.loc[ordered.index[0], "p_holm"] == pytest.approx(3 * ordered.iloc[0], rel=1e-9, abs=0)
    assert table.loc["forest", "p_holm"] == pytest.approx(max(ordered.iloc[2], 2 * ordered.iloc[1]))
    assert table["beaten"].to_dict() == {"boosting": False, "forest": False, "dummy": True}
    assert table["ahead"].to_dict() == {"boosting": True, "forest": False, "dummy": False}
    assert ((table["difference_low"] > 0) | (table["difference_high"] < 0)).to_dict() == {
        "boosting": True,
        "forest": False,
        "dummy": True,
    }


def test_less_is_better_of_some_metrics():
    frame = with_references(final_frame(LEVELS)).rename(columns={SHOWN[0]: "test_log_loss"})
    table = summary(frame, metrics=["test_log_loss"]).references.set_index("strategy")
    assert list(table.index) == ["dummy", "forest", "boosting"]
    assert table["ahead"].to_dict() == {"dummy": True, "forest": False, "boosting": False}
    assert table["beaten"].to_dict() == {"dummy": False, "forest": True, "boosting": True}


def test_the_sentence_names_them():
    sentence = summary(with_references(final_frame(LEVELS))).sentence
    assert "Beside the references, which are not tuned: focal is better than dummy (0.2" in sentence
    assert "focal is worse than boosting (0.9" in sentence
    assert "focal and forest (0." in sentence
    assert "are not distinguishable." in sentence


def test_a_reference_without_a_split_in_common_is_shown_and_not_tested():
    frame = with_references(final_frame(LEVELS), {"forest": 0.9})
    frame.loc[frame["stage"] == "reference", "split"] += 500
    found = summary(frame)
    (row,) = found.references.itertuples()
    assert (row.replicates, row.beaten, row.ahead) == (0, False, False)
    assert "focal could not be tested against forest" in found.sentence
    failed = with_references(final_frame(LEVELS), {"forest": 0.9}, state="FAIL")
    assert summary(failed).references is None


@pytest.mark.parametrize("metrics", [None, ["test_macro_f1"]])
def test_tables_have_them_below_a_rule(metrics, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    found = summary(with_references(final_frame(LEVELS)), metrics=metrics)
    grid = tables.grids(found)[0]
    assert [row[0].text for row in grid.rows] == ["focal", "ce", "boosting", "forest", "dummy"]
    assert grid.rule == 2
    assert not any(cell.best for row in grid.rows[2:] for cell in row)
    markdown = tables.markdown_table(found).splitlines()
    assert [line.split(" | ")[0].strip("| *") for line in markdown[2:8]] == [
        "focal", "ce", "references, not tuned", "boosting", "forest", "dummy"
    ]  # fmt: skip
    latex = tables.latex_table(found).splitlines()
    assert latex[latex.index(next(line for line in latex if line.startswith("boosting"))) - 1] == "\\midrule"
    tables.print_table(found)
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    place = next(index for index, line in enumerate(printed) if line.startswith("boosting"))
    assert set(printed[place - 1].strip()) == {"─"}
    assert next(report_tables(found)).rule == 2
    rows = tables.csv_table(found).splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["focal", "ce", "boosting", "forest", "dummy"]
    assert [row.rpartition(",")[2] for row in rows] == ["reference", "False", "False", "True", "True", "True"]


def test_tables_of_several_data_sets_have_them_below_a_rule():
    frame = several(["wine", "digits", "more"], [{**LEVELS, "ohem": 0.8}])
    grid = tables.grids(summary(with_references(frame)))[0]
    assert grid.rule == 3
    assert [row[0].text for row in grid.rows[3:]] == list(dict.fromkeys(row[0].text for row in grid.rows[3:]))
    assert {row[0].text for row in grid.rows[3:]} == set(REFERENCES)
    # No rank.
    assert [row[-1].text for row in grid.rows[3:]] == [""] * 3


def test_the_figure_shows_them_below_the_strategies():
    frame = with_references(final_frame(LEVELS))
    table = data.reference_intervals(frame, SHOWN[0])
    assert table["strategy"].tolist() == ["boosting", "forest", "dummy"]
    assert (table["low"] < table["mean"]).all()
    assert data.intervals(frame, SHOWN[0])["strategy"].tolist() == ["focal", "ce"]
