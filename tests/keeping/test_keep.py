"""What a sweep keeps, what is said to expect of it, and what happens where it cannot."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sweep_records import sweep, trial

from lossfleet.conf.deciding import Decision
from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import Keep, Tracking
from lossfleet.runners.records import ReplicateRecord
from lossfleet.sweeps.commands.keep import best_strategy
from lossfleet.sweeps.keeping import keeper as keeping
from lossfleet.sweeps.keeping.expectation import (
    expected_scores,
    interval_within_scale,
    typical_rule,
    typical_temperature,
)
from lossfleet.sweeps.keeping.keep import Order, chosen_strategies, final_evaluation
from lossfleet.sweeps.keeping.keeper import Keeper, attempt

RECORDS = sweep()


def finals() -> list[ReplicateRecord]:
    return final_evaluation("focal", RECORDS)[1]


def with_metrics(**metrics: list[float]) -> list[ReplicateRecord]:
    return [
        replace(record, metrics=record.metrics | {name: values[number] for name, values in metrics.items()})
        for number, record in enumerate(finals())
    ]


def test_the_winner_or_all_that_were_evaluated_are_chosen():
    assert chosen_strategies("none", "focal", RECORDS) == ()
    assert chosen_strategies("winner", "focal", RECORDS) == ("focal",)
    assert chosen_strategies("all", "focal", RECORDS) == ("ce", "focal")
    assert best_strategy(RECORDS) == "focal"
    # The words of the winner name none without rivals.
    alone = [record for record in RECORDS if getattr(record, "strategy", "ce") == "ce"]
    assert best_strategy(alone) == "ce"
    searched = [record for record in RECORDS if getattr(record, "stage", "search") == "search"]
    with pytest.raises(UserError):
        best_strategy(searched)


def test_the_last_final_evaluation_counts_and_none_is_refused():
    later = trial("focal", 5, stage="final", replicates=4, started=1.8e9)
    final, replicates = final_evaluation("focal", [*RECORDS, *later])
    assert (final.trial, len(replicates)) == (5, 4)
    with pytest.raises(UserError, match=r"no final evaluation of ohem.*one of ce, focal"):
        final_evaluation("ohem", RECORDS)


def test_expected_scores_are_the_mean_and_the_interval_of_the_corrected_t():
    scores = [0.7, 0.75, 0.85, 0.8, 0.72]
    found = expected_scores(with_metrics(test_macro_f1=scores, validation_rows=[36.0] * 5))["test_macro_f1"]
    # 107 training and 36 validation rows are learned from, 36 are tested on.
    error = math.sqrt((1 / 5 + 36 / (107 + 36)) * np.var(scores, ddof=1))
    reach = stats.t.ppf(0.975, 4) * error
    assert found["mean"] == pytest.approx(np.mean(scores))
    assert found["error"] == pytest.approx(error)
    assert found["deviation"] == pytest.approx(np.std(scores, ddof=1))
    assert (found["low"], found["high"]) == pytest.approx((np.mean(scores) - reach, np.mean(scores) + reach))


@pytest.mark.parametrize(
    ("metric", "score", "interval"),
    [
        ("test_balanced_accuracy", (0.95, -0.02, 1.042), (0.0, 1.0)),
        ("recall[rare]", (0.5, 0.2, 0.8), (0.2, 0.8)),
        ("test_mcc", (0.1, -1.3, 1.5), (-1.0, 1.0)),
        ("test_mcc", (0.1, -0.3, 0.5), (-0.3, 0.5)),
        ("cost", (1.2, -0.1, 2.5), (0.0, 2.5)),
        ("accuracy", (1.0, None, None), None),
    ],
)
def test_intervals_end_where_a_metric_does(metric, score, interval):
    found = interval_within_scale(metric, dict(zip(("mean", "low", "high"), score, strict=True)))
    assert found == interval


def test_what_cannot_be_said_is_none():
    (one,) = finals()[:1]
    assert expected_scores([one])["test_macro_f1"]["error"] is None
    constant = expected_scores(with_metrics(test_macro_f1=[1.0] * 5))["test_macro_f1"]
    assert (constant["mean"], constant["low"], constant["deviation"]) == (1.0, None, 0.0)
    names = expected_scores(with_metrics(**{"test_confusion[rare][häufig]": [3.0] * 5}))
    assert "test_rows" not in names
    assert "test_confusion[rare][häufig]" not in names


def test_temperatures_at_the_ends_of_their_range_do_not_count():
    assert typical_temperature(with_metrics(temperature=[2.0, 8.0, 0.01, 0.01, 100.0])) == pytest.approx(4)
    assert typical_temperature(with_metrics(temperature=[0.01] * 5)) == 1.0


def test_the_rule_of_a_model_is_the_mean_threshold_or_the_costs():
    replicates = with_metrics(decision_threshold=[0.1, 0.2, 0.3, 0.4, 0.8])
    for decision, class_name in (
        (Decision("threshold", metric="mcc"), "yes"),
        (Decision("threshold", at_least="recall[no]>=0.5"), "no"),
    ):
        found = typical_rule(decision, replicates, ["no", "yes"], rarest_class=1)
        assert found == {"threshold": {"class": class_name, "at_least": pytest.approx(0.36)}}
    costs = Decision("costs", costs={"yes": {"no": 3}})
    assert typical_rule(costs, replicates, ["no", "yes"], rarest_class=1) == {"costs": [[0, 1], [3, 0]]}
    assert typical_rule(Decision("prior"), replicates, ["no", "yes"], rarest_class=1) == {}


def test_what_goes_wrong_costs_the_sweep_nothing_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    """The records' configuration is made up, so that no model can come of it."""

    class Plan:
        keep = Keep(members=2)
        sweep = "first"

        class tracking:
            experiment = "wine"

    monkeypatch.setattr(keeping, "open_dataset", None)
    keeper = Keeper(Plan, None, tmp_path)
    keeper.order("focal", "focal is ahead.", RECORDS)
    keeper.finish(RECORDS)
    keeper.stop()
    printed, told = capsys.readouterr()
    assert "lossfleet: warning: no model was kept" in told
    assert "there is no model of focal; 'lossfleet keep first --strategy focal' makes it later" in told
    assert not printed
    assert not list(tmp_path.iterdir())
    unknown = Order(("ohem",), "wine", 2, "")
    assert "no final evaluation of ohem" in str(attempt(unknown, RECORDS, None, tmp_path))


@pytest.mark.parametrize(
    ("tracking", "name"),
    [
        (Tracking(), "bank-ea3e680f"),
        (Tracking(experiment="our bank/new"), "'our bank_new'"),
        (Tracking(enabled=False), "MODELS/focal"),
        (Tracking(uri="sqlite:///elsewhere.db"), "MODELS/focal"),
    ],
)
def test_the_best_model_has_a_name_where_it_is_registered(tmp_path, monkeypatch, capsys, tracking, name):
    data = SimpleNamespace(label="bank-ea3e680f")
    plan = SimpleNamespace(keep=Keep("all"), sweep="first", tracking=tracking, data=data)
    keeper = Keeper(plan, None, tmp_path)
    keeper.order("focal", "focal is ahead.", RECORDS)
    monkeypatch.setattr(keeping, "attempt", lambda *_: None)
    monkeypatch.setattr(keeping, "is_kept", lambda *_: True)
    keeper.finish(RECORDS)
    models = tmp_path / "models"
    assert capsys.readouterr().out.splitlines() == [
        f"Model of ce: {models}/ce; 'lossfleet predict {models}/ce FILE' uses it",
        f"Model of focal: {models}/focal; 'lossfleet predict {name.replace('MODELS', str(models))} FILE' uses it",
    ]


def test_nothing_is_kept_where_nothing_is_wanted(tmp_path, capsys):
    class Plan:
        keep = Keep("none")
        sweep = "first"

        class tracking:
            experiment = "wine"

    keeper = Keeper(Plan, None, tmp_path)
    keeper.start_ahead()
    keeper.order("focal", "focal is ahead.", RECORDS)
    keeper.finish(RECORDS)
    keeper.stop()
    assert capsys.readouterr() == ("", "")
