"""Which differences hold over several data sets: Friedman's test, then Wilcoxon's for each pair of strategies."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossfleet.sweeps.comparison.blocks import family_of
from lossfleet.sweeps.comparison.statistics import ALPHA, holm, signed_rank_p

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Additions of an order to a sum of ranks in an exact test.
EXACT_WORK = 300_000
PERMUTATIONS = 100_000
# Ranks in a table, beyond which the F distribution is as good as permutations of it.
PERMUTED_RANKS = 300


@dataclass(frozen=True)
class Ranks:
    """Strategies over several data sets.

    Attributes:
        datasets: how many.
        average: rank by strategy, 1 is best, in this order.
        statistic: Friedman's chi-squared.
        p: of Friedman's test, and `method` how it was found: exact, permutations or Iman-Davenport.
        critical_difference: of Nemenyi's test, for the figure.
        pairwise: a row a pair, `first` with the better average rank: p of Wilcoxon's signed-rank test over the
            data sets, and p_holm, corrected for the number of pairs.
    """

    datasets: int
    average: pd.Series
    statistic: float
    p: float
    method: str
    critical_difference: float
    pairwise: pd.DataFrame


def rank(scores: pd.DataFrame) -> Ranks | None:
    """Tests over several data sets.

    Args:
        scores: a row a data set, a column a strategy, higher is better, nothing missing.

    Returns:
        None for fewer than two data sets or three strategies, where there is nothing to test.

    Reference:
        Benavoli, Corani and Mangili, Should we really use post-hoc tests based on mean-ranks?, JMLR 17 (2016): why
        pairs are tested by Wilcoxon's test, which does not depend on the other strategies.
    """
    datasets, strategies = scores.shape
    if datasets < 2 or strategies < 3:
        return None
    ranks = ranks_of(scores)
    average = ranks.mean().sort_values(kind="stable")
    statistic, p, method = friedman(ranks.to_numpy())
    return Ranks(
        datasets=datasets,
        average=average,
        statistic=statistic,
        p=p,
        method=method,
        critical_difference=critical_difference(strategies, datasets),
        pairwise=_pairs(scores[list(average.index)]),
    )


def friedman(ranks: np.ndarray, *, seed: int = 0) -> tuple[float, float, str]:
    """Friedman's test of the hypothesis that in each row every order of the ranks is equally likely.

    chi2 = (k - 1) sum_j (R_j - N (k + 1) / 2)^2 / sum_ij (r_ij - (k + 1) / 2)^2, R_j the sum of column j.

    Chi-squared's distribution is far off for few rows. The p is exact where the orders can be counted, else from
    100,000 random orders, and for large tables from Iman and Davenport's F = (N - 1) chi2 / (N (k - 1) - chi2).

    Args:
        ranks: (N, k), of each row 1 to k; equal ones share their mean.
        seed: of the random orders.

    Returns:
        The statistic, p and how it was found.

    Reference:
        Iman and Davenport, Approximations of the critical region of the Friedman statistic, Communications in
        Statistics 9 (1980).
    """
    import numpy as np
    from scipy import stats

    rows, columns = ranks.shape
    spread = ((ranks - (columns + 1) / 2) ** 2).sum()
    if spread == 0:
        return 0.0, 1.0, "exact"
    scale = (columns - 1) / spread

    def statistic(sums: np.ndarray) -> np.ndarray:
        found: np.ndarray = scale * ((sums - rows * (columns + 1) / 2) ** 2).sum(axis=-1)
        return found

    observed = float(statistic(ranks.sum(axis=0)))
    # Rounding must not make an equal statistic a smaller one.
    least = observed * (1 - 1e-9)
    counted = _sums_of_orders(ranks)
    if counted is not None:
        sums, shares = counted
        return observed, float(shares[statistic(sums) >= least].sum()), "exact"
    if ranks.size <= PERMUTED_RANKS:
        random = np.random.default_rng(seed)
        drawn = sum(row[random.random((PERMUTATIONS, columns)).argsort(axis=1)] for row in ranks)
        # The observed order is one of those that the hypothesis allows.
        p = (1 + (statistic(drawn) >= least).sum()) / (1 + PERMUTATIONS)
        return observed, float(p), "permutations"
    freedom = columns - 1
    rest = rows * freedom - observed
    f = math.inf if rest <= 0 else (rows - 1) * observed / rest
    return observed, float(stats.f.sf(f, freedom, freedom * (rows - 1))), "Iman-Davenport"


def _sums_of_orders(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The sums of columns over all orders of the rows, sorted, with the share of each; None for too many."""
    import numpy as np

    columns = ranks.shape[1]
    shares: dict[tuple[float, ...], float] = {(0.0,) * columns: 1.0}
    work = 0
    for row in ranks:
        work += math.factorial(columns) * len(shares)
        if work > EXACT_WORK:
            return None
        orders = Counter(itertools.permutations(row))
        total = sum(orders.values())
        following: defaultdict[tuple[float, ...], float] = defaultdict(float)
        for sums, share in shares.items():
            for order, count in orders.items():
                # All orders of a row being equally likely, sums that differ by their places alone go together.
                moved = tuple(sorted(a + b for a, b in zip(sums, order, strict=True)))
                following[moved] += share * count / total
        shares = dict(following)
    return np.array(list(shares)), np.array(list(shares.values()))


def smallest_friedman_p(strategies: int, datasets: int) -> float:
    """Friedman's p when all data sets agree on the order: (1 / k!)^(N - 1)."""
    return 1 / math.factorial(strategies) ** (datasets - 1)


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
        families: data set to family; of those not named, see `blocks.family_of`.
    """
    return scores.groupby([family_of(name, families) for name in scores.index], sort=False).mean()


def ranks_of(scores: pd.DataFrame) -> pd.DataFrame:
    """The ranks of strategies in each row, 1 for the highest score; equal ones share their mean rank."""
    return scores.rank(axis=1, ascending=False)


def _pairs(scores: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(list(itertools.combinations(scores, 2)), columns=["first", "second"])
    differences = [(scores[pair.first] - scores[pair.second]).to_numpy() for pair in table.itertuples()]
    table["p"] = [signed_rank_p(each) for each in differences]
    return table.assign(p_holm=holm(table["p"].to_numpy()))
