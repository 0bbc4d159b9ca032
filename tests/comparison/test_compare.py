from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sweep_records

from lossfleet.conf.errors import UserError
from lossfleet.runners.metrics.classification import Outputs, class_numbers, metric_names
from lossfleet.runners.metrics.evaluation import ROW_DIAGRAMS, confusion_names, evaluate, final_metric_names
from lossfleet.runners.records import ReplicateRecord
from lossfleet.sweeps.comparison.frame import FIELDS, SHOWN, frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.comparison.verdict import sentence_about_few_rows
from lossfleet.sweeps.report.printing import (
    check_metric_names,
    print_comparison,
    tell_unknown_metrics,
)

ROWS = ("train_rows", "validation_rows", "test_rows", "test_pool_rows")


def final_frame(levels, *, data="wine", sweep="first", replicates=10, noise=0.01, states=()):
    """Final evaluations of made-up strategies, `level` plus noise on each split."""
    random = np.random.default_rng(11)
    rows = []
    for strategy, level in levels.items():
        for replicate in range(replicates):
            score = level + random.normal(0, noise)
            row = dict.fromkeys(FIELDS, 0) | {"class_names": (), "long_tail": np.nan}
            row |= {"data": data, "sweep": sweep, "strategy": strategy, "stage": "final", "nested": ""}
            row |= {"replicate": replicate, "seed": 100 + replicate, "split": 1000 + replicate, "trial": 3}
            row |= {"state": dict(states).get((strategy, replicate), "COMPLETE"), "train_rows": 300.0}
            row |= {"test_rows": 100.0, "params.optimizer.lr": 0.012345, "params.sampler.neighbors": 5}
            rows.append(row | dict.fromkeys(SHOWN, score))
            if row["state"] == "FAIL":
                rows[-1] |= dict.fromkeys([*SHOWN, "test_rows"], np.nan)
    return pd.DataFrame(rows)


def test_a_row_a_replicate():
    records = sweep_records.sweep()
    table = frame_from_records(records)
    assert list(table.columns[: len(FIELDS) + 2]) == [*FIELDS, "params.loss.gamma", "params.sampler"]
    ended = [record for record in records if isinstance(record, ReplicateRecord)]
    assert len(table) == len(ended)
    for record in ended:
        where = (table["strategy"] == record.strategy) & (table["stage"] == record.stage)
        row = table[where & (table["trial"] == record.trial) & (table["replicate"] == record.replicate)]
        row = row.iloc[0]
        assert (row["seed"], row["split"], row["state"]) == (record.seed, record.split, record.state)
        assert (row["started"], row["ended"], row["epochs"]) == (record.started, record.ended, 7)
        assert row["search_metric"] == "macro_f1"
        for name, value in record.metrics.items():
            assert row[name] == value or (np.isnan(row[name]) and np.isnan(value))
        assert row["class_names"] == ("rare", "häufig")
        if record.strategy == "focal":
            assert row["params.loss.gamma"] == 0.1 * record.trial
        else:
            assert np.isnan(row["params.loss.gamma"])


def test_curves_are_tuples_of_steps_and_values():
    records = sweep_records.sweep()
    table = frame_from_records(records)
    ended = {
        (record.strategy, record.stage, record.trial, record.replicate): record
        for record in records
        if isinstance(record, ReplicateRecord)
    }
    names = {name for record in ended.values() for name in record.curves}
    assert {name for name in table if name.startswith("curves.")} == {f"curves.{name}" for name in names}
    for row in table.to_dict("records"):
        curves = ended[row["strategy"], row["stage"], row["trial"], row["replicate"]].curves
        for name in names:
            expected = tuple(curves.get(name, ()))
            if (row["strategy"], row["trial"], row["replicate"], name) == (
                "focal",
                1,
                0,
                "validation_macro_f1",
            ):
                expected = (*expected[:-1], (7, np.nan))
            # repr, since nan is not nan.
            assert repr(row[f"curves.{name}"]) == repr(expected)
    # The steps of a diagram are no epochs, so it has no last value.
    assert set(ROW_DIAGRAMS) <= names
    assert not set(ROW_DIAGRAMS) & set(table)


def test_replicates_of_a_trial_that_has_not_ended_are_left_out():
    records = sweep_records.sweep()
    cut = records.index(records[-2])
    assert len(frame_from_records(records[:cut])) == len(frame_from_records(records)) - 5


def test_a_record_written_twice_counts_once():
    records = sweep_records.sweep()
    trial = sweep_records.trial("focal", 2, stage="final", level=0.9, replicates=5)
    doubled = [*records[:-1], *trial, records[-1]]
    pd.testing.assert_frame_equal(frame_from_records(doubled), frame_from_records(records))


def test_means_and_deviations_of_the_final_evaluation():
    table = frame_from_records(sweep_records.sweep())
    found = summary(table).table.set_index("strategy")
    assert found.index.tolist() == ["focal", "ce"]
    final = table[table["stage"] == "final"]
    for strategy in ("ce", "focal"):
        scores = final[final["strategy"] == strategy]
        for metric in SHOWN:
            assert found.loc[strategy, metric] == pytest.approx(np.mean(scores[metric]))
            assert found.loc[strategy, f"{metric}_std"] == pytest.approx(np.std(scores[metric], ddof=1))
            assert found.loc[strategy, f"{metric}_median"] == pytest.approx(np.median(scores[metric]))
    assert found["replicates"].tolist() == [5, 5]
    assert found["hyperparameters"].tolist() == ["loss.gamma=0.2 sampler=shuffle", ""]


def test_differences_are_to_the_best_and_to_cross_entropy():
    found = summary(final_frame({"ce": 0.8, "focal": 0.9, "ohem": 0.7}, noise=0.03))
    rows = found.table.set_index("strategy")
    pairs = found.pairwise.set_index(["first", "second"])
    assert rows.index.tolist() == ["focal", "ce", "ohem"]
    for strategy in ("ce", "ohem"):
        pair = pairs.loc[("focal", strategy)]
        row = rows.loc[strategy]
        mean = row["test_balanced_accuracy"] - rows.loc["focal", "test_balanced_accuracy"]
        assert row["difference"] == pytest.approx(mean)
        assert row["difference"] == pytest.approx(-pair["difference"])
        assert (row["difference_low"], row["difference_high"]) == (-pair["high"], -pair["low"])
        assert (row["bootstrap_low"], row["bootstrap_high"]) == (
            -pair["bootstrap_high"],
            -pair["bootstrap_low"],
        )
        assert (
            row["difference_low"]
            < row["bootstrap_low"]
            < mean
            < row["bootstrap_high"]
            < row["difference_high"]
        )
    assert rows.loc["focal", ["difference", "difference_low", "bootstrap_high"]].isna().all()
    assert rows["beaten"].tolist() == [False, True, True]
    for strategy, better in (("focal", True), ("ohem", False)):
        assert (rows.loc[strategy, "ce_difference"] > 0) == better
        assert (rows.loc[strategy, "ce_difference_low"] > 0) == better
        assert (rows.loc[strategy, "ce_bootstrap_high"] > 0) == better
    assert rows.loc["ce", ["ce_difference", "ce_bootstrap_low"]].isna().all()
    assert summary(final_frame({"focal": 0.9, "ohem": 0.7})).table["ce_difference"].isna().all()


def test_the_first_metric_is_compared():
    frame = final_frame({"ce": 0.8, "focal": 0.9})
    frame["test_mcc"] = 1 - frame["test_balanced_accuracy"]
    found = summary(frame, metrics=["test_mcc", "test_balanced_accuracy"])
    assert found.metrics == ("test_mcc", "test_balanced_accuracy")
    assert found.table["strategy"].tolist() == ["ce", "focal"]
    assert found.sentence.startswith("On wine ce has the highest test mcc (0.")
    assert "It is better than focal by 0." in found.sentence


def test_less_is_better_of_some_metrics():
    levels = [{"ce": 0.8, "focal": 0.9, "ohem": 0.85}]
    frame = final_frame(*levels).rename(columns={"test_balanced_accuracy": "test_brier_score"})
    found = summary(frame, metrics=["test_brier_score"])
    assert found.table["strategy"].tolist() == ["ce", "ohem", "focal"]
    assert found.sentence.startswith("On wine ce has the lowest test brier score (0.8")
    assert "It is better than ohem by 0." in found.sentence
    # The difference is that of the numbers in the table.
    row = found.table.set_index("strategy").loc["focal"]
    assert 0 < row["difference_low"] < row["difference"] < row["difference_high"]
    assert row["beaten"]
    many = several(["wine", "digits", "more"], levels)
    many = many.rename(columns={"test_balanced_accuracy": "test_brier_score"})
    ranks = summary(many, metrics=["test_brier_score"]).average_ranks
    assert ranks.to_dict() == {"ce": 1.0, "ohem": 2.0, "focal": 3.0}


def test_metrics_that_an_older_sweep_lacks_are_left_out_of_the_default():
    frame = final_frame({"ce": 0.7, "focal": 0.9}).drop(columns="test_corrected_balanced_accuracy")
    assert summary(frame).metrics == tuple(name for name in SHOWN if "corrected" not in name)
    with pytest.raises(UserError, match="these sweeps have no metric test_corrected_balanced_accuracy"):
        summary(frame, metrics=["test_corrected_balanced_accuracy"])
    with pytest.raises(UserError, match=r"no metric test_recall\[7\]; .*did you mean test_"):
        summary(frame, metrics=["test_recall[7]"])


def test_every_metric_of_a_final_replicate_has_a_known_name(finals):
    measured, _ = finals
    assert set(final_metric_names(class_numbers(3))) == {*measured, "train_loss", *ROWS} | {
        f"validation_{name}" for name in metric_names(class_numbers(3))
    }
    check_metric_names([*measured, "best_epoch"])
    for name in ("test_accurracy", "test_recall", "curves.train_loss", ""):
        with pytest.raises(UserError, match="there is no metric"):
            check_metric_names([name])
    with pytest.raises(UserError, match="test_mcc is there twice"):
        check_metric_names(["test_mcc", "test_mcc"])


@pytest.fixture
def finals():
    """What a final evaluation measures of three classes."""
    logits, labels = np.zeros((1, 3, 5), np.float32), np.array([[0, 1, 2, 0, 1]])
    part = Outputs(logits, labels)
    return evaluate(part, part, class_counts=np.array([2, 2, 1]), rarest_class=2, metric="mcc")


def test_the_search_does_not_enter_the_comparison():
    table = frame_from_records(sweep_records.sweep())
    search = table["stage"] == "search"
    changed = table.copy()
    changed.loc[search, list(SHOWN)] = 1.0
    pd.testing.assert_frame_equal(summary(changed).table, summary(table).table)


def test_a_sweep_continued_with_more_trials_counts_its_last_evaluation():
    records = sweep_records.sweep()[:-1]
    newer = sweep_records.trial("ce", 1, stage="final", level=0.5, replicates=5)
    found = summary(frame_from_records([*records, *newer])).table.set_index("strategy")
    assert found.loc["ce", "test_balanced_accuracy"] == pytest.approx(0.5, abs=0.02)
    assert found["replicates"].tolist() == [5, 5]


def test_the_sentence_tells_real_differences_from_others():
    found = summary(final_frame({"ce": 0.70, "focal": 0.9, "ohem": 0.91}, noise=0.03))
    best = found.table["strategy"][0]
    other = found.table["strategy"][1]
    assert {best, other} == {"focal", "ohem"}
    difference = found.pairwise.set_index(["first", "second"])["difference"][best, "ce"]
    assert found.sentence.startswith(f"On wine {best} has the highest test balanced accuracy (0.9")
    assert "over 10 splits)" in found.sentence
    assert f"It is better than ce by {difference:.3f} (p < 0.001)." in found.sentence
    same = rf"\. {best} and {other} \(p = [\d.]+\) are not distinguishable on these 10 splits\."
    assert re.search(same, found.sentence)
    assert "corrected t-test of 3 pairs, Holm's correction for them." in found.sentence
    assert "Wilcoxon" not in found.sentence


def test_equal_strategies_are_not_called_better():
    found = summary(final_frame({"ce": 0.8, "focal": 0.8, "ohem": 0.8}))
    assert not found.pairwise["distinguishable"].any()
    assert "better" not in found.sentence
    assert found.sentence.count("not distinguishable") == 1


def test_too_few_splits_are_said():
    found = summary(final_frame({"ce": 0.7, "focal": 0.9}, replicates=5))
    said = "Wilcoxon's test cannot confirm any difference with 5 splits: its smallest p is 0.0625"
    assert f"{said}." in found.sentence
    found = summary(final_frame({"ce": 0.7, "focal": 0.9, "ohem": 0.8}, replicates=5))
    assert f"{said}, 0.1875 after Holm." in found.sentence
    found = summary(final_frame({"ce": 0.7, "focal": 0.9}, replicates=1))
    assert "No difference can be tested: all strategies share 1 split." in found.sentence
    assert "better" not in found.sentence
    assert "±" not in found.sentence


def test_one_strategy_alone():
    found = summary(final_frame({"focal": 0.9}))
    assert found.pairwise.empty
    assert found.sentence.startswith("On wine only focal was run: test balanced accuracy 0.9")


def test_strategies_are_ranked_on_the_splits_that_they_share():
    """By its own splits ohem would be ahead: the two that it lacks are the hard ones."""
    lacking = {("ohem", 2): "FAIL", ("ohem", 3): "FAIL"}
    frame = final_frame({"ce": 0.80, "ohem": 0.79, "focal": 0.5}, noise=0.001, states=lacking.items())
    hard = frame["replicate"].isin([2, 3])
    frame.loc[hard & (frame["strategy"] != "ohem"), list(SHOWN)] -= 0.3
    own = frame.groupby("strategy")["test_balanced_accuracy"].mean()
    assert own["ohem"] > own["ce"]
    found = summary(frame)
    assert found.table["strategy"].tolist() == ["ce", "ohem", "focal"]
    assert found.table["replicates"].tolist() == [8, 8, 8]
    assert found.table["missing"].tolist() == [0, 2, 0]
    paired = frame[~hard].groupby("strategy")["test_balanced_accuracy"].mean()
    assert found.table.set_index("strategy")["test_balanced_accuracy"].to_dict() == pytest.approx(
        paired.to_dict()
    )
    assert (found.pairwise["pairs"] == 8).all()
    # The best is the first of each of its pairs, so the sentence names every rival once.
    assert found.pairwise["first"].tolist() == ["ce", "ce", "ohem"]
    assert "(0.800 ± 0.001 over 8 splits)" in found.sentence
    said = "There is no score of ohem on 2 splits; all are compared on the splits that they share."
    assert said in found.sentence


@pytest.mark.parametrize("seed", range(20))
def test_every_rival_is_in_the_sentence_once(seed):
    random = np.random.default_rng(seed)
    levels = {name: random.uniform(0.7, 0.8) for name in ("ce", "ohem", "focal", "weighted_ce")}
    lost = {(name, int(random.integers(10))): "FAIL" for name in levels if random.random() < 0.5}
    found = summary(final_frame(levels, noise=0.02, states=lost.items()))
    best, *others = found.table["strategy"]
    tested = found.sentence.split("This is the corrected t-test")[0]
    for other in others:
        assert len(re.findall(rf"\b{other}(?: by| \()", tested)) == 1, found.sentence
    assert (found.pairwise.loc[found.pairwise["second"] == best]).empty


def test_without_a_split_that_all_share_nothing_is_tested():
    lost = {("ce", replicate): "FAIL" for replicate in range(5)}
    lost |= {("ohem", replicate): "FAIL" for replicate in range(5, 10)}
    found = summary(final_frame({"ce": 0.7, "ohem": 0.9}, states=lost.items()))
    assert found.table["replicates"].tolist() == [5, 5]
    assert "No difference can be tested: all strategies share no split." in found.sentence


def test_diverged_replicates_count_as_chance_and_are_said():
    failed = {("ohem", 2): "FAIL", ("ohem", 3): "FAIL"}
    frame = final_frame({"ce": 0.7, "ohem": 0.75}, states=failed.items())
    diverged = (frame["strategy"] == "ohem") & frame["replicate"].isin([2, 3])
    frame.loc[diverged, [*SHOWN, "test_rows"]] = [*[0.25] * len(SHOWN), 100.0]
    found = summary(frame)
    assert found.table["strategy"].tolist() == ["ce", "ohem"]
    assert found.table["diverged"].tolist() == [0, 2]
    ohem = found.table.set_index("strategy").loc["ohem"]
    assert ohem["replicates"] == 10
    assert ohem["test_balanced_accuracy"] == pytest.approx(0.8 * 0.75 + 0.2 * 0.25, abs=0.01)
    assert "Training diverged, which counts as chance: ohem on 2 splits." in found.sentence


def test_a_difference_that_is_the_same_on_every_split_is_not_tested():
    frame = final_frame({"ce": 0.7, "ohem": 0.8, "focal": 0.75})
    ohem, ce = frame["strategy"] == "ohem", frame["strategy"] == "ce"
    frame.loc[ohem, "test_balanced_accuracy"] = frame.loc[ce, "test_balanced_accuracy"].to_numpy() + 0.125
    found = summary(frame)
    assert (
        "From ce (0.125) it differs by the same on every split, so that nothing can be tested."
        in found.sentence
    )
    assert not found.table["beaten"].iloc[2]
    assert "better than focal" in found.sentence
    assert "This is the corrected t-test of 2 pairs" in found.sentence
    assert "p = nan" not in found.sentence
    frame.loc[ohem, "test_balanced_accuracy"] -= 0.125
    found = summary(frame[frame["strategy"] != "focal"])
    assert found.sentence.startswith("On wine ce and ohem are level: test balanced accuracy 0.7")
    assert "highest" not in found.sentence
    assert "ce has the same score as ohem on every split." in found.sentence
    assert "t-test" not in found.sentence
    assert "differs" not in found.sentence


def test_a_class_with_one_test_row_is_named():
    names = ("a", "b", "c")
    assert sentence_about_few_rows(np.array([9.0, 1.0, 2.0]), names) == (
        "Of b each split has one test row, which says next to nothing about the class."
    )
    assert sentence_about_few_rows(np.array([9.0, 1.0, 1.0]), names).startswith(
        "Of b and c each split has one"
    )
    assert sentence_about_few_rows(np.array([9.0, 3.0, 2.0]), names) == ""
    many = sentence_about_few_rows(np.ones(9), [f"c{number}" for number in range(9)])
    assert many.startswith("Of c0, c1, c2, c3 and 5 more each split")
    frame = final_frame({"ce": 0.7, "focal": 0.9})
    frame["class_names"] = [("x", "y")] * len(frame)
    frame[confusion_names(("x", "y"))] = (7.0, 2.0, 0.0, 1.0)
    assert "Of y each split has one test row" in summary(frame).sentence


def test_a_strategy_without_a_result_does_not_hide_the_others():
    failed = {("smote", replicate): "FAIL" for replicate in range(10)}
    found = summary(final_frame({"ce": 0.7, "ohem": 0.9, "smote": 0.99}, states=failed.items()))
    assert found.table["strategy"].tolist() == ["ohem", "ce", "smote"]
    assert found.pairwise[["first", "second", "pairs"]].to_numpy().tolist() == [["ohem", "ce", 10]]
    assert "It is better than ce" in found.sentence
    assert "smote has no result." in found.sentence
    frame = final_frame({"ce": 0.7, "ohem": 0.9, "smote": 0.99})
    frame.loc[frame["strategy"] == "smote", "test_balanced_accuracy"] = np.nan
    assert summary(frame).sentence == found.sentence
    failed = {("ce", replicate): "FAIL" for replicate in range(10)}
    found = summary(final_frame({"ce": 0.7}, states=failed.items()))
    assert found.sentence == "On wine no final evaluation succeeded."


def several(names, levels):
    return pd.concat(
        [final_frame(levels[index % len(levels)], data=name, sweep=name) for index, name in enumerate(names)]
    )


def test_several_data_sets_are_ranked():
    names = ["wine", "digits", "breast_cancer", "page_blocks", "more", "still_more"]
    found = summary(several(names, [{"ce": 0.5, "focal": 0.9, "ohem": 0.7}]))
    assert found.ranks.average.to_dict() == {"focal": 1.0, "ohem": 2.0, "ce": 3.0}
    assert found.table.groupby("data").size().to_dict() == dict.fromkeys(names, 3)
    assert found.pairwise.groupby("data").size().to_dict() == dict.fromkeys(names, 3)
    assert [line.split()[0] for line in found.sentence.splitlines()] == [*["On"] * 6, "Over"]
    assert "Over 6 data sets Friedman's test finds a difference between the strategies" in found.sentence
    assert (
        "but Wilcoxon's test with Holm's correction cannot say between which with so few data sets (av"
        in found.sentence
    )


def test_data_sets_that_disagree_show_no_difference():
    orders = [{"ce": 0.5, "focal": 0.9, "ohem": 0.7}, {"ce": 0.9, "focal": 0.5, "ohem": 0.7}]
    found = summary(several(["wine", "digits", "breast_cancer", "more"], orders))
    assert "Friedman's test finds no difference between the strategies (p = 1.000) (average" in found.sentence


def test_two_data_sets_are_too_few_and_said_so():
    found = summary(several(["wine", "digits"], [{"ce": 0.5, "focal": 0.9, "ohem": 0.7}]))
    assert "no difference between the strategies (p = 0.167), and could not with so few" in found.sentence
    found = summary(several(list("abcdefgh"), [{"ce": 0.5, "focal": 0.9, "ohem": 0.7}]))
    assert (
        "by Wilcoxon's test with Holm's correction focal better than ohem, focal better than ce and ohem better than ce"
    ) in found.sentence


def test_related_data_sets_are_one_family():
    related = ["page_blocks", "page_blocks_binary"]
    levels = [{"ce": 0.5, "focal": 0.9, "ohem": 0.7}]
    assert summary(several(related, levels)).ranks is None
    assert summary(several(related, levels)).average_ranks.to_dict() == {"focal": 1, "ohem": 2, "ce": 3}
    assert "nothing was tested" in summary(several(related, levels)).sentence
    assert summary(several([*related, "wine"], levels)).ranks.datasets == 2
    assert summary(several([*related, "wine"], levels), families={}).ranks.datasets == 3


def test_what_cannot_be_compared():
    with pytest.raises(UserError, match="no final evaluation"):
        summary(frame_from_records(sweep_records.sweep()[:13]))
    twice = pd.concat([final_frame({"ce": 0.7}), final_frame({"ce": 0.7}, sweep="second")])
    with pytest.raises(UserError, match="the sweeps first, second are on the same data wine"):
        summary(twice)
    with pytest.raises(UserError, match="the format is pdf"):
        print_comparison(None, "pdf")


@pytest.mark.parametrize(
    ("format", "start"),
    [
        ("terminal", "strategy test balanced accuracy"),
        ("md", "| strategy |"),
        ("csv", "data,strategy,"),
        ("latex", "% in the preamble"),
    ],
)
def test_printing(monkeypatch, capsys, format, start):
    asked = []

    def read(*args, **kwargs):
        asked.append((args, kwargs))
        return frame_from_records(sweep_records.sweep())

    claim = {"better": {"strategy": "focal"}, "than": {"strategy": "ce"}}
    rows = [{"strategy": "focal", "macro_f1": 0.95}]
    paper = {"source": "Table 9", "by": ["strategy"], "rows": rows, "claims": [claim]}
    sweep = {"sweep": "first", "data": "wine", "status": "FINISHED", "newer": "", "published": paper}
    monkeypatch.setattr("lossfleet.sweeps.comparison.frame.frame", read)
    monkeypatch.setattr("lossfleet.runners.tracking.read.read_sweeps", lambda *_, **__: [sweep])
    monkeypatch.setenv("COLUMNS", "300")
    print_comparison(["wine"], format, "sqlite:///x.db", "first")
    wanted = {"uri": "sqlite:///x.db", "sweep": "first", "curves": False, "unfinished": True}
    assert asked == [((["wine"],), wanted)]
    out = capsys.readouterr().out
    assert start in " ".join(out.splitlines()[0].split())
    assert ("focal has the highest" in out) == (format != "csv")
    assert ("Table 9" in out) == ("Reproduced: macro" in out) == (format != "csv")


def test_the_order_of_records_does_not_matter():
    records = sweep_records.sweep()
    swapped = [records[0], *records[5:-1], *records[1:5], replace(records[-1], sentence="")]
    pd.testing.assert_frame_equal(frame_from_records(swapped), frame_from_records(records))


def test_the_winner_is_named_with_those_it_cannot_be_told_from():
    ahead = summary(frame_from_records(sweep_records.sweep(levels=(0.8, 0.9))))
    assert ahead.winner == "focal"
    scores = ahead.scores()
    means = dict(zip(ahead.table["strategy"], ahead.table["test_balanced_accuracy"], strict=True))
    assert scores["test_balanced_accuracy"] == means["focal"] == max(means.values())
    assert scores["test_balanced_accuracy.ce"] == means["ce"]
    level = summary(frame_from_records(sweep_records.sweep(levels=(0.8, 0.8))))
    best, other = level.table["strategy"]
    assert level.winner == f"{best} (not distinguishable from {other})"
    alone = [each for each in sweep_records.sweep() if getattr(each, "strategy", "ce") == "ce"]
    assert summary(frame_from_records(alone)).winner == ""


def test_a_search_by_a_metric_that_nobody_knows_says_how_it_is_taken(capsys):
    tell_unknown_metrics(["recall[text]", "worst_error", "macro_f1", "worst_error"])
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("a search was by worst_error, ")
    assert "--config-dir" in said
