"""A sweep beside what was published: claims judged by hand, and what cannot be judged."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from lossfleet.conf.errors import UserError
from lossfleet.conf.published import CLAIMS, Better, Falls, Published, Untrained, claim_of
from lossfleet.sweeps.comparison.published import judge, reproduce
from lossfleet.sweeps.comparison.settings import Settings

# By gamma and alpha the metric on three validation splits.
SCORES = {
    (0.0, 0.25): (0.30, 0.32, 0.34),
    (0.0, 0.75): (0.40, 0.43, 0.41),
    (2.0, 0.25): (0.50, 0.55, 0.57),
    (2.0, 0.75): (0.20, 0.20, 0.20),
    (5.0, 0.25): (0.01, 0.02, 0.03),
    (5.0, 0.75): (0.00, 0.00, 0.00),
}
FINALS = {"focal": (0.5, 0.6, 0.7), "ohem": (0.3, 0.41, 0.49)}
ROWS = {"train_rows": 60.0, "validation_rows": 20.0, "test_rows": 20.0}


def replicate(strategy, stage, trial, number, score, **changes):
    part, first = ("validation", 0) if stage == "search" else ("test", 1000)
    row = {"sweep": "one", "data": "scenes", "strategy": strategy, "stage": stage, "trial": trial}
    row |= {"seed": number, "split": first + number, "state": "COMPLETE", "search_metric": "ap", "ended": 1.0}
    return row | {f"{part}_ap": score} | (ROWS if stage == "final" else {}) | changes


def frame(scores=SCORES, **changes):
    rows = [
        replicate(
            "focal",
            "search",
            trial,
            number,
            score,
            **{"params.loss.gamma": gamma, "params.loss.alpha": alpha},
        )
        for trial, ((gamma, alpha), own) in enumerate(scores.items())
        for number, score in enumerate(own)
    ]
    rows += [
        replicate(strategy, "final", 2, number, score)
        for strategy, own in FINALS.items()
        for number, score in enumerate(own)
    ]
    return pd.DataFrame(rows).assign(**changes)


def corrected(differences, ratio):
    """Nadeau and Bengio's t and its two-sided p, by the definition."""
    error = math.sqrt((1 / len(differences) + ratio) * np.var(differences, ddof=1))
    t = np.mean(differences) / error
    return t, 2 * stats.t.sf(abs(t), len(differences) - 1)


def sentences(*claims, table=None):
    published = Published("a table", ("loss.gamma",), (), claims)
    return reproduce(frame() if table is None else table, published).sentences


def test_settings_stand_by_their_best_trial_or_by_a_final_evaluation():
    settings = Settings(frame())
    best = settings.find({"loss.gamma": 2})
    assert (best.scores("ap").tolist(), best.among, best.part) == ([0.50, 0.55, 0.57], 2, "validation")
    of_focal = settings.find({"strategy": "focal", "loss.alpha": 0.75})
    assert of_focal.scores("ap").tolist() == [0.40, 0.43, 0.41]
    assert settings.find({"strategy": "ohem"}).scores("ap").tolist() == [0.3, 0.41, 0.49]
    assert settings.find({"loss.gamma": 1}) is settings.find({"model.prior": None}) is None
    biased = frame(**{"params.model.prior": [0.01] * 9 + [None] * 15})
    assert Settings(biased).find({"model.prior": None}).scores("ap").tolist() == [0.20, 0.20, 0.20]
    # Validation parts are drawn from all rows.
    assert settings.rows("validation") == {"train_rows": 80.0, "test_rows": 20.0}
    assert settings.rows("test") == {"train_rows": 80.0, "test_rows": 20.0}


def test_a_paper_stands_beside_what_was_measured():
    rows = (
        {"loss.gamma": 0, "loss.alpha": 0.75, "ap": 0.311},
        {"loss.gamma": 1, "loss.alpha": 0.5, "ap": "none"},
    )
    found = reproduce(frame(), Published("Table 1b", ("loss.gamma",), rows, ()))
    assert found.header == [
        "loss.gamma",
        "loss.alpha here",
        "loss.alpha published",
        "ap here",
        "ap published",
    ]
    assert found.rows == [
        ["0", "0.75", "0.75", "0.413 ±0.015", "0.311"],
        ["1", "no result", "0.5", "no result", "none"],
    ]
    assert (found.source, found.sentences) == ("Table 1b", [])


@pytest.mark.parametrize(
    ("better", "than", "verdict"),
    [(2.0, 0.0, "Reproduced"), (5.0, 0.0, "Refuted"), (0.0, 5.0, "Reproduced")],
)
def test_better_is_the_corrected_t_test_of_the_best_trials(better, than, verdict):
    claim = Better({"loss.gamma": better}, {"loss.gamma": than})
    best = {0.0: SCORES[0.0, 0.75], 2.0: SCORES[2.0, 0.25], 5.0: SCORES[5.0, 0.25]}
    differences = np.array(best[better]) - best[than]
    t, p = corrected(differences, 20 / 80)
    said, method, chosen = sentences(claim)
    assert said.startswith(f"{verdict}: ap is better with loss.gamma={better} than with loss.gamma={than}")
    assert (p < 0.05) == (verdict != "Not shown")
    assert f"a difference of {differences.mean():.3f} (95 % interval" in said
    assert (f"p = {p:.3f}" if p >= 0.001 else "p < 0.001") in said
    error = differences.mean() / t
    low = differences.mean() - stats.t.isf(0.025, 2) * error
    assert f"interval {low:.3f} to" in said
    assert method == "This is the corrected t-test of differences on 3 validation splits."
    assert "up to 2, chosen on the splits that it is judged on" in chosen


def test_several_claims_are_corrected_by_holm_and_finals_need_no_excuse():
    close = frame({**SCORES, (2.0, 0.25): (0.45, 0.44, 0.43)})
    claims = [
        Better({"loss.gamma": 2}, {"loss.gamma": 0}),
        Better({"strategy": "focal"}, {"strategy": "ohem"}),
    ]
    first = corrected(np.array([0.05, 0.01, 0.02]), 0.25)[1]
    second = corrected(np.array([0.2, 0.19, 0.21]), 0.25)[1]
    said = sentences(*claims, table=close)
    assert said[0].startswith("Not shown")
    assert f"p = {first:.3f}" in said[0]
    assert said[1].startswith("Reproduced")
    assert f"p = {2 * second:.3f}" in said[1]
    assert "3 validation splits and 3 test splits, Holm's correction for 2 claims" in said[2]
    assert len(sentences(claims[1])) == 2


def test_what_is_shown_alone_need_not_be_shown_among_others():
    table = frame({**SCORES, (2.0, 0.25): (0.4656, 0.5156, 0.5156), (5.0, 0.25): (0.42, 0.38, 0.44)})
    claim, other = (Better({"loss.gamma": gamma}, {"loss.gamma": 0}) for gamma in (2, 5))
    p = corrected(np.array([0.0656, 0.0856, 0.1056]), 0.25)[1]
    assert 0.025 < p < 0.05
    assert sentences(claim, table=table)[0].startswith("Reproduced")
    said = sentences(claim, other, table=table)
    assert said[0].startswith("Not shown")
    assert f"p = {2 * p:.3f}" in said[0]
    low, high = (float(end) for end in re.search(r"interval (-?[\d.]+) to ([\d.]+),", said[0]).groups())
    assert low < 0 < high


def test_the_best_value_falls_by_the_rank_correlation_on_each_split():
    claim = Falls("loss.alpha", "loss.gamma")
    # On the first split gamma 5 has the larger alpha as its best.
    table = frame({**SCORES, (5.0, 0.75): (0.02, 0.0, 0.0)})
    expected = [stats.spearmanr([0, 2, 5], [0.75, 0.25, best])[0] for best in (0.75, 0.25, 0.25)]
    judged = judge(Settings(table), claim)
    np.testing.assert_allclose(judged.differences, expected)
    assert (judged.sign, expected[0]) == (-1, pytest.approx(0))
    assert sentences(claim, table=table)[0].startswith(
        "Not shown: the best loss.alpha falls as loss.gamma rises"
    )
    assert sentences(claim)[0].startswith("Reproduced")
    assert "is -0.866 on every split" in sentences(claim)[0]
    assert sentences(Falls("loss.gamma", "loss.tau")) == [
        "Not shown: the best loss.gamma falls as loss.tau rises: there are not two values of each."
    ]


def test_what_does_not_train_stays_below_a_level():
    claim = Untrained({"loss.gamma": 5}, 0.1)
    said = sentences(claim)[0]
    assert said.startswith("Reproduced: loss.gamma=5 does not train, ap stays below 0.1: 0.020 ±0.010")
    assert sentences(Untrained({"loss.gamma": 0}, 0.1))[0].startswith("Refuted")
    nothing = frame({**SCORES, (5.0, 0.25): (0.0, 0.0, 0.0)})
    assert "a difference of -0.100 on every split" in sentences(claim, table=nothing)[0]
    assert sentences(claim, table=nothing)[0].startswith("Reproduced")
    failed = frame()
    failed.loc[failed["params.loss.gamma"] == 5, "state"] = "FAIL"
    assert sentences(claim, table=failed) == [
        "Reproduced: loss.gamma=5 does not train, ap stays below 0.1: all 2 trials failed."
    ]
    single = Untrained({"loss.gamma": 5, "loss.alpha": 0.25}, 0.1)
    assert sentences(single, table=failed)[0].endswith("ap stays below 0.1: the only trial failed.")
    assert sentences(Untrained({"loss.gamma": 7}, 0.1))[0].startswith("Not shown")


def test_what_cannot_be_compared_is_not_shown():
    single = frame({setting: own[:1] for setting, own in SCORES.items()})
    for claim in (Untrained({"loss.gamma": 5}, 0.1), Falls("loss.alpha", "loss.gamma")):
        (said,) = sentences(claim, table=single)
        assert re.fullmatch(r"Not shown: .* -0\.\d+ on one split, which allows no test\.", said)
    claim = Better({"strategy": "focal"}, {"loss.gamma": 0})
    assert sentences(claim)[0].endswith("they share no two splits.")
    lacking = sentences(Better({"loss.gamma": 3}, {"loss.gamma": 0}))[0]
    assert lacking.endswith("no trial with loss.gamma=3 was completed.")


GOOD = {"source": "a", "by": ["loss.gamma"], "rows": [{"loss.gamma": 0, "ap": 0.1}], "claims": []}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claim": []}, "published is .*'claims', 'claim'"),
        ({"by": "loss.gamma"}, "published.by is 'loss.gamma'"),
        ({"rows": [{"loss.gamma": 0}]}, "published.rows has"),
        ({"rows": [{"loss.gamma": 0, "ap": 1}, {"loss.gamma": 1, "ap50": 1}]}, "published.rows has"),
        ({"claims": [{"better": {"loss.gamma": 2}}]}, "published.claims has"),
        ({"claims": [{"falls": 1, "over": "loss.gamma"}]}, "published.claims has"),
        ({"claims": [{"untrained": {"loss.gamma": 2}, "below": "0"}]}, "published.claims has"),
        ({"source": "a" * 5000}, "published has 5,0"),
    ],
)
def test_what_is_no_publication_is_refused(changes, message):
    Published.of(GOOD)
    with pytest.raises(UserError, match=message):
        Published.of(GOOD | changes)
    with pytest.raises(UserError, match="published is 3"):
        Published.of(3)


def test_every_claim_has_an_example_that_makes_it():
    assert [type(claim_of(yaml.safe_load(example))) for example in CLAIMS.values()] == list(CLAIMS)
    page = (Path(__file__).parents[2] / "docs/detection.md").read_text()
    (written,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    on_page = Published.of(yaml.safe_load(written)["published"])
    assert {type(claim) for claim in on_page.claims} == set(CLAIMS)
