"""What a final evaluation was made on, and how scores fall on the way to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sweep_records
from scipy import stats
from test_compare import final_frame

from lossfleet.conf.metrics import sign_of
from lossfleet.sweeps.comparison.evaluated import confusion_of
from lossfleet.sweeps.comparison.frame import PRIMARY, SHOWN, frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.comparison.verdict import sentence_about_classes

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


def confused(counts: dict[str, list[list[int]]], names: tuple[str, ...]) -> pd.DataFrame:
    """Final evaluations whose replicates have these counts, one more of the last class right in each next one."""
    table = finals()
    table["class_names"] = [names] * len(table)
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            found = table["strategy"].map(lambda strategy, at=(row, column): counts[strategy][at[0]][at[1]])
            table[f"test_confusion[{first}][{second}]"] = found.astype(float)
    table[f"test_confusion[{names[-1]}][{names[-1]}]"] += table["replicate"]
    return table


def test_the_sentence_says_what_the_best_takes_classes_for():
    names = ("text", "line", "graphic", "picture")
    focal = [[990, 4, 3, 3], [0, 96, 4, 0], [9, 0, 89, 2], [12, 1, 3, 79]]
    table = confused({"focal": focal, "ce": np.full((4, 4), 7).tolist()}, names)
    # Of picture 12 of 95, 96, ..., 104 rows, which are 995 in ten splits: 12.06 %.
    said = (
        "Of its test rows focal takes of picture 12% for text and of graphic 9% for text; "
        "the other classes are right in at least 96%."
    )
    assert said in summary(table).sentence
    assert "ce takes" not in summary(table).sentence
    # A replicate without a score does not count.
    diverged = table.assign(state=np.where(table["replicate"] > 0, "FAIL", "COMPLETE"))
    diverged.loc[diverged["replicate"] > 0, [*SHOWN, "test_rows"]] = np.nan
    assert "of picture 13% for text" in summary(diverged).sentence


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([[96, 4], [1, 19]], "focal takes of b 5% for a; a is right in at least 96%."),
        ([[90, 10], [15, 85]], "focal takes of b 15% for a and of a 10% for b."),
        ([[1000, 44], [1, 29]], "focal is right in at least 95% of the test rows of each class."),
        ([[71, 0], [0, 0]], "focal is right in at least 100% of the test rows of each class."),
    ],
)
def test_only_what_is_worth_it_is_said(counts, said):
    assert sentence_about_classes("focal", np.array(counts), ("a", "b")).endswith(said)


def test_of_many_classes_the_worst_four_are_named():
    names = tuple(f"c{number}" for number in range(13))
    counts = np.diag(np.full(13, 100))
    for number in range(6):
        counts[number, 12] = 10 + number
    assert confusion_of(finals().assign(class_names=[names] * 20), "focal") is None
    said = summary(
        finals().assign(class_names=[names] * 20), confusions={"focal": counts, "ce": counts.T}
    ).sentence
    assert (
        "focal takes of c5 13% for c12, of c4 12% for c12, of c3 12% for c12 and of c2 11% for c12; the other "
        "classes are right in at least 90%."
    ) in said


def test_sweeps_without_counts_say_nothing_of_classes():
    assert "test rows" not in summary(frame_from_records(sweep_records.sweep())).sentence
