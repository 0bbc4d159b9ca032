"""What a difference is: of the ranking, of the threshold, practically none, or not known."""

from __future__ import annotations

import numpy as np
import pytest
from test_compare import final_frame

from lossfleet.sweeps.comparison.summary import summary

CORRECTED, RANKING = "test_corrected_balanced_accuracy", "test_macro_average_precision"


def kinds(gains: dict[str, float], *, argmax: float = 0.1, rope: float = 0.01) -> tuple[str, str]:
    """The kind and the sentence where resampling is ahead of ce by so much at the argmax and in other metrics."""
    frame = final_frame({"ce": 0.7, "resampling": 0.7 + argmax}, noise=0.01)
    random = np.random.default_rng(5)
    for column in (CORRECTED, RANKING):
        ahead = np.where(frame["strategy"] == "resampling", gains.get(column, 0.0), 0.0)
        frame[column] = 0.8 + ahead + random.normal(0, 0.01, len(frame))
    found = summary(frame, rope=rope)
    return found.pairwise["kind"].item(), found.sentence


def test_what_is_ahead_at_the_argmax_alone_has_another_threshold():
    kind, sentence = kinds({})
    assert kind == "better at the argmax alone"
    assert (
        "After a correction for the prior, tuned on validation, no difference to ce can be shown, nor one in average "
        "precision: what resampling changes there is the decision threshold, not the ranking."
    ) in sentence


def test_what_is_ahead_in_all_is_better_everywhere():
    kind, sentence = kinds({CORRECTED: 0.1, RANKING: 0.1})
    assert kind == "better everywhere"
    assert "The difference to ce stays after a correction for the prior" in sentence
    assert "threshold" not in sentence


@pytest.mark.parametrize(
    ("column", "words"), [(CORRECTED, "after a correction for the prior"), (RANKING, "in average precision")]
)
def test_what_is_ahead_in_one_of_both_says_in_which(column, words):
    kind, sentence = kinds({column: 0.1})
    assert kind == f"better at the argmax and {words}"
    assert f"Against ce it is {kind} alone." in sentence


def test_worse_in_another_metric_is_not_better_there():
    assert kinds({CORRECTED: -0.1, RANKING: -0.1})[0] == "better at the argmax alone"


def test_what_lies_within_the_region_is_practically_equal():
    kind, sentence = kinds({}, argmax=0.0, rope=0.05)
    assert kind == "practically equal"
    assert "Probably within 0.05 of " in sentence
    kind, sentence = kinds({}, argmax=0.0, rope=0.0001)
    assert kind == "not distinguishable"
    assert "practically" not in sentence


def test_a_metric_without_decisions_is_only_better():
    frame = final_frame({"ce": 0.7, "focal": 0.8})
    frame["test_mcc"] = frame["test_balanced_accuracy"]
    for metric in (RANKING, CORRECTED, "test_mcc"):
        found = summary(frame, metrics=[metric])
        assert found.pairwise["kind"].item() == "better"
        assert "correction" not in found.sentence
