"""Which differences between strategies are real. scipy and scikit-posthocs test; here the tests are chosen.

On one data set the strategies are trained on the same splits, so they are compared in pairs. Training parts
of different splits overlap, hence the scores depend on each other and the usual t-test finds too much: the
corrected t decides. Wilcoxon's test and the bootstrap interval, which know nothing of the overlap, are given
beside it; they find too much. `ranks` has the tests over several data sets.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

from lossfleet.conf.evaluations import ROPE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ALPHA = 0.05
BOOTSTRAP_SAMPLES = 9999
# Resamples in memory at once.
BOOTSTRAP_BATCH = 1000
INTERVALS = ("low", "high", "bootstrap_low", "bootstrap_high")
POSTERIOR = ("p_better", "p_equal", "p_worse")
TESTED = (*INTERVALS, *POSTERIOR, "effect", "t", "p", "p_holm", "p_wilcoxon", "p_wilcoxon_holm")


class CorrectedT(NamedTuple):
    """t and the two-sided p of a mean difference, and its interval."""

    t: float
    p: float
    low: float
    high: float


def corrected_t(
    differences: np.ndarray, *, train_rows: float, test_rows: float, alpha: float = ALPHA
) -> CorrectedT:
    """The t-test of paired differences over overlapping training parts.

    t = mean(d) / sqrt((1 / J + test_rows / train_rows) var(d)), with J - 1 degrees of freedom.

    Args:
        differences: (J,), one a split; J >= 2.
        train_rows: examples that are not tested on, in each split: the training and the validation part.
        test_rows: examples tested on, in each split.
        alpha: 1 less the level of the interval.

    Returns:
        The test and the interval that it does not reject. Differences that do not vary allow neither: all is NaN.

    Reference:
        Nadeau and Bengio, Inference for the generalization error, Machine Learning 52 (2003).
    """
    from scipy import stats

    count = len(differences)
    mean = float(differences.mean())
    if not _varies(differences):
        return CorrectedT(math.nan, math.nan, math.nan, math.nan)
    error = _error(differences, train_rows, test_rows)
    reach = error * stats.t.isf(alpha / 2, count - 1)
    p = 2 * stats.t.sf(abs(mean / error), count - 1)
    return CorrectedT(mean / error, float(p), float(mean - reach), float(mean + reach))


class Posterior(NamedTuple):
    """What a mean difference probably is: above, within or below the region of practical equivalence."""

    better: float
    equal: float
    worse: float


def correlated_t(
    differences: np.ndarray, *, train_rows: float, test_rows: float, rope: float = ROPE
) -> Posterior:
    """The Bayesian t-test of correlated differences: the same error as `corrected_t`, read as a posterior.

    The mean difference has Student's distribution with J - 1 degrees of freedom around mean(d), with the scale
    sqrt((1 / J + test_rows / train_rows) var(d)).

    Args:
        differences, train_rows, test_rows: see `corrected_t`.
        rope: differences between -rope and rope count as none.

    Returns:
        Three probabilities; where the differences do not vary one of them is 1.

    Reference:
        Benavoli, Corani, Demsar and Zaffalon, Time for a change: a tutorial for comparing multiple classifiers through
        Bayesian analysis, JMLR 18 (2017).
    """
    from scipy import stats

    count = len(differences)
    mean = float(differences.mean())
    if not _varies(differences):
        return Posterior(float(mean > rope), float(abs(mean) <= rope), float(mean < -rope))
    error = _error(differences, train_rows, test_rows)
    worse = float(stats.t.cdf((-rope - mean) / error, count - 1))
    better = float(stats.t.sf((rope - mean) / error, count - 1))
    return Posterior(better, max(0.0, 1 - better - worse), worse)


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


def signed_rank_p(differences: np.ndarray) -> float:
    """The two-sided p of Wilcoxon's signed-rank test, 1 where all differences are 0."""
    from scipy import stats

    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def smallest_wilcoxon_p(pairs: int) -> float:
    """The p of Wilcoxon's signed-rank test when all differences have one sign: 2 / 2^pairs."""
    return min(1.0, 2.0 ** (1 - pairs))


def compare_pairs(
    scores: pd.DataFrame, *, train_rows: float, test_rows: float, rope: float = ROPE, seed: int = 0
) -> pd.DataFrame:
    """Every pair of strategies on one data set.

    Args:
        scores: a row a split, a column a strategy, higher is better, nothing missing.
        train_rows, test_rows: see `corrected_t`.
        rope: see `correlated_t`.
        seed: of the bootstrap.

    Returns:
        A row a pair, `first` with the higher mean: pairs (the number of splits), difference and median of
        first - second, low and high (of the corrected t at Holm's level, see `holm_levels`), bootstrap_low and
        bootstrap_high (95 %, of the mean of this pair alone), p_better, p_equal and p_worse (of `correlated_t`: the
        probability that first is better by more than the rope, equal within it, or worse), effect (mean / standard
        deviation of the differences, Cohen's d of pairs), t, p and p_holm (corrected t, and corrected for the number
        of pairs), p_wilcoxon and p_wilcoxon_holm, distinguishable (p_holm < 0.05). The tests are NaN with fewer than
        two splits, and those of the corrected t where the difference is the same on every split.
    """
    import numpy as np
    import pandas as pd

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
        rows = {"train_rows": train_rows, "test_rows": test_rows}
        table[["t", "p"]] = [corrected_t(each, **rows)[:2] for each in differences]
        table[["low", "high"]] = [
            corrected_t(each, **rows, alpha=alpha)[2:]
            for each, alpha in zip(differences, holm_levels(table["p"].to_numpy()), strict=True)
        ]
        table[list(POSTERIOR)] = [correlated_t(each, **rows, rope=rope) for each in differences]
        table["bootstrap_low"], table["bootstrap_high"] = bootstrap_interval(differences, seed=seed)
        table["effect"] = [
            each.mean() / each.std(ddof=1) if _varies(each) else math.nan for each in differences
        ]
        table["p_wilcoxon"] = [signed_rank_p(each) for each in differences]
        for name in ("p", "p_wilcoxon"):
            table[f"{name}_holm"] = holm(table[name].to_numpy())
    table["distinguishable"] = table["p_holm"] < ALPHA
    return table


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of p for the number of tests: the i-th smallest of m times m - i + 1, never falling.

    A p that is NaN stays NaN and is no test. statsmodels has the correction too, but collects garbage at every
    call, 60 ms.

    Reference: Holm 1979 (Scandinavian Journal of Statistics 6).
    """
    import numpy as np

    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    corrected = np.full(len(p), math.nan)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    return corrected.clip(max=1.0)


def holm_levels(p: np.ndarray) -> np.ndarray:
    """The level at which Holm's procedure decides each test, so that intervals leave out 0 where it rejects.

    Of m tests, r of which are rejected, the i-th smallest p has 0.05 / (m - i + 1), and all that are not rejected
    0.05 / (m - r), the level at which the first of them failed.
    """
    import numpy as np

    order = np.argsort(p, kind="stable")
    tests = np.count_nonzero(~np.isnan(p))
    rejected = np.count_nonzero(holm(p) < ALPHA)
    levels = np.empty(len(p))
    levels[order] = ALPHA / np.maximum(1, tests - np.minimum(np.arange(len(p)), rejected))
    return levels


def _error(differences: np.ndarray, train_rows: float, test_rows: float) -> float:
    """The standard error of the mean of differences over overlapping training parts."""
    return math.sqrt((1 / len(differences) + test_rows / train_rows) * differences.var(ddof=1))


def _varies(differences: np.ndarray) -> bool:
    """Whether they differ by more than rounding leaves of equal differences."""
    return bool(differences.std(ddof=1) > 1e-12 * abs(differences).max())
