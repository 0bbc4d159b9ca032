"""What a final evaluation was made on, and how scores fall on the way to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sweep_records
from scipy import stats
from test_compare import final_frame

from lossfleet.conf.metrics import sign_of
from lossfleet.sweeps.comparison.frame import PRIMARY, frame_from_records
from lossfleet.sweeps.comparison.summary import summary

LEVELS = {"ce": 0.8, "focal": 0.83}


def finals(pool: float | None = None):
    table = final_frame(LEVELS, noise=0.02).assign(validation_rows=100.0)
    return table if pool is None else table.assign(test_pool_rows=pool)


def p_of(table, ratio: float) -> float:
    """The corrected t by its definition, the ratio being that of the rows tested on to the others of their pool."""
    scores = table.pivot(index="split", columns="strategy", values=PRIMARY)
    difference = scores["focal"] - scores["ce"]
    error = np.sqrt((1 / 10 + ratio) * difference.var(ddof=1))
    return 2 * stats.t.sf(abs(difference.mean()) / error, 9)


@pytest.mark.parametrize(
    ("pool", "ratio", "said"),
    [
        (None, 100 / 400, None),
        (250.0, 100 / 150, "All test parts are drawn from 250 rows that the search never saw."),
        (100.0, 0, "All replicates are tested on the same 100 rows, which the search never saw:"),
    ],
)
def test_the_correction_is_that_of_the_rows_that_test_parts_are_drawn_from(pool, ratio, said):
    table = finals(pool)
    found = summary(table)
    assert found.pairwise["p"].item() == pytest.approx(p_of(table, ratio))
    assert ("the search never saw" in found.sentence) == (said is not None)
    assert said is None or said in found.sentence


def test_data_sets_with_and_without_rows_put_aside_stand_side_by_side():
    first, second = finals(), finals(100.0).assign(data="held", sweep="held")
    both = summary(pd.concat([first, second], ignore_index=True))
    p = both.pairwise.set_index("data")["p"]
    assert p["wine"] == pytest.approx(p_of(first, 100 / 400))
    assert p["held"] == pytest.approx(p_of(second, 0))


def test_the_fall_is_from_the_searchs_validation_of_the_best_trial_to_the_test():
    table = frame_from_records(sweep_records.sweep())
    found = summary(table).table.set_index("strategy")
    for strategy, row in found.iterrows():
        own = table[table["strategy"] == strategy]
        final = own[own["stage"] == "final"]
        best = own[(own["stage"] == "search") & (own["trial"] == final["trial"].iloc[0])]
        expected = best["validation_balanced_accuracy"].mean() - final["test_balanced_accuracy"].mean()
        assert row["fall"] == pytest.approx(expected)
        assert expected != pytest.approx(
            final["validation_balanced_accuracy"].mean() - final["test_balanced_accuracy"].mean()
        )


def test_the_fall_is_said_in_the_direction_of_the_metric():
    table = frame_from_records(sweep_records.sweep())
    assert (sign_of("test_brier_score"), sign_of("test_balanced_accuracy")) == (-1, 1)
    names = {name: name.replace("balanced_accuracy", "brier_score") for name in table if "_balanced" in name}
    same = table.rename(columns=names)
    higher, lower = summary(table), summary(same, metrics=["test_brier_score"])
    falls = higher.table.set_index("strategy")["fall"]
    np.testing.assert_allclose(lower.table.set_index("strategy")["fall"][falls.index], -falls)
    for found in (higher, lower):
        fell = found.table.set_index("strategy")["fall"]
        for word, rows in (("worse", fell[fell >= 0]), ("better", -fell[fell < 0])):
            said = [f"{value:.3f} ({strategy})" for strategy, value in rows.items()]
            assert not said or f"{word} by {' and '.join(said)}" in found.sentence


def test_without_a_validated_metric_there_is_no_fall():
    found = summary(final_frame(LEVELS))
    assert found.table["fall"].isna().all()
    assert "validation to the test" not in found.sentence
