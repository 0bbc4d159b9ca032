"""A nested evaluation: the sweeps of its outer parts joined, their scores averaged by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sweep_records
from mlflow_sweeps import mirror
from scipy import stats

from lossfleet.runners.records import EndRecord, ReferenceRecord, ReplicateRecord, TrialRecord
from lossfleet.sweeps.comparison.frame import PRIMARY, frame, frame_from_records
from lossfleet.sweeps.comparison.nested import join_outer_parts
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report.figures import draw_gallery
from lossfleet.sweeps.report.printing import read_comparisons

LEVELS = ((0.8, 0.9), (0.7, 0.84), (0.75, 0.86))
VALIDATED = "validation_balanced_accuracy"


def outer_part(number, levels, *, planned=4, name="whole"):
    """The records of a sweep on one outer part; its winner has a gamma of its own."""
    records = sweep_records.sweep(
        f"{name}-outer{number}", "wine", sweep_records.STARTED + 1000 * number, levels
    )
    first = records[0]
    evaluation = {"evaluation": {"name": "nested", "outer_parts": planned, "outer_part": number}}
    studies = {strategy: study | evaluation for strategy, study in first.config["studies"].items()}
    records[0] = replace(first, config=first.config | {"studies": studies})
    finals = [each for each in records if isinstance(each, ReplicateRecord) and each.stage == "final"]
    # As many rows as a test part has are put aside.
    for each in finals:
        each.metrics.update(test_pool_rows=36.0, validation_rows=35.0)
    model = [replace(each, strategy="forest", stage="reference") for each in finals if each.strategy == "ce"]
    reference = ReferenceRecord({"name": "forest"}, model, finals[0].started, finals[0].ended)
    return [
        replace(each, params=each.params | {"loss.gamma": float(number)})
        if isinstance(each, TrialRecord) and each.strategy == "focal" and each.trial == 2
        else each
        for each in [*records[:-1], reference, records[-1]]
    ]


def parts():
    return [outer_part(number, levels) for number, levels in enumerate(LEVELS, start=1)]


def mean_of(records, strategy, stage, metric, trial=None):
    return np.mean(
        [
            each.metrics[metric]
            for each in records
            if isinstance(each, ReplicateRecord)
            and (each.strategy, each.stage) == (strategy, stage)
            and trial in (None, each.trial)
        ]
    )


def test_strategies_are_compared_on_the_means_of_the_outer_parts():
    sweeps = parts()
    found = summary(frame_from_records(*sweeps))
    table = found.table.set_index("strategy")
    assert (table["replicates"] == 3).all()
    assert (table["missing"] == 0).all()
    scores = {
        name: np.array([mean_of(records, name, "final", PRIMARY) for records in sweeps])
        for name in ("ce", "focal")
    }
    for name, values in scores.items():
        assert table.loc[name, PRIMARY] == pytest.approx(values.mean())
        assert table.loc[name, f"{PRIMARY}_std"] == pytest.approx(values.std(ddof=1))
        trial = 2 if name == "focal" else 0
        validated = np.mean([mean_of(records, name, "search", VALIDATED, trial) for records in sweeps])
        assert table.loc[name, "fall"] == pytest.approx(validated - values.mean())
    difference = scores["focal"] - scores["ce"]
    # Outer parts are drawn from all rows, so the correction is that of resampled test parts.
    error = np.sqrt((1 / 3 + 36 / (107 + 35)) * difference.var(ddof=1))
    assert found.pairwise["p"].item() == pytest.approx(2 * stats.t.sf(difference.mean() / error, 2))
    (forest,) = found.references.itertuples()
    assert (forest.strategy, forest.replicates) == ("forest", 3)
    assert forest.difference == pytest.approx(-difference.mean())


def test_the_sentence_says_what_a_split_is_and_what_is_not_there_yet():
    sentence = summary(frame_from_records(*parts())).sentence
    assert "over 3 splits" in sentence
    assert "Each split is an outer part with a search of its own, which never saw its test part" in sentence
    assert "(1 of the 4 outer parts are not there yet)" in sentence
    assert "the search never saw:" not in sentence
    assert "sweeps are on one data set" not in sentence


def test_hyperparameters_are_those_of_all_outer_parts():
    table = summary(frame_from_records(*parts())).table.set_index("strategy")
    assert table.loc["focal", "hyperparameters"] == "loss.gamma=1..3 sampler=shuffle"


def test_an_outer_part_alone_is_a_sweep_as_any_other():
    alone = frame_from_records(outer_part(1, LEVELS[0]))
    pd.testing.assert_frame_equal(join_outer_parts(alone), alone)
    found = summary(alone)
    assert (found.table["replicates"] == 5).all()
    assert "All replicates are tested on the same 36 rows" in found.sentence


def test_other_sweeps_stay_as_they_are():
    other = sweep_records.sweep("other", "digits")
    both = frame_from_records(*parts(), other)
    joined = join_outer_parts(both)
    pd.testing.assert_frame_equal(
        joined[joined["data"] == "digits"].reset_index(drop=True)[list(both)],
        both[both["data"] == "digits"].reset_index(drop=True),
        check_dtype=False,
    )
    assert set(summary(both).table["data"]) == {"digits", "wine"}


def test_a_replicate_that_diverged_counts_as_chance_and_one_that_has_no_score_is_left_out():
    sweeps = parts()
    scores = []
    for record in list(sweeps[0]):
        if not (isinstance(record, ReplicateRecord) and (record.strategy, record.stage) == ("ce", "final")):
            continue
        place = sweeps[0].index(record)
        if record.replicate == 0:
            sweeps[0][place] = replace(record, state="FAIL", metrics=record.metrics | {PRIMARY: 0.5})
            scores.append(0.5)
        elif record.replicate == 1:
            sweeps[0][place] = replace(record, state="FAIL", metrics={})
        else:
            scores.append(record.metrics[PRIMARY])
    rest = [mean_of(records, "ce", "final", PRIMARY) for records in sweeps[1:]]
    table = summary(frame_from_records(*sweeps)).table.set_index("strategy")
    assert table.loc["ce", PRIMARY] == pytest.approx(np.mean([np.mean(scores), *rest]))
    assert table.loc["ce", "diverged"] == 1


def test_figures_show_the_outer_parts_and_no_search(capsys):
    table = frame_from_records(*parts())
    gallery = draw_gallery(table)
    assert "strategies" in {drawn.figure.name for drawn in gallery.drawn}
    assert not {"landscape", "history"} & {drawn.figure.name for drawn in gallery.drawn}
    assert "could not be drawn" not in capsys.readouterr().err


def test_mlflow_has_all_parts_under_one_name(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mirror(tmp_path / "before", uri, sweep_records.sweep("before", started=sweep_records.STARTED - 9000))
    sweeps = parts()
    for number, records in enumerate(sweeps):
        mirror(tmp_path / str(number), uri, records)
    expected = summary(frame_from_records(*sweeps)).table
    for sweep in (None, "whole", ["whole-outer1", "whole-outer2", "whole-outer3"]):
        pd.testing.assert_frame_equal(summary(frame(uri=uri, sweep=sweep)).table, expected)
    alone = frame(uri=uri, sweep="whole-outer2")
    assert set(alone["sweep"]) == {"whole-outer2"}
    # One that runs still is shown beside those that have ended.
    running = [each for each in outer_part(4, LEVELS[0]) if not isinstance(each, EndRecord)]
    mirror(tmp_path / "4", uri, [each for each in running if getattr(each, "stage", "search") == "search"])
    found, searching = read_comparisons(None, uri, None, None, 0.01)
    pd.testing.assert_frame_equal(found.table, expected)
    assert searching.sentence.startswith("UNFINISHED: MLflow has the sweep whole-outer4")
