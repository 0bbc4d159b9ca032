"""Which differences between strategies are real. scipy and scikit-posthocs test; here the tests are chosen.

On one data set the strategies are trained on the same splits, so they are compared in pairs. Training parts
of different splits overlap, hence the scores depend on each other and the usual t-test finds too much: the
corrected t decides. Wilcoxon's test and the bootstrap interval, which know nothing of the overlap, are given
beside it; they find too much. Over several data sets Friedman's and Nemenyi's tests decide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ALPHA = 0.05
BOOTSTRAP_SAMPLES = 9999
# Resamples in memory at once.
BOOTSTRAP_BATCH = 1000
INTERVALS = ("low", "high", "bootstrap_low", "bootstrap_high")
TESTED = (*INTERVALS, "effect", "t", "p", "p_holm", "p_wilcoxon", "p_wilcoxon_holm")


@dataclass(frozen=True)
class Ranks:
    """Strategies over several data sets: average ranks (1 is best), Friedman's test, Nemenyi's test."""

    datasets: int
    average: pd.Series
    statistic: float
    p: float
    critical_difference: float
    nemenyi: pd.DataFrame


class CorrectedT(NamedTuple):
    """t and the two-sided p of a mean difference, and its 95 % interval."""

    t: float
    p: float
    low: float
    high: float


def corrected_t(differences: np.ndarray, *, train_rows: float, test_rows: float) -> CorrectedT:
    """The t-test of paired differences over overlapping training parts.

    t = mean(d) / sqrt((1 / J + test_rows / train_rows) var(d)), with J - 1 degrees of freedom.

    Args:
        differences: (J,), one a split; J >= 2.
        train_rows: examples trained on, in each split.
        test_rows: examples tested on, in each split.

    Returns:
        The test and the interval that it does not reject. Differences that do not vary allow neither: t is 0,
        p is 1 and the interval NaN.

    Reference:
        Nadeau and Bengio, Inference for the generalization error, Machine Learning 52 (2003).
    """
    from scipy import stats

    count = len(differences)
    mean = float(differences.mean())
    if not _varies(differences):
        return CorrectedT(0.0, 1.0, math.nan, math.nan)
    error = math.sqrt((1 / count + test_rows / train_rows) * differences.var(ddof=1))
    reach = error * stats.t.ppf(1 - ALPHA / 2, count - 1)
    p = 2 * stats.t.sf(abs(mean / error), count - 1)
    return CorrectedT(mean / error, float(p), float(mean - reach), float(mean + reach))


def bootstrap_interval(values: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % percentile bootstrap interval of the mean over the last axis.

    Args:
        values: (..., J).
        seed: of the resampling.

    Returns:
        Its ends, (...) each; NaN for fewer than two values.
    """
    import numpy as np
    from scipy import stats

    if values.shape[-1] < 2:
        missing = np.full(values.shape[:-1], math.nan)
        return missing, missing
    interval = stats.bootstrap(
        (values,),
        np.mean,
        axis=-1,
        confidence_level=1 - ALPHA,
        method="percentile",
        n_resamples=BOOTSTRAP_SAMPLES,
        batch=BOOTSTRAP_BATCH,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return interval.low, interval.high


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
        first - second, low and high (95 %, of the corrected t), bootstrap_low and bootstrap_high (95 %, of
        the mean), effect (mean / standard deviation of the differences, Cohen's d of pairs), t, p and p_holm
        (corrected t, and corrected for the number of pairs), p_wilcoxon and p_wilcoxon_holm, distinguishable
        (p_holm < 0.05). With fewer than two splits the tests are NaN.
    """
    import numpy as np
    import pandas as pd
    from scipy import stats

    order = scores.mean().sort_values(ascending=False, kind="stable").index
    names = list(itertools.combinations(order, 2))
    table = pd.DataFrame(names, columns=["first", "second"])
    differences = np.array([scores[first] - scores[second] for first, second in names], dtype=float)
    differences = differences.reshape(len(names), len(scores))
    table["pairs"] = len(scores)
    table["difference"] = differences.mean(axis=1) if len(scores) else math.nan
    table["median"] = np.median(differences, axis=1) if len(scores) else math.nan
    table[list(TESTED)] = math.nan
    if len(scores) > 1 and names:
        tests = [corrected_t(each, train_rows=train_rows, test_rows=test_rows) for each in differences]
        table[["t", "p", "low", "high"]] = tests
        table["bootstrap_low"], table["bootstrap_high"] = bootstrap_interval(differences, seed=seed)
        table["effect"] = [
            each.mean() / each.std(ddof=1) if _varies(each) else math.nan for each in differences
        ]
        table["p_wilcoxon"] = [stats.wilcoxon(each).pvalue if each.any() else 1.0 for each in differences]
        for name in ("p", "p_wilcoxon"):
            table[f"{name}_holm"] = holm(table[name].to_numpy())
    table["distinguishable"] = table["p_holm"] < ALPHA
    return table


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of p for the number of tests: the i-th smallest of m times m - i + 1, never falling.

    statsmodels has it too, but collects garbage at every call, 60 ms.

    Reference: Holm 1979 (Scandinavian Journal of Statistics 6).
    """
    import numpy as np

    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return corrected.clip(max=1.0)


def _varies(differences: np.ndarray) -> bool:
    """Whether they differ by more than rounding leaves of equal differences."""
    return bool(differences.std(ddof=1) > 1e-12 * abs(differences).max())


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


def ranks_of(scores: pd.DataFrame) -> pd.DataFrame:
    """The ranks of strategies in each row, 1 for the highest score; equal ones share their mean rank."""
    return scores.rank(axis=1, ascending=False)


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

    ranks = ranks_of(scores)
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
