"""Several sweeps on one data set side by side, and sweeps that are not finished."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sweep_records
from mlflow_sweeps import append, mirror

from lossfleet.conf.errors import UserError
from lossfleet.runners.records import TrialRecord
from lossfleet.sweeps.comparison.blocks import block_names, family_of, in_order
from lossfleet.sweeps.comparison.frame import frame, frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report.conclusion import conclude_side_by_side
from lossfleet.sweeps.report.figures import draw_curve, draw_gallery
from lossfleet.sweeps.report.figures.data import by_ratio
from lossfleet.sweeps.report.figures.marks import Points
from lossfleet.sweeps.report.printing import read_comparisons
from lossfleet.sweeps.report.tables import csv_table, latex_table, markdown_table, print_table

RATIOS = (100, 10, 50)


def with_settings(records, **settings):
    """The records of trials that were trained with these settings of data and model."""
    groups = {"data": {"name": "wine", "path": str(id(records))}, "model": {"widths": [32, 32]}}
    for name, value in settings.items():
        group, _, key = name.partition("_")
        groups[group] = groups[group] | {key: value}
    return [
        replace(each, config=each.config | groups) if isinstance(each, TrialRecord) else each
        for each in records
    ]


def sweep_with(number, *, data="wine", levels=(0.8, 0.9), **settings):
    started = sweep_records.STARTED + 1000 * number
    return with_settings(sweep_records.sweep(f"s{number}", data, started, levels), **settings)


@pytest.fixture(scope="module")
def long_tails():
    """Three sweeps whose training parts were thinned, in no order."""
    sweeps = [
        sweep_with(number, data_long_tail=float(ratio), levels=(0.9 - ratio / 1000, 0.9))
        for number, ratio in enumerate(RATIOS)
    ]
    return frame_from_records(*sweeps)


def rows(*sweeps):
    return [
        {"data": "d", "sweep": str(number), "nested": "", "settings": each}
        for number, each in enumerate(sweeps)
    ]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([{"data.long_tail": "10.0"}], ["d"]),
        ([{"data.long_tail": "10.0"}, {}], ["d with long_tail=10", "d with long_tail=null"]),
        (
            [
                {"model.widths": "[16]", "data.test_fraction": "0.2"},
                {"model.widths": "[64, 64]", "data.test_fraction": "0.2"},
            ],
            ["d with widths=[16]", "d with widths=[64,64]"],
        ),
        (
            [{"model.name": "mlp", "model.widths": "[16]"}, {"model.name": "net"}],
            ["d with model=mlp", "d with model=net"],
        ),
        ([{"model.widths": "[16]"}, {"model.widths": "[16]"}], ["d with sweep=0", "d with sweep=1"]),
    ],
)
def test_a_block_is_named_by_what_sets_it_apart(settings, names):
    found = block_names(rows(*settings))
    assert list(found.values()) == names
    assert list(found) == [("d", str(number)) for number in range(len(settings))]


def test_every_table_names_its_ratio(long_tails, capsys):
    alone = frame_from_records(sweep_with(0, data_long_tail=50.0))
    print_table(summary(alone))
    assert capsys.readouterr().out.startswith("training parts thinned to 50 : 1 ")
    assert markdown_table(summary(alone)).startswith("training parts thinned to 50 : 1:\n\n| strategy")
    two = frame_from_records(
        sweep_with(0, data_long_tail=50.0), sweep_with(1, data="digits", data_long_tail=50.0)
    )
    assert "balanced accuracy, training parts thinned to 50 : 1:" in markdown_table(summary(two))
    # Where it differs the headings name it.
    assert "thinned" not in markdown_table(summary(long_tails))
    assert "thinned" not in markdown_table(summary(frame_from_records(sweep_with(0))))


def test_blocks_are_ordered_by_their_numbers():
    names = [f"wine with long_tail={ratio}" for ratio in (100, 9, 2.5, 10)]
    assert in_order([*names, "digits", names[0]]) == ["digits", names[2], names[1], names[3], names[0]]


def test_versions_of_a_file_and_blocks_are_one_family():
    assert family_of("iris-0a1b2c3d", {}) == family_of("iris-99999999 with long_tail=10", {}) == "iris"
    assert (
        family_of("page_blocks_binary with widths=[16]", {"page_blocks_binary": "page_blocks"})
        == "page_blocks"
    )
    assert family_of("iris-0a1b2c3d", {"iris-0a1b2c3d": "first"}) == "first"


def test_sweeps_side_by_side_are_blocks_of_one_table(long_tails, capsys):
    found = summary(long_tails)
    blocks = [f"wine with long_tail={ratio}" for ratio in sorted(RATIOS)]
    assert list(dict.fromkeys(found.table["data"])) == blocks
    lines = markdown_table(found).splitlines()
    firsts = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    block = [
        "long\\_tail=10",
        "focal",
        "ce",
        "long\\_tail=50",
        "focal",
        "ce",
        "long\\_tail=100",
        "focal",
        "ce",
    ]
    assert firsts == ["strategy", "---", *block] * 2
    for ratio, data in zip(sorted(RATIOS), blocks, strict=True):
        alone = summary(
            frame_from_records(
                *[
                    sweep_with(
                        RATIOS.index(ratio), data_long_tail=float(ratio), levels=(0.9 - ratio / 1000, 0.9)
                    )
                ]
            )
        )
        own = found.table[found.table["data"] == data].drop(columns="data").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone.table.drop(columns="data"))
    assert found.average_ranks is None
    assert (
        found.sentence.splitlines()[-1] == "These sweeps are on one data set, so nothing is tested over them."
    )
    assert "long_tail=100" in latex_table(found).replace("\\_", "_")
    print_table(found)
    assert "long_tail=50" in capsys.readouterr().out


def test_the_curve_has_the_means_by_ratio(long_tails):
    found = summary(long_tails)
    table = by_ratio(long_tails, found.table, found.metrics[0])
    assert table["ratio"].tolist() == sorted(RATIOS) * 2
    means = found.table.set_index(["data", "strategy"])[found.metrics[0]]
    for row in table.itertuples():
        assert row.mean == means[f"wine with long_tail={row.ratio:g}", row.strategy]
    (drawn,) = draw_curve(long_tails, found).drawn
    (panel,) = drawn.figure.panels
    assert panel.x.names == {0: "10", 1: "50", 2: "100"}
    points = {mark.name: list(mark.y) for mark in panel.marks if isinstance(mark, Points)}
    assert points == {name: table.loc[table["strategy"] == name, "mean"].tolist() for name in ("ce", "focal")}
    assert "imbalance" in [each.figure.name for each in draw_gallery(long_tails, found).drawn]


def test_several_sweeps_end_with_one_table_and_the_curve(workdir, capsys):
    folders = [workdir / "studies" / f"s{number}" for number in range(2)]
    for number, folder in enumerate(folders):
        append(folder, sweep_with(number, data_long_tail=[2.0, 4.0][number]))
    conclude_side_by_side(folders)
    out = capsys.readouterr().out
    assert "Side by side (lossfleet compare --sweeps s0 s1):" in out
    assert out.index("long_tail=2 ") < out.index("long_tail=4 ")
    (beside,) = workdir.glob("studies/_side_by_side-*")
    assert {path.name for path in beside.iterdir()} == {"imbalance.png", "figures.html"}


def test_there_is_no_curve_without_ratios():
    for settings in ({"data_long_tail": 10.0}, {"data_long_tail": None}):
        sweeps = [sweep_with(n, model_widths=[16 * (n + 1)], **settings) for n in range(2)]
        table = frame_from_records(*sweeps)
        assert set(table["data"]) == {"wine with widths=[16]", "wine with widths=[32]"}
        assert draw_curve(table, summary(table)).drawn == []


def test_two_versions_of_one_file_are_no_two_data_sets():
    versions = [sweep_with(0, data="iris-0a1b2c3d"), sweep_with(1, data="iris-4e5f6a7b")]
    others = [sweep_with(2, data="wine"), sweep_with(3, data="irises-4e5f6a7b")]
    frames = frame_from_records(*versions, *others)
    third = frames[frames["strategy"] == "focal"].assign(strategy="third")
    found = summary(pd.concat([frames, third], ignore_index=True))
    assert found.ranks.datasets == 3
    said = "iris-0a1b2c3d and iris-4e5f6a7b have one file name and count as one data set."
    assert found.sentence.splitlines()[-1] == said
    means = found.table.pivot(index="data", columns="strategy", values=found.metrics[0])
    means = means.groupby(lambda data: data.split("-")[0]).mean()
    expected = means.rank(axis=1, ascending=False).mean()
    assert found.average_ranks.to_dict() == expected.to_dict()


def test_sweeps_are_read_side_by_side_from_mlflow(uri, tmp_path):
    sweeps = [sweep_with(number, data_long_tail=float(ratio)) for number, ratio in enumerate((2, 4))]
    for number, records in enumerate(sweeps):
        mirror(tmp_path / str(number), uri, records)
    pd.testing.assert_frame_equal(frame(uri=uri, sweep=["s1", "s0"]), frame_from_records(*sweeps))
    assert set(frame(uri=uri, sweep="s1")["data"]) == {"wine"}


@pytest.fixture
def killed(uri, tmp_path):
    """A sweep of which focal's search has ended and ce's has begun; nothing is evaluated."""
    records = [sweep_records.start(), *sweep_records.trial("ce", 0, level=0.7)]
    for number, level in enumerate((0.8, 0.9, 0.6)):
        records += sweep_records.trial("focal", number, level=level)
    records += sweep_records.trial("focal", 3, state="PRUNED", level=0.95)
    mirror(tmp_path / "killed", uri, records)
    return frame_from_records(records)


def compared(uri, sweep=None):
    return list(read_comparisons(None, uri, sweep, None, 0.01))


def test_an_unfinished_sweep_shows_the_best_so_far(uri, killed, capsys):
    (found,) = compared(uri)
    assert found.metrics == ("validation_macro_f1",)
    assert found.table["strategy"].tolist() == ["focal", "ce"]
    own = killed[(killed["strategy"] == "focal") & (killed["trial"] == 1)]["validation_macro_f1"]
    row = found.table.iloc[0]
    assert row["validation_macro_f1"] == pytest.approx(np.mean(own))
    assert row["validation_macro_f1_std"] == pytest.approx(np.std(own, ddof=1))
    assert (row["trials"], row["replicates"]) == (4, 3)
    assert row["hyperparameters"] == "loss.gamma=0.1 sampler=shuffle"
    assert found.sentence.startswith("UNFINISHED: MLflow has the sweep first on wine as KILLED. ")
    assert "Trials that have ended: ce 1, focal 4. So far focal has the highest" in found.sentence
    assert "nothing is tested before the final evaluation." in found.sentence
    assert not found.table["beaten"].any()
    for shown in (markdown_table, latex_table):
        assert "0.897 " in shown(found)
        assert "difference" not in shown(found)
    assert "0.8967" in csv_table(found)
    print_table(found)
    assert "UNFINISHED" in capsys.readouterr().out


def test_a_strategy_of_which_nothing_has_ended_is_there_too(uri, tmp_path):
    records = [sweep_records.start(), *sweep_records.trial("focal", 0, state="PRUNED")]
    studies = {name: {"strategy": name, "search": {"metric": "macro_f1"}} for name in ("ce", "focal")}
    records[0] = replace(records[0], config={"studies": studies})
    mirror(tmp_path / "begun", uri, records)
    (found,) = compared(uri)
    assert sorted(found.table["strategy"]) == ["ce", "focal"]
    assert markdown_table(found).count("no result") == 2
    assert found.sentence.endswith("Trials that have ended: ce 0, focal 1.")


def test_an_unfinished_sweep_that_is_evaluated_is_compared_and_marked(uri, tmp_path):
    mirror(tmp_path / "first", uri, sweep_records.sweep()[:-1])
    (found,) = compared(uri)
    mark, sentence = found.sentence.splitlines()
    assert mark.startswith("UNFINISHED: MLflow has the sweep first on wine as KILLED; these are")
    assert sentence == summary(frame_from_records(sweep_records.sweep())).sentence


def test_finished_sweeps_come_first_and_a_later_one_is_named(uri, tmp_path, killed, capsys):
    mirror(tmp_path / "old", uri, sweep_with(-1))
    (found,) = compared(uri)
    assert found.metrics[0] == "test_balanced_accuracy"
    assert (
        "wine has a later sweep that is not finished: --sweeps first shows it so far"
        in capsys.readouterr().err
    )
    both = compared(uri, ["first", "s-1"])
    assert [each.metrics[0] for each in both] == ["test_balanced_accuracy", "validation_macro_f1"]
    assert capsys.readouterr().err == ""


def test_a_sweep_of_which_nothing_has_ended_is_said(uri, tmp_path):
    mirror(tmp_path / "begun", uri, [sweep_records.start()])
    with pytest.raises(UserError, match=r"no trial of the sweep first on wine has ended \(KILLED\)"):
        compared(uri)
