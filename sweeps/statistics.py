"""Which differences between strategies are real. scipy and scikit-posthocs test; here the tests are chosen.

On one data set the strategies are trained on the same splits, so they are compared in pairs. Training parts
of different splits overlap, hence the scores depend on each other and the usual t-test finds too much: the
corrected t decides. Wilcoxon's test and the bootstrap interval, which know nothing of the overlap, are given
beside it. Over several data sets Friedman's and Nemenyi's tests decide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ALPHA = 0.05
BOOTSTRAP_SAMPLES = 9999


@dataclass(frozen=True)
class Ranks:
    """Strategies over several data sets: average ranks (1 is best), Friedman's test, Nemenyi's test."""

    datasets: int
    average: pd.Series
    statistic: float
    p: float
    critical_difference: float
    nemenyi: pd.DataFrame


def corrected_t(differences: np.ndarray, *, train_rows: float, test_rows: float) -> tuple[float, float]:
    """The t-test of paired differences over overlapping training parts.

    t = mean(d) / sqrt((1 / J + test_rows / train_rows) var(d)), with J - 1 degrees of freedom.

    Args:
        differences: (J,), one a split; J >= 2.
        train_rows: examples trained on, in each split.
        test_rows: examples tested on, in each split.

    Returns:
        t and the two-sided p. Differences that do not vary allow no test: t is 0 and p is 1.

    Reference:
        Nadeau and Bengio, Inference for the generalization error, Machine Learning 52 (2003).
    """
    from scipy import stats

    count = len(differences)
    variance = differences.var(ddof=1)
    # What rounding leaves of equal differences is no variance.
    if variance <= (1e-12 * abs(differences).max()) ** 2:
        return 0.0, 1.0
    t = differences.mean() / math.sqrt((1 / count + test_rows / train_rows) * variance)
    return float(t), float(2 * stats.t.sf(abs(t), count - 1))


def smallest_wilcoxon_p(pairs: int) -> float:
    """The p of Wilcoxon's signed-rank test when all differences have one sign: 2 / 2^pairs."""
    return min(1.0, 2.0 ** (1 - pairs))


def compare_pairs(
    scores: pd.DataFrame, *, train_rows: float, test_rows: float, seed: int = 0
) -> pd.DataFrame:
    """Every pair of strategies on one data set.

    Args:
        scores: a row a split, a column a strategy, higher is better, nothing missing.
        train_rows: examples trained on, in each split.
        test_rows: examples tested on, in each split.
        seed: of the bootstrap.

    Returns:
        A row a pair, `first` with the higher mean: pairs (the number of splits), difference and median of
        first - second, bootstrap_low and bootstrap_high (95 %, of the mean), effect (mean / standard
        deviation of the differences), t, p and p_holm (corrected t, and corrected for the number of pairs),
        p_wilcoxon and p_wilcoxon_holm, distinguishable (p_holm < 0.05). With fewer than two splits the tests
        are NaN.
    """
    import pandas as pd
    from statsmodels.stats.multitest import multipletests

    order = scores.mean().sort_values(ascending=False, kind="stable").index
    rows = [
        {"first": first, "second": second}
        | _compare(
            (scores[first] - scores[second]).to_numpy(dtype=float),
            train_rows=train_rows,
            test_rows=test_rows,
            seed=seed,
        )
        for first, second in itertools.combinations(order, 2)
    ]
    columns = ["first", "second", "pairs", "difference", "median", "bootstrap_low", "bootstrap_high"]
    columns += ["effect", "t", "p", "p_holm", "p_wilcoxon", "p_wilcoxon_holm", "distinguishable"]
    table = pd.DataFrame(rows, columns=columns)
    if len(scores) > 1 and rows:
        for name in ("p", "p_wilcoxon"):
            table[f"{name}_holm"] = multipletests(table[name], method="holm")[1]
    table["distinguishable"] = table["p_holm"].astype(float) < ALPHA
    return table


def _compare(differences: np.ndarray, *, train_rows: float, test_rows: float, seed: int) -> dict[str, float]:
    import numpy as np
    from scipy import stats

    count = len(differences)
    row = {
        "pairs": count,
        "difference": float(differences.mean()) if count else math.nan,
        "median": float(np.median(differences)) if count else math.nan,
    }
    if count < 2:
        return row
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=1 - ALPHA,
        method="percentile",
        n_resamples=BOOTSTRAP_SAMPLES,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    t, p = corrected_t(differences, train_rows=train_rows, test_rows=test_rows)
    spread = differences.std(ddof=1)
    return row | {
        "bootstrap_low": float(interval.low),
        "bootstrap_high": float(interval.high),
        "effect": float(differences.mean() / spread) if spread > 0 else math.nan,
        "t": t,
        "p": p,
        "p_wilcoxon": float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0,
    }


def critical_difference(strategies: int, datasets: int) -> float:
    """How far average ranks must lie apart in Nemenyi's test at 0.05: q sqrt(k (k + 1) / (6 N)).

    q is the studentized range's quantile over sqrt(2), k the strategies, N the data sets.

    Reference:
        Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006).
    """
    from scipy import stats

    q = stats.studentized_range.ppf(1 - ALPHA, strategies, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(strategies * (strategies + 1) / (6 * datasets)))


def average_families(scores: pd.DataFrame, families: Mapping[str, str]) -> pd.DataFrame:
    """Data sets of one family as one row, their mean: they are not independent evidence.

    Args:
        scores: a row a data set, a column a strategy.
        families: data set to family; those not named stay alone.
    """
    return scores.groupby([families.get(name, name) for name in scores.index], sort=False).mean()


def rank(scores: pd.DataFrame) -> Ranks | None:
    """Friedman's and Nemenyi's tests over several data sets.

    Args:
        scores: a row a data set, a column a strategy, higher is better, nothing missing.

    Returns:
        None for fewer than two data sets or three strategies, where there is nothing to test.

    Reference:
        Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006).
    """
    datasets, strategies = scores.shape
    if datasets < 2 or strategies < 3:
        return None
    import scikit_posthocs
    from scipy import stats

    ranks = scores.rank(axis=1, ascending=False)
    all_tied = bool((ranks.nunique(axis=1) == 1).all())
    # Friedman's statistic divides by the spread of the ranks.
    test = (0.0, 1.0) if all_tied else stats.friedmanchisquare(*(scores[name] for name in scores))
    nemenyi = scikit_posthocs.posthoc_nemenyi_friedman(scores.to_numpy())
    nemenyi.index = nemenyi.columns = scores.columns
    return Ranks(
        datasets=datasets,
        average=ranks.mean().sort_values(),
        statistic=float(test[0]),
        p=float(test[1]),
        critical_difference=critical_difference(strategies, datasets),
        nemenyi=nemenyi,
    )


def smallest_friedman_p(strategies: int, datasets: int) -> float:
    """Friedman's p when all data sets agree on the order: chi-squared of N (k - 1) at k - 1 degrees."""
    from scipy import stats

    return float(stats.chi2.sf(datasets * (strategies - 1), strategies - 1))
