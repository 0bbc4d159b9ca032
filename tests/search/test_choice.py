"""Which trial is best, which trials are on the front, and when a study stops."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import sweep_records
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lossfleet.conf.schema import Budget, Config, Constraint, Search, choose
from lossfleet.runners.records import TrialRecord
from lossfleet.sweeps.comparison.frame import frame_from_records
from lossfleet.sweeps.comparison.front import front_members, is_on_front, trade_offs
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.planning.plan import Plan, Study
from lossfleet.sweeps.planning.space import Dimension
from lossfleet.sweeps.report.tables import markdown_table
from lossfleet.sweeps.running.jobs import Job, ReplicateState
from lossfleet.sweeps.search.choice import best_trial, trials_without_improvement
from lossfleet.sweeps.search.stopping import Stop, remarks, searched_seconds

BOTH = Search(metrics=["balanced_accuracy", "expected_calibration_error"])


def record(number: int, *values: float, missed: float | None = None, state: str = "COMPLETE", **times):
    names = ("balanced_accuracy", "expected_calibration_error")
    return TrialRecord(
        strategy="ce",
        stage="search",
        trial=number,
        state=state,
        params={},
        config={"search": {"metric": names[0], "metrics": list(names)}},
        value=values[0] if values else None,
        started=times.get("started", 0.0),
        ended=times.get("ended", 1.0),
        values=dict(zip(names, values, strict=False)),
        violations={} if missed is None else {"rarest_recall >= 0.5": missed},
    )


@pytest.mark.parametrize(
    ("search", "trials", "best"),
    [
        (Search(), [record(0, 0.5), record(1, 0.7), record(2, 0.7), record(3, state="FAIL")], 1),
        (Search(), [record(0, state="PRUNED")], None),
        (BOTH, [record(0, 0.7, 0.2), record(1, 0.7, 0.1), record(2, 0.6, 0.0)], 1),
        (Search(), [record(0, 0.9, missed=0.1), record(1, 0.5, missed=0.0), record(2, 0.6, missed=-0.2)], 2),
        (Search(), [record(0, 0.9, missed=0.2), record(1, 0.5, missed=0.1), record(2, 0.4, missed=0.1)], 1),
    ],
)
def test_the_best_trial(search, trials, best):
    found = best_trial(trials, search)
    assert (found.trial if found else None) == best


def test_less_of_an_error_is_better():
    low = TrialRecord("ce", "search", 0, "COMPLETE", {}, {}, 0.1, 0, 1, values={"brier_score": 0.1})
    high = TrialRecord("ce", "search", 1, "COMPLETE", {}, {}, 0.2, 0, 1, values={"brier_score": 0.2})
    assert best_trial([high, low], Search(metric="brier_score")) is low


@given(arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 4).map(float)))
def test_the_front_is_what_nothing_dominates(points):
    def dominated(one: np.ndarray) -> bool:
        return any((other >= one).all() and (other > one).any() for other in points)

    assert list(is_on_front(points)) == [not dominated(each) for each in points]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=15))
def test_trials_without_improvement_counts_since_the_front_grew(pairs):
    trials = [record(number, a / 10, b / 10) for number, (a, b) in enumerate(pairs)]
    count = 0
    for index, (a, b) in enumerate(pairs):
        covered = any(x >= a and y <= b for x, y in pairs[:index])
        count = count + 1 if covered else 0
    assert trials_without_improvement(trials, BOTH) == count
    # Of one metric the running maximum says it.
    highest = list(itertools.accumulate((a for a, _ in pairs), max))
    assert trials_without_improvement(trials, Search()) == len(pairs) - 1 - highest.index(highest[-1])


def test_a_pruned_or_failed_trial_is_no_improvement():
    trials = [record(0, 0.5), record(1, state="PRUNED"), record(2, state="FAIL"), record(3, 0.5)]
    assert trials_without_improvement(trials, Search()) == 3


def test_feasible_comes_before_better():
    trials = [record(0, 0.9, missed=0.3), record(1, 0.2, missed=-0.1), record(2, 0.8, missed=0.1)]
    assert trials_without_improvement(trials, Search()) == 1


def test_seconds_count_once_however_many_trials_are_under_way():
    times = [(0.0, 4.0), (1.0, 2.0), (3.0, 5.0), (100.0, 107.0)]
    trials = [record(number, 0.5, started=a, ended=b) for number, (a, b) in enumerate(times)]
    assert searched_seconds(trials) == 5 + 7
    assert searched_seconds([]) == 0


def test_a_study_stops_by_time_and_by_no_progress(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("lossfleet.sweeps.search.stopping.time.monotonic", lambda: clock[0])
    earlier = [record(0, 0.5, started=0.0, ended=7.0)]
    stop = Stop(Budget(seconds=10), Search(), earlier)
    assert not stop.is_due(earlier)
    clock[0] += 2.9
    assert not stop.is_due(earlier)
    clock[0] += 0.1
    assert stop.is_due(earlier)
    stop = Stop(Budget(patience=2), Search(), [])
    assert [stop.is_due([record(n, v) for n, v in enumerate(values)]) for values in
            ([], [0.5], [0.5, 0.4], [0.5, 0.4, 0.5], [0.5, 0.4, 0.5, 0.6])] == [
                False, False, False, True, False]  # fmt: skip


def make_plan(**budget: object) -> Plan:
    config = Config(
        strategy="ce",
        data=choose("data", "wine"),
        loss=choose("loss", "cross_entropy"),
        search=Search(constraint="rarest_recall >= 0.5"),
        budget=Budget(**budget),
    )
    return Plan("first", (Study("ce", config, (Dimension("optimizer.lr", "float", 0.1, 1.0),)),))


def test_the_end_says_which_study_stopped_why_and_what_holds_no_constraint():
    trials = [record(0, 0.5, missed=-0.1), record(1, 0.4, missed=-0.1), record(2, 0.4, missed=-0.1)]
    assert remarks(make_plan(trials=3, patience=9), trials) == [
        "ce stopped after 3 trials: it has all its trials"
    ]
    assert remarks(make_plan(patience=2), trials) == [
        "ce stopped after 3 trials: the last 2 brought no improvement"
    ]
    assert remarks(make_plan(seconds=5, patience=9), trials) == [
        "ce stopped after 3 trials: its 5 s are over"
    ]
    assert remarks(make_plan(), trials) == []
    (said,) = remarks(make_plan(), [record(0, 0.5, missed=0.2), record(1, 0.4, missed=0.1)])
    assert said.startswith("no trial of ce holds rarest_recall >= 0.5: trial 1")


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [
        ("rarest_recall >= 0.5", 0.3, 0.2),
        ("rarest_recall>=.5", 0.75, -0.25),
        (" brier_score <= 1e-1 ", 0.3, 0.2),
        ("mcc >= -0.5", -0.25, -0.25),
        ("mcc >= 0.123456789", 0.0, 0.123456789),
        ("brier_score <= 1", 1.25, 0.25),
    ],
)
def test_constraints_are_read_and_measured(text, value, violation):
    constraint = Constraint.parse(text)
    assert constraint.violation(value) == pytest.approx(violation)
    assert Constraint.parse(str(constraint)) == constraint
    assert ".0" not in str(constraint)
    assert Search(constraint=text) == Search(constraint=[str(constraint)])


def test_a_job_has_a_value_for_each_metric_and_each_constraint():
    search = Search(metrics=["mcc", "brier_score"], constraint="rarest_recall >= 0.5")
    config = Config(
        strategy="ce",
        data=choose("data", "wine"),
        loss=choose("loss", "cross_entropy"),
        search=search,
        pruner=choose("pruner", "none"),
    )
    metrics = [(0.5, 0.25, 0.25), (0.75, 0.5, 0.5)]
    names = ("validation_mcc", "validation_brier_score", "validation_rarest_recall")
    runs = [
        ReplicateState(number, number, number, metrics=dict(zip(names, row, strict=True)))
        for number, row in enumerate(metrics)
    ]
    ended = Job("ce", "search", 3, {}, config, runs).finish()
    assert (ended.state, ended.value) == ("COMPLETE", 0.625)
    assert ended.values == {"mcc": 0.625, "brier_score": 0.375}
    assert ended.violations == {"rarest_recall >= 0.5": 0.125}
    runs[0].metrics["validation_rarest_recall"] = float("nan")
    broken = Job("ce", "search", 3, {}, config, runs).finish()
    assert (broken.state, broken.value, broken.values, broken.violations) == ("FAIL", None, {}, {})
    assert broken.reason == "validation_rarest_recall is nan"


def several_metrics() -> list:
    """A made-up sweep that optimised two metrics: of ce trials 0 and 2 are on the front, of focal trial 1."""
    records = [sweep_records.start()]
    shown = {
        ("ce", 0): (0.9, 0.3, -0.1), ("ce", 1): (0.7, 0.35, -0.1), ("ce", 2): (0.6, 0.1, -0.1),
        ("ce", 3): (0.99, 0.0, 0.2), ("focal", 0): (0.5, 0.2, -0.1), ("focal", 1): (0.95, 0.2, -0.1),
    }  # fmt: skip
    for (strategy, number), (accuracy, error, missed) in shown.items():
        trial = sweep_records.trial(strategy, number, replicates=2)
        for replicate, shift in zip(trial, (-0.01, 0.01), strict=False):
            replicate.metrics["validation_balanced_accuracy"] = accuracy + shift
            replicate.metrics["validation_expected_calibration_error"] = error + shift
        trial[-1].config["search"] = {"metrics": ["balanced_accuracy", "expected_calibration_error"]}
        trial[-1].values.update(balanced_accuracy=accuracy, expected_calibration_error=error)
        trial[-1].violations.update({"rarest_recall >= 0.5": missed})
        records += trial
    for strategy in ("ce", "focal"):
        records += sweep_records.trial(strategy, 0, stage="final", replicates=4)
    return records


def test_the_front_in_frame_table_and_sentence():
    frame = frame_from_records(several_metrics())
    front = trade_offs(frame)
    assert {(row.strategy, row.trial) for row in front.itertuples()} == {
        ("ce", 0), ("ce", 1), ("ce", 2), ("focal", 0), ("focal", 1)
    }  # fmt: skip
    comparison = summary(frame)
    assert front_members(comparison) == [["ce", 0], ["ce", 2], ["focal", 1]]
    overall = front[front["pareto_overall"]]
    assert [(row.strategy, row.trial) for row in overall.itertuples()] == [("ce", 2), ("focal", 1)]
    assert overall["balanced_accuracy"].to_list() == pytest.approx([0.6, 0.95])
    assert (
        "2 trials are on the Pareto front of balanced accuracy and expected calibration error"
        in comparison.sentence
    )
    assert "ce 1, focal 1" in comparison.sentence
    assert "| focal | 1 | 0.950 | 0.200 |" in markdown_table(comparison)


def test_one_metric_has_no_front():
    comparison = summary(frame_from_records(sweep_records.sweep()))
    assert isinstance(comparison.front, pd.DataFrame)
    assert len(comparison.front) == 0
    assert front_members(comparison) == []
    assert "Pareto" not in comparison.sentence
