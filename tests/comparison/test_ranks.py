"""Tests over several data sets, against the definition, scipy and published examples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lossfleet.sweeps.comparison.ranks import (
    average_families,
    critical_difference,
    friedman,
    rank,
    ranks_of,
    smallest_friedman_p,
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
    assert ranks.statistic == pytest.approx(
        stats.friedmanchisquare(*(DEMSAR[name] for name in DEMSAR)).statistic
    )
    assert 0 < ranks.p < 0.05


def brute_force(ranks: np.ndarray) -> float:
    """The share of all orders of all rows whose columns' sums are spread at least as far."""
    spread = ((ranks.sum(axis=0) - ranks.sum() / ranks.shape[1]) ** 2).sum()
    orders = [list(itertools.permutations(row)) for row in ranks]
    sums = np.array([np.sum(chosen, axis=0) for chosen in itertools.product(*orders)])
    spreads = ((sums - ranks.sum() / ranks.shape[1]) ** 2).sum(axis=1)
    return float((spreads >= spread - 1e-9).mean())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("datasets", "strategies"), [(2, 3), (4, 3), (3, 4)])
def test_friedmans_p_is_the_share_of_orders(seed, datasets, strategies):
    # With few values there are ties.
    scores = pd.DataFrame(np.random.default_rng(seed).integers(0, 4, (datasets, strategies)))
    ranks = ranks_of(scores).to_numpy()
    statistic, p, method = friedman(ranks)
    assert method == "exact"
    assert p == pytest.approx(brute_force(ranks))
    if statistic:
        assert statistic == pytest.approx(stats.friedmanchisquare(*scores.to_numpy().T).statistic)


def test_friedmans_p_under_perfect_agreement():
    for strategies, datasets, expected in ((3, 2, 1 / 6), (5, 2, 1 / 120), (3, 4, 1 / 216), (4, 3, 1 / 576)):
        ranks = np.tile(np.arange(1.0, strategies + 1), (datasets, 1))
        assert friedman(ranks)[1:] == (pytest.approx(expected), "exact")
        assert smallest_friedman_p(strategies, datasets) == pytest.approx(expected)


def test_ways_to_friedmans_p_agree(monkeypatch):
    scores = pd.DataFrame(np.random.default_rng(11).normal(size=(8, 4)) + np.linspace(0, 0.3, 4))
    ranks = ranks_of(scores).to_numpy()
    statistic, exact, _ = friedman(ranks)
    monkeypatch.setattr("lossfleet.sweeps.comparison.ranks.EXACT_WORK", 0)
    assert friedman(ranks) == (
        statistic,
        pytest.approx(exact, abs=4 * math.sqrt(exact / 1e5)),
        "permutations",
    )
    assert friedman(ranks) == friedman(ranks)
    assert friedman(ranks, seed=1)[1] != friedman(ranks)[1]
    monkeypatch.setattr("lossfleet.sweeps.comparison.ranks.PERMUTED_RANKS", 0)
    f = 7 * statistic / (8 * 3 - statistic)
    assert friedman(ranks) == (statistic, pytest.approx(stats.f.sf(f, 3, 21)), "Iman-Davenport")
    assert friedman(ranks)[1] == pytest.approx(exact, rel=0.2)


def test_pairs_after_friedman_do_not_depend_on_other_strategies():
    scores = pd.DataFrame(
        np.random.default_rng(3).normal([0.0, 0.4, 0.8, 1.5], 1.0, (13, 4)), columns=list("abcd")
    )
    of_all, of_three = rank(scores).pairwise, rank(scores[list("acd")]).pairwise
    assert of_all["first"].iloc[0] == "d"
    both = of_all.merge(of_three, on=["first", "second"])
    assert len(both) == 3
    assert both["p_x"].tolist() == both["p_y"].tolist()
    for row in of_all.itertuples():
        assert row.p == pytest.approx(stats.wilcoxon(scores[row.first], scores[row.second]).pvalue)
    np.testing.assert_allclose(of_all["p_holm"], multipletests(of_all["p"], method="holm")[1])


def test_too_little_to_rank():
    assert rank(DEMSAR[:1]) is None
    assert rank(DEMSAR[["C4.5", "C4.5+m"]]) is None
    tied = rank(pd.DataFrame(np.ones((3, 4)), columns=list("abcd")))
    assert (tied.p, tied.statistic) == (1.0, 0.0)
    # Exact, 1 / 3!: two data sets that agree on three strategies say nothing.
    assert rank(pd.DataFrame([[1.0, 2.0, 3.0]] * 2)).p == pytest.approx(1 / 6)


def test_a_family_counts_once():
    scores = pd.DataFrame(
        {"a": [0.2, 0.4, 0.9], "b": [0.1, 0.3, 0.5]}, index=["wine", "wine_binary", "digits"]
    )
    averaged = average_families(scores, {"wine_binary": "wine"})
    assert averaged.index.tolist() == ["wine", "digits"]
    assert averaged.loc["wine"].to_dict() == pytest.approx({"a": 0.3, "b": 0.2})
    assert averaged.loc["digits"].to_dict() == {"a": 0.9, "b": 0.5}
