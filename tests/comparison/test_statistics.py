from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lossfleet.sweeps.comparison.statistics import (
    average_families,
    compare_pairs,
    corrected_t,
    critical_difference,
    holm,
    rank,
    smallest_friedman_p,
    smallest_wilcoxon_p,
)

# Demsar 2006, table 6: AUC of C4.5 with and without its parameters m and cf tuned, on 14 data sets. The paper
# prints 0.975 twice in the last but one row and ranks the first of them higher, hence its 0.9751.
DEMSAR = pd.DataFrame(
    [
        (0.763, 0.768, 0.771, 0.798),
        (0.599, 0.591, 0.590, 0.569),
        (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657),
        (0.882, 0.888, 0.886, 0.898),
        (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685),
        (0.583, 0.583, 0.563, 0.625),
        (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000),
        (0.940, 0.962, 0.965, 0.962),
        (0.619, 0.666, 0.614, 0.669),
        (0.972, 0.981, 0.9751, 0.975),
        (0.957, 0.978, 0.946, 0.970),
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
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
    assert corrected_t(np.full(7, difference), train_rows=80, test_rows=20)[:2] == (0.0, 1.0)
    scores = pd.DataFrame({"a": np.arange(7.0) + difference, "b": np.arange(7.0)})
    assert not compare_pairs(scores, train_rows=80, test_rows=20)["distinguishable"].any()


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
        "lossfleet.sweeps.comparison.statistics.corrected_t", lambda *_, **__: (1.0, next(calls), 0.0, 0.0)
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
        assert (row.t, row.p, row.low, row.high) == test
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


# Demsar 2006, table 5a: Nemenyi's critical values at 0.05 for 2 to 10 classifiers.
@pytest.mark.parametrize(
    ("strategies", "q"),
    list(enumerate([1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164], start=2)),
)
def test_published_critical_values(strategies, q):
    unit = math.sqrt(strategies * (strategies + 1) / (6 * 14))
    # The paper's digits are cut off or rounded.
    assert critical_difference(strategies, 14) / unit == pytest.approx(q, abs=1.1e-3)


def test_the_published_example():
    ranks = rank(DEMSAR)
    published = {"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert ranks.average.to_dict() == pytest.approx(published, abs=5e-4)
    assert ranks.average.index[0] == "C4.5+m+cf"
    assert ranks.datasets == 14
    assert ranks.critical_difference == pytest.approx(1.25, abs=5e-3)
    # The paper's 9.28 is without the correction for ties, which makes it larger.
    uncorrected = 12 * 14 / (4 * 5) * ((ranks.average**2).sum() - 4 * 5**2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=5e-3)
    assert uncorrected < ranks.statistic < 1.15 * uncorrected
    assert ranks.p == pytest.approx(stats.chi2.sf(ranks.statistic, 3))
    assert ranks.p < 0.05
    # Ranks further apart than the critical difference, and only those, differ; here none are.
    names = list(DEMSAR)
    apart = pd.DataFrame(
        [
            [abs(ranks.average[a] - ranks.average[b]) >= ranks.critical_difference for b in names]
            for a in names
        ],
        index=names,
        columns=names,
    )
    pd.testing.assert_frame_equal(ranks.nemenyi < 0.05, apart, check_names=False)


def test_nemenyi_agrees_with_the_critical_difference():
    random = np.random.default_rng(3)
    scores = pd.DataFrame(random.normal([0.0, 0.4, 0.8, 1.5, 3.0], 1.0, (13, 5)), columns=list("abcde"))
    ranks = rank(scores)
    decided = {
        (first, second): ranks.nemenyi.loc[first, second] < 0.05
        for first in scores
        for second in scores
        if first < second
    }
    assert set(decided.values()) == {True, False}
    for (first, second), differ in decided.items():
        apart = abs(ranks.average[first] - ranks.average[second])
        assert differ == (apart > ranks.critical_difference)
    assert ranks.average.index[0] == "e"


def test_too_little_to_rank():
    assert rank(DEMSAR[:1]) is None
    assert rank(DEMSAR[["C4.5", "C4.5+m"]]) is None
    tied = rank(pd.DataFrame(np.ones((3, 4)), columns=list("abcd")))
    assert (tied.p, tied.statistic) == (1.0, 0.0)
    agreeing = pd.DataFrame([[1.0, 2.0, 3.0, 4.0]] * 2, columns=list("abcd"))
    assert rank(agreeing).p == pytest.approx(smallest_friedman_p(4, 2))
    assert smallest_friedman_p(3, 2) > 0.05


def test_a_family_counts_once():
    scores = pd.DataFrame(
        {"a": [0.2, 0.4, 0.9], "b": [0.1, 0.3, 0.5]}, index=["wine", "wine_binary", "digits"]
    )
    averaged = average_families(scores, {"wine_binary": "wine"})
    assert averaged.index.tolist() == ["wine", "digits"]
    assert averaged.loc["wine"].to_dict() == pytest.approx({"a": 0.3, "b": 0.2})
    assert averaged.loc["digits"].to_dict() == {"a": 0.9, "b": 0.5}
