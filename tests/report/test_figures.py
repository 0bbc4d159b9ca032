from __future__ import annotations

import io
import json
import math

import mlflow_sweeps
import numpy as np
import pandas as pd
import pytest
import sweep_records
from figures_frame import HOSTILE, figures_frame, several
from PIL import Image
from replicate_runs import factory

from lossfleet.runners.detection.timing import MILLISECONDS
from lossfleet.sweeps.comparison.blocks import WITH
from lossfleet.sweeps.comparison.frame import PRIMARY, frame, frame_from_records
from lossfleet.sweeps.comparison.statistics import bootstrap_interval, compare_pairs
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report import figures
from lossfleet.sweeps.report.figures import data, gallery, interactive
from lossfleet.sweeps.report.figures.marks import (
    BLUES,
    LOOKS,
    OTHER_LOOKS,
    VIRIDIS,
    Bars,
    Cells,
    Line,
    Points,
    Scale,
    looks,
)
from lossfleet.sweeps.report.figures.png import RESOLUTION, WIDTH
from lossfleet.sweeps.report.figures.source import NothingToShow, Source
from lossfleet.sweeps.running import sweep
from lossfleet.sweeps.search.study import importances, plausible_distribution

ALL = {*gallery.FIGURES, "critical_difference"}


def source(table: pd.DataFrame) -> Source:
    return Source(table, "macro_f1", PRIMARY, looks(table["strategy"].unique()))


@pytest.fixture(scope="module")
def drawn():
    """Two data sets, drawn once."""
    return figures.draw_gallery(several())


# The numbers.


def test_intervals_are_those_of_the_statistics():
    table = figures_frame()
    found = data.intervals(table, PRIMARY).set_index("strategy")
    assert list(found.index) == ["mine", "focal", "ce"]
    for strategy in found.index:
        rows = table[(table["strategy"] == strategy) & (table["stage"] == "final")]
        scores = pd.DataFrame({"it": rows[PRIMARY].to_numpy(), "nothing": 0.0})
        pair = compare_pairs(scores, train_rows=90, test_rows=12).iloc[0]
        assert found.loc[strategy, "mean"] == pytest.approx(pair["difference"], abs=1e-12)
        assert found.loc[strategy, "low"] == pytest.approx(pair["bootstrap_low"], abs=1e-12)
        assert found.loc[strategy, "high"] == pytest.approx(pair["bootstrap_high"], abs=1e-12)
        assert found.loc[strategy, "low"] < found.loc[strategy, "mean"] < found.loc[strategy, "high"]


def test_one_score_has_no_interval():
    assert all(math.isnan(end) for end in bootstrap_interval(np.array([0.5])))


def test_trials_have_the_mean_of_their_replicates_and_the_best_so_far():
    table = data.trials(figures_frame(), "macro_f1")
    focal = table[table["strategy"] == "focal"].set_index("trial")
    assert len(table) == 3 * 16
    states = ["COMPLETE", "FAIL", "PRUNED", "COMPLETE", "COMPLETE", "PRUNED"]
    assert list(focal["state"][:6]) == states
    assert focal["value"][4] == pytest.approx(0.5 + 0.04 + 0.01)
    assert math.isnan(focal["value"][1])
    # Pruned and failed trials do not count.
    assert list(focal["best"][:6]) == pytest.approx([0.51, 0.51, 0.51, 0.54, 0.55, 0.55])
    assert list(focal.index[focal["chosen"]]) == [15]


def test_one_replicate_that_failed_fails_its_trial():
    table = figures_frame()
    first = table.index[(table["trial"] == 4) & (table["stage"] == "search") & (table["replicate"] == 0)]
    table.loc[first, "state"] = "FAIL"
    found = data.trials(table, "macro_f1")
    assert set(found.loc[found["trial"] == 4, "state"]) == {"FAIL"}


def test_the_best_trial_so_far_holds_the_constraints_and_may_be_the_lowest():
    table = figures_frame()
    table["feasible"] = table["trial"] != 3
    table["validation_brier_score"] = 1 - table["validation_macro_f1"]
    for metric, expected in (
        ("macro_f1", [0.51, 0.51, 0.51, 0.51, 0.55]),
        ("brier_score", [0.49] * 4 + [0.45]),
    ):
        found = data.trials(table, metric)
        assert list(found[found["strategy"] == "ce"]["best"][:5]) == pytest.approx(expected)


def test_curves_have_means_and_deviations_by_epoch():
    found = data.mean_curve(figures_frame(), "validation_macro_f1").set_index(["strategy", "step"])
    assert found.loc[("ce", 2), "mean"] == pytest.approx(0.7)
    spread = np.std([0.5, 0.6, 0.7, 0.8, 0.9], ddof=1)
    assert found.loc[("ce", 2), "high"] == pytest.approx(0.7 + spread)
    assert found.loc[("focal", 4)].tolist() == pytest.approx([0.7, 0.7, 0.7])
    assert data.mean_curve(figures_frame(), "validation_mcc").empty


def test_reliability_weighs_bins_by_their_examples():
    found = data.reliability(figures_frame()).set_index(["strategy", "step"]).loc[("ce", 8)]
    counts = np.array([10, 11, 12, 13, 14])
    assert found["count"] == counts.sum()
    assert found["confidence"] == pytest.approx(0.5)
    assert found["accuracy"] == pytest.approx((counts * [0, 0.1, 0.2, 0.3, 0.4]).sum() / counts.sum())


def test_confusion_counts_and_shares_of_the_true_class():
    table = figures_frame()
    last = table.index[-1]
    table.loc[last, ["test_confusion[rare][rare]", "test_confusion[rare][common]"]] = [0, 8]
    counts, shares = data.confusions(table)["mine"]
    assert counts.tolist() == [[4 * 6 / 5, (4 * 2 + 8) / 5], [1, 3]]
    assert shares.ravel() == pytest.approx([4 * 0.75 / 5, (4 * 0.25 + 1) / 5, 0.25, 0.75])
    # In the order of the user's numbers, whichever class is the larger one.
    numbers = {"rare": "1", "common": "0"}
    named = table.rename(columns=lambda name: name.replace("rare", "1").replace("common", "0"))
    named["class_names"] = [tuple(numbers.values())] * len(named)
    assert data.class_names(named) == ["0", "1"]
    assert data.confusions(named)["mine"][0].tolist() == counts[::-1, ::-1].tolist()
    # Beside a data set with more classes the columns of these are there, and empty.
    table["test_confusion[rare][other]"] = np.nan
    assert data.confusions(table)["mine"][0].shape == (2, 2)


@pytest.mark.parametrize(
    ("ranks", "groups"),
    [
        ([1, 2, 3], []),
        ([1, 1.5, 3], [(1, 1.5)]),
        ([1, 1.6, 2.2, 3], [(1, 1.6), (1.6, 2.2), (2.2, 3)]),
        ([1, 1.2, 1.4, 4], [(1, 1.4)]),
        ([2, 2, 2], []),
    ],
)
def test_largest_groups_that_cannot_be_told_apart(ranks, groups):
    assert data.indistinguishable(pd.Series(ranks, dtype=float), 0.9) == groups


def test_importances_find_the_parameter_that_matters():
    random = np.random.default_rng(3)
    params = pd.DataFrame(
        {
            "gamma": random.uniform(0, 5, 200),
            "lr": 10 ** random.uniform(-4, -1, 200),
            "sampler": random.choice(["a", "b"], 200),
        }
    )
    params["exponent"] = random.uniform(0, 1, 200)
    params.loc[params["sampler"] == "a", "exponent"] = np.nan
    by_gamma = importances(params, -abs(params["gamma"] - 2))
    assert sum(by_gamma.values()) == pytest.approx(1)
    assert next(iter(by_gamma)) == "gamma"
    assert by_gamma["gamma"] > 0.6
    assert set(by_gamma) == set(params)
    assert next(iter(importances(params, -abs(np.log10(params["lr"]) + 3.5)))) == "lr"
    noise = random.normal(0, 0.01, 200)
    assert next(iter(importances(params, (params["sampler"] == "b") + noise))) == "sampler"


def test_values_that_span_decades_were_sampled_by_their_logarithm():
    assert plausible_distribution(pd.Series([1e-4, 0.3, 0.02])).log
    assert not plausible_distribution(pd.Series([0.0, 5.0, 1e-4])).log
    assert not plausible_distribution(pd.Series([0.05, 1.0])).log
    assert plausible_distribution(pd.Series(["b", "a", "b"])).choices == ("a", "b")


# What they show.


def marks_of(figure, kind):
    return [mark for panel in figure.panels for mark in panel.marks if isinstance(mark, kind)]


def test_strategies_are_in_the_order_of_the_table():
    figure = gallery.FIGURES["strategies"](source(figures_frame()))
    assert list(figure.panels[0].y.names.values()) == ["ce", "focal", "mine"]
    spans = data.intervals(figures_frame(), PRIMARY)[["low", "high"]].to_numpy().tolist()
    assert sorted(list(line.x) for line in marks_of(figure, Line)) == sorted(spans)


def test_scores_stand_over_the_milliseconds_that_an_image_takes():
    figure = gallery.FIGURES["speed"](source(figures_frame()))
    means = data.intervals(figures_frame(), PRIMARY).set_index("strategy")["mean"]
    points = {mark.name: (*mark.x, *mark.y) for mark in marks_of(figure, Points)}
    assert points == {name: (place + 1.5, means[name]) for place, name in enumerate(("ce", "focal", "mine"))}


def test_a_line_joins_what_a_strategy_scores_over_time_in_several_sweeps():
    blocks = [figures_frame(f"wine{WITH}width={width}") for width in (8, 16)]
    blocks[1][MILLISECONDS] += 1
    table = pd.concat(blocks)
    (found,) = gallery.draw_curve(table, summary(table)).drawn
    lines = [line for line in marks_of(found.figure, Line) if line.width == 1]
    assert [list(line.x) for line in lines] == [[1.5, 2.5], [2.5, 3.5], [3.5, 4.5]]
    other = several()
    assert gallery.draw_curve(other, summary(other)).drawn == []


def test_a_grid_is_a_heat_map_with_the_chosen_trial_framed():
    figure = gallery.FIGURES["landscape"](source(figures_frame(grid=True, trials=12)))
    (cells,) = marks_of(figure, Cells)
    # gamma 0, 1, 2 from left to right, tau 1.5, 1, 0.5, 0 from the top; trial 1 failed, trial 11 is chosen.
    expected = [[0.54, 0.58, 0.62], [0.53, 0.57, 0.61], [np.nan, 0.56, 0.60], [0.51, 0.55, 0.59]]
    assert np.array(cells.values) == pytest.approx(np.array(expected), nan_ok=True)
    assert cells.chosen == (0, 2)
    assert cells.texts[2][0] == ""
    assert list(figure.panels[0].x.names.values()) == ["0", "1", "2"]


def test_random_trials_are_points_with_the_chosen_one_marked():
    table = figures_frame()
    figure = gallery.FIGURES["landscape"](source(table))
    *points, star = marks_of(figure, Points)
    assert [mark.filled for mark in points] == [False, True]
    assert sum(len(mark.x) for mark in points) == 15
    chosen = table[(table["strategy"] == "focal") & (table["stage"] == "final")].iloc[0]
    assert (star.x, star.y) == ([chosen["params.loss.gamma"]], [chosen["params.loss.tau"]])


def test_bars_of_importance_sum_to_one():
    figure = gallery.FIGURES["importance"](source(figures_frame()))
    bars = marks_of(figure, Bars)
    assert [sum(bar.widths) for bar in bars] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        (
            "landscape",
            lambda table: table.drop(columns="params.loss.gamma"),
            "no strategy searched loss.gamma",
        ),
        ("landscape", lambda table: table.drop(columns="params.loss.tau"), "no strategy searched loss.alpha"),
        ("history", lambda table: table[table["stage"] == "final"], "no trials of a search"),
        ("importance", lambda table: table[table["trial"] > 6], "needs 10 complete trials, and mine has"),
        ("importance", lambda table: table.drop(columns=list(table.filter(like="params."))), "that vary"),
        ("learning_curves", lambda table: table.drop(columns="curves.validation_macro_f1"), "no curves"),
        ("confusion", lambda table: table.drop(columns=list(table.filter(like="confusion"))), "no confusion"),
        (
            "precision_recall",
            lambda table: table.drop(columns="curves.test_precision_at_recall"),
            "no precision",
        ),
        ("speed", lambda table: table[table["strategy"] == "ce"], "two detectors that were timed"),
        ("reliability", lambda table: table.drop(columns="curves.test_reliability_count"), "10 examples"),
    ],
)
def test_a_figure_that_has_nothing_to_show_says_why(name, spoil, reason):
    with pytest.raises(NothingToShow, match=reason):
        gallery.FIGURES[name](source(spoil(figures_frame())))


# How they look.


def test_every_figure_is_drawn_in_both_forms(drawn):
    assert drawn.left_out == []
    names = {each.figure.name.split("-")[0] for each in drawn.drawn}
    assert names == ALL
    assert len(drawn.drawn) == 2 * (len(ALL) - 1) + 1
    for each in drawn.drawn:
        image = Image.open(io.BytesIO(each.png))
        assert image.format == "PNG"
        assert image.width == WIDTH * RESOLUTION
        assert image.height > 300
        # Something other than white in each tenth of the height but the margins.
        grey = np.asarray(image.convert("L"))
        assert all((band < 200).any() for band in np.array_split(grey, 5))
        assert len(each.plots) == len(each.figure.panels) > 0
        for plot in map(json.loads, each.plots):
            assert plot["data"]
            assert plot["layout"]["height"] > 100


def test_the_same_marks_reach_both_back_ends():
    figure = gallery.FIGURES["strategies"](source(figures_frame()))
    (plot,) = interactive.plotly_figures(figure)
    lines = [trace for trace in plot.data if trace.mode == "lines"]
    points = [trace for trace in plot.data if trace.mode == "markers"]
    assert [list(line.x) for line in lines] == [list(mark.x) for mark in marks_of(figure, Line)]
    assert [list(trace.x) for trace in points] == [list(mark.x) for mark in marks_of(figure, Points)]


def test_a_strategy_looks_the_same_everywhere(drawn):
    colors = {
        mark.look.color
        for each in drawn.drawn
        for panel in each.figure.panels
        if panel.title.startswith("focal")
        for mark in panel.marks
        if isinstance(mark, Points | Line | Bars)
    }
    assert LOOKS["focal"].color in colors
    others = {look.color for look in [*LOOKS.values(), *OTHER_LOOKS]} - {LOOKS["focal"].color}
    assert not colors & others


def test_strategies_differ_without_colours():
    every = [*LOOKS.values(), *OTHER_LOOKS]
    assert len({look.marker for look in every}) == len(every)
    assert len({look.dash for look in LOOKS.values()}) == len(LOOKS)
    assert looks(["b", "ce", "a"])["a"] == OTHER_LOOKS[0]
    assert looks(["b", "ce", "a"])["b"] == OTHER_LOOKS[1]


def luminance(color):
    """Of the WCAG, 0 to 1."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(("colors", "sign"), [(VIRIDIS, 1), (BLUES, -1)])
def test_scales_keep_their_order_in_grey_and_their_texts_are_legible(colors, sign):
    levels = [luminance(color) for color in colors]
    assert all(sign * step > 0 for step in np.diff(levels))
    scale = Scale(2.0, 4.0, colors)
    for value, level in zip(np.linspace(2, 4, len(colors)), levels, strict=True):
        ends = sorted([level, luminance(scale.text_color(value))])
        assert (ends[1] + 0.05) / (ends[0] + 0.05) > 3


def test_names_are_neither_html_nor_formulas():
    table = figures_frame(HOSTILE, strategies=("ce", "focal", HOSTILE))
    table["class_names"] = [(HOSTILE, "common")] * len(table)
    table.columns = [name.replace("[rare]", f"[{HOSTILE}]") for name in table]
    found = figures.draw_gallery(table)
    assert [line.split(":")[0] for line in found.left_out] == ["critical_difference"]
    # Decoded, since plotly's JSON has no angle brackets.
    plots = [json.dumps(json.loads(plot)) for each in found.drawn for plot in each.plots]
    assert not any("<script" in plot for plot in plots)
    assert any("&lt;script" in plot for plot in plots)


# Where they go.


def test_files_of_a_sweep(tmp_path):
    paths = figures.write_figures(figures_frame(), tmp_path / "figures")
    assert {path.name for path in paths} == {f"{name}.png" for name in gallery.FIGURES} | {"figures.html"}
    assert set((tmp_path / "figures").iterdir()) == set(paths)
    page = paths[-1].read_text()
    assert page.count("data-plot=") > 8
    assert "critical_difference: it needs three strategies" in page


def test_a_figure_that_fails_takes_no_other_along(monkeypatch, capsys):
    def broken(_):
        raise ZeroDivisionError("no luck")

    monkeypatch.setitem(gallery.FIGURES, "history", broken)
    found = figures.draw_gallery(figures_frame())
    assert len(found.drawn) == len(gallery.FIGURES) - 1
    assert "warning: the figure history could not be drawn (ZeroDivisionError" in capsys.readouterr().err


def test_the_journal_and_mlflow_give_the_same_figures(uri, workdir):
    records = sweep_records.sweep()
    mlflow_sweeps.mirror(workdir, uri, records)
    ours, theirs = (
        figures.draw_gallery(table)
        for table in (frame_from_records(records), frame([mlflow_sweeps.EXPERIMENT], uri=uri))
    )
    assert len(ours.drawn) >= 5
    assert [each.plots for each in ours.drawn] == [each.plots for each in theirs.drawn]
    assert [each.png for each in ours.drawn] == [each.png for each in theirs.drawn]
    assert ours.left_out == theirs.left_out


def test_a_sweep_ends_with_its_figures(tmp_path, capsys):
    end = sweep.conclude(sweep_records.sweep(), tmp_path, factory("wine"))
    assert end.state == "FINISHED"
    assert (tmp_path / "figures" / "strategies.png").exists()
    out = capsys.readouterr().out
    assert out.index("focal has the highest") < out.index("figures.html")


def test_a_sweep_has_its_result_without_figures(tmp_path, capsys):
    (tmp_path / "figures").write_text("in the way")
    end = sweep.conclude(sweep_records.sweep(), tmp_path, factory("wine"))
    assert end.state == "FINISHED"
    assert end.sentence == summary(frame_from_records(sweep_records.sweep())).sentence
    captured = capsys.readouterr()
    assert "focal has the highest" in captured.out
    assert "warning: there are no figures (FileExistsError" in captured.err
