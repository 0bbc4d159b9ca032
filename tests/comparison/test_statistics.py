from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lossfleet.sweeps.comparison.statistics import (
    compare_pairs,
    corrected_t,
    correlated_t,
    holm,
    holm_levels,
    smallest_wilcoxon_p,
)


def test_corrected_t_by_hand():
    # Mean 2, variance 2.5; 1 / 5 + 20 / 80 = 0.45; t = 2 / sqrt(0.45 * 2.5); t's tail at 4 degrees is closed.
    differences = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    t, p, low, high = corrected_t(differences, train_rows=80, test_rows=20)
    by_hand = 2 / math.sqrt(1.125)
    assert t == pytest.approx(by_hand, rel=1e-12)
    s = by_hand / math.sqrt(by_hand**2 + 4)
    assert p == pytest.approx(1 - s * (1 + (4 / (4 + by_hand**2)) / 2), rel=1e-9)
    # The 97.5 % quantile of t at 4 degrees is 2.7764.
    assert (low, high) == pytest.approx(
        (2 - 2.77645 * math.sqrt(1.125), 2 + 2.77645 * math.sqrt(1.125)), abs=1e-4
    )
    assert corrected_t(-differences, train_rows=80, test_rows=20) == pytest.approx((-t, p, -high, -low))


@pytest.mark.parametrize("level", [0.049, 0.051])
def test_the_interval_leaves_out_zero_where_the_test_rejects(level):
    differences = np.random.default_rng(1).normal(0, 1, 11)
    differences -= differences.mean()
    # Moved until p is the level.
    reach = stats.t.isf(level / 2, 10) * math.sqrt((1 / 11 + 20 / 60) * differences.var(ddof=1))
    test = corrected_t(differences + reach, train_rows=60, test_rows=20)
    assert test.p == pytest.approx(level)
    assert (test.low > 0) == (level < 0.05)


def test_corrected_t_without_a_test_part_is_the_usual_t():
    differences = np.random.default_rng(0).normal(0.3, 1, 13)
    usual = stats.ttest_1samp(differences, 0)
    ours = corrected_t(differences, train_rows=80, test_rows=0)
    interval = usual.confidence_interval(0.95)
    expected = (usual.statistic, usual.pvalue, interval.low, interval.high)
    assert ours == pytest.approx(expected, rel=1e-12)
    assert corrected_t(differences, train_rows=80, test_rows=20)[1] > usual.pvalue


@pytest.mark.parametrize("difference", [0.0, 0.1, -3.0])
def test_differences_that_do_not_vary_allow_no_test(difference):
    assert np.isnan(corrected_t(np.full(7, difference), train_rows=80, test_rows=20)).all()
    scores = pd.DataFrame({"a": np.arange(7.0) + difference, "b": np.arange(7.0)})
    scores["c"] = scores["a"] + 9 + np.random.default_rng(0).normal(size=7)
    pairs = compare_pairs(scores, train_rows=80, test_rows=20).set_index(["first", "second"])
    constant = pairs.index.map(lambda pair: "c" not in pair)
    assert pairs.loc[constant, ["t", "p", "p_holm", "low", "high"]].isna().all(axis=None)
    assert not pairs.loc[constant, "distinguishable"].any()
    # Two tests are left to correct for.
    tested = pairs[~constant]
    assert tested["p_holm"].min() == 2 * tested["p"].min()


def overlapping_splits(
    shifts: tuple[float, ...], seed: int, rows: int
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Accuracies of nearest-mean classifiers on ten resampled splits of one finite sample.

    Each classifier has a feature of its own. All features have the same distribution (a shift moves the
    classes further apart), so before the sample is drawn equal shifts are equally good; and as all splits
    share the sample, their differences depend on each other.
    """
    random = np.random.default_rng(seed)
    train = 3 * rows // 4
    labels = np.arange(rows) % 2
    features = random.normal(size=(rows, len(shifts))) + labels[:, None] * (1.0 + np.array(shifts))
    scores = []
    for _ in range(10):
        order = random.permutation(rows)
        fit, test = order[:train], order[train:]
        means = np.stack([features[fit][labels[fit] == label].mean(axis=0) for label in (0, 1)])
        found = abs(features[test] - means[1]) < abs(features[test] - means[0])
        scores.append((found == labels[test][:, None].astype(bool)).mean(axis=0))
    return pd.DataFrame(scores), {"train_rows": train, "test_rows": rows - train}


@pytest.fixture
def _deciding_test_alone(monkeypatch):
    """Leaves out what is only given beside it: with ties Wilcoxon's exact test takes long."""
    monkeypatch.setattr("lossfleet.sweeps.comparison.statistics.BOOTSTRAP_SAMPLES", 9)
    monkeypatch.setattr(stats, "wilcoxon", lambda differences: SimpleNamespace(pvalue=math.nan))


@pytest.mark.usefixtures("_deciding_test_alone")
@pytest.mark.parametrize("strategies", [2, 5])
def test_equal_strategies_are_rarely_told_apart(strategies):
    ours = naive = 0
    for seed in range(200):
        scores, sizes = overlapping_splits((0.0,) * strategies, seed, rows=120)
        ours += compare_pairs(scores, **sizes)["distinguishable"].any()
        naive += any(stats.ttest_rel(scores[0], scores[other]).pvalue < 0.05 for other in scores if other)
    assert ours <= 0.05 * 200
    assert naive > 0.25 * 200


@pytest.mark.usefixtures("_deciding_test_alone")
def test_a_strategy_better_by_one_standard_deviation_of_its_score_is_found():
    found = 0
    for seed in range(40):
        scores, sizes = overlapping_splits((0.0,), seed, rows=300)
        # Both meet the same splits; what is left between them is a third of what splits do.
        deviation = scores[0].std()
        noise = np.random.default_rng(seed).normal(0, deviation / 3, len(scores))
        scores["better"] = scores[0] + deviation + noise
        (pair,) = compare_pairs(scores, **sizes).itertuples()
        found += pair.distinguishable and pair.first == "better"
    assert found >= 36


@pytest.mark.usefixtures("_deciding_test_alone")
def test_classes_one_standard_deviation_further_apart_are_found():
    found = 0
    for seed in range(40):
        scores, sizes = overlapping_splits((1.0, 0.0), seed, rows=300)
        (pair,) = compare_pairs(scores, **sizes).itertuples()
        found += pair.distinguishable and (pair.first, pair.second) == (0, 1)
    assert found >= 34


def test_holm_by_hand(monkeypatch):
    p = {("a", "b"): 0.010, ("a", "c"): 0.020, ("b", "c"): 0.040}
    calls = iter(p.values())
    monkeypatch.setattr(
        "lossfleet.sweeps.comparison.statistics.corrected_t",
        lambda *_, alpha=None, **__: (1.0, 0.0 if alpha else next(calls), 0.0, 0.0),
    )
    scores = pd.DataFrame({"a": [3.0, 3.1, 3.3], "b": [2.0, 2.2, 2.1], "c": [1.0, 1.3, 1.1]})
    pairs = compare_pairs(scores, train_rows=80, test_rows=20)
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == list(p)
    # 3 * 0.01, then 2 * 0.02, then 1 * 0.04, none below the one before.
    assert pairs["p_holm"].tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert pairs["distinguishable"].all()


def test_holm_against_statsmodels():
    random = np.random.default_rng(2)
    for count in (1, 2, 7, 10):
        p = random.random(count) ** 3
        p[-1] = p[0]
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)
    np.testing.assert_array_equal(holm(np.array([0.9, 0.6])), [1.0, 1.0])


def test_intervals_leave_out_zero_where_holm_rejects():
    # By hand: 5 tests, two of which are rejected; 0.013 would be at its own 0.05 / 2.
    p = np.array([0.009, 0.9, 0.013, 0.2, 0.018, math.nan])
    assert (holm(p) < 0.05).tolist() == [True, False, False, False, False, False]
    np.testing.assert_allclose(holm_levels(p)[:5], [0.01, 0.0125, 0.0125, 0.0125, 0.0125])
    random = np.random.default_rng(7)
    decided = set()
    for _ in range(30):
        scores = pd.DataFrame(random.normal(random.normal(0, 1, 4), 1, (9, 4)))
        pairs = compare_pairs(scores, train_rows=60, test_rows=10)
        leaves_out = (pairs["low"] > 0) | (pairs["high"] < 0)
        assert leaves_out.tolist() == pairs["distinguishable"].tolist()
        blocked = (pairs["p"] < 0.05) & ~pairs["distinguishable"]
        decided |= {(bool(a), bool(b)) for a, b in zip(leaves_out, blocked, strict=True)}
    assert decided == {(True, False), (False, True), (False, False)}


def test_pairs_against_scipy():
    random = np.random.default_rng(5)
    scores = pd.DataFrame(random.normal([0.8, 0.9, 0.83], 0.05, (11, 3)), columns=["a", "b", "c"])
    pairs = compare_pairs(scores, train_rows=60, test_rows=20)
    assert pairs[["first", "second"]].to_numpy().tolist() == [["b", "c"], ["b", "a"], ["c", "a"]]
    assert (pairs["pairs"] == 11).all()
    for row in pairs.itertuples():
        differences = scores[row.first] - scores[row.second]
        assert row.difference == pytest.approx(differences.mean())
        assert row.median == pytest.approx(differences.median())
        assert row.effect == pytest.approx(differences.mean() / differences.std())
        assert row.p_wilcoxon == pytest.approx(stats.wilcoxon(scores[row.first], scores[row.second]).pvalue)
        test = corrected_t(differences.to_numpy(), train_rows=60, test_rows=20)
        assert (row.t, row.p) == test[:2]
        assert (row.low > 0) == row.distinguishable
        # The bootstrap's interval is close to the normal one, and reproducible.
        half = 1.96 * differences.std(ddof=0) / math.sqrt(11)
        assert row.bootstrap_low == pytest.approx(differences.mean() - half, abs=0.15 * half)
        assert row.bootstrap_high == pytest.approx(differences.mean() + half, abs=0.15 * half)
    pd.testing.assert_frame_equal(pairs, compare_pairs(scores, train_rows=60, test_rows=20))
    other = compare_pairs(scores, train_rows=60, test_rows=20, seed=1)
    assert (other["bootstrap_low"] != pairs["bootstrap_low"]).any()


@pytest.mark.parametrize("splits", [0, 1])
def test_without_two_splits_nothing_is_distinguishable(splits):
    scores = pd.DataFrame({"a": [0.9], "b": [0.1]})[:splits]
    pairs = compare_pairs(scores, train_rows=80, test_rows=20)
    assert pairs["p_holm"].isna().all()
    assert not pairs["distinguishable"].any()


def test_one_strategy_has_no_pairs():
    pairs = compare_pairs(pd.DataFrame({"a": [0.9, 0.8]}), train_rows=80, test_rows=20)
    assert pairs.empty
    assert "p_holm" in pairs


def test_smallest_p_of_few_pairs():
    assert smallest_wilcoxon_p(5) == 0.0625
    for pairs in (2, 5, 6, 10):
        differences = np.arange(1.0, pairs + 1)
        assert smallest_wilcoxon_p(pairs) == pytest.approx(stats.wilcoxon(differences).pvalue)


@pytest.mark.parametrize("shift", [-0.03, 0.0, 0.004, 0.02])
def test_the_posterior_is_the_integral_of_its_density(shift):
    """The definition: Student's distribution around the mean, scaled by (1 / n + test / train) s^2."""
    differences = np.random.default_rng(3).normal(shift, 0.01, 11)
    found = correlated_t(differences, train_rows=80, test_rows=20, rope=0.005)
    scale = math.sqrt((1 / 11 + 20 / 80) * differences.var(ddof=1))
    points = np.linspace(-400, 400, 2_000_001) * scale + differences.mean()
    standard = (points - differences.mean()) / scale
    density = (1 + standard**2 / 10) ** (-11 / 2)
    shares = [
        density[where].sum() / density.sum()
        for where in (points > 0.005, abs(points) <= 0.005, points < -0.005)
    ]
    assert tuple(found) == pytest.approx(shares, abs=2e-4)
    assert sum(found) == pytest.approx(1)
    # Without a region the two sides are those of the test.
    test = corrected_t(differences, train_rows=80, test_rows=20)
    sides = correlated_t(differences, train_rows=80, test_rows=20, rope=0.0)
    assert 2 * min(sides.better, sides.worse) == pytest.approx(test.p)


@pytest.mark.parametrize(("difference", "expected"), [(0.0, (0, 1, 0)), (0.3, (1, 0, 0)), (-0.3, (0, 0, 1))])
def test_the_posterior_of_differences_that_do_not_vary_is_sure(difference, expected):
    assert correlated_t(np.full(5, difference), train_rows=80, test_rows=20, rope=0.01) == expected
