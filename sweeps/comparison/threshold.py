"""Whether what is better at the argmax is a better ranking, or another decision threshold alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossfleet.conf.metrics import sign_of
from lossfleet.sweeps.comparison.statistics import ALPHA, corrected_t, holm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

# Of a final replicate: no decision enters it.
RANKING = "test_macro_average_precision"
EVERYWHERE = "better everywhere"
AT_ARGMAX = "better at the argmax alone"
BETTER = "better"
EQUAL = "practically equal"
UNKNOWN = "not distinguishable"
# The probability from which a posterior is put into words.
SURE = 0.95


def metrics_beside(metric: str, columns: pd.Index) -> dict[str, str]:
    """The columns that tell a ranking from a threshold, by the words for them; none for a metric without decisions.

    Args:
        metric: the compared column.
        columns: of the final replicates.
    """
    corrected = metric.replace("test_", "test_corrected_", 1)
    beside = {corrected: "after a correction for the prior", RANKING: "in average precision"}
    if corrected not in columns or RANKING not in columns or metric.startswith("test_corrected_"):
        return {}
    return {words: column for column, words in beside.items()}


def kinds(
    pairwise: pd.DataFrame, beside: Mapping[str, pd.DataFrame], *, train_rows: float, test_rows: float
) -> list[str]:
    """What is found of each pair: one of the words above, or `better at the argmax and ...`.

    Args:
        pairwise: of `statistics.compare_pairs`.
        beside: other metrics of the same splits and strategies, by what they are called; more is better.
        train_rows, test_rows: see `statistics.corrected_t`.
    """
    import numpy as np

    found: dict[str, np.ndarray] = {}
    for words, scores in beside.items():
        differences = [
            (scores[pair.first] - scores[pair.second]).to_numpy() for pair in pairwise.itertuples()
        ]
        if len(scores) < 2 or not differences:
            continue
        tests = [corrected_t(each, train_rows=train_rows, test_rows=test_rows) for each in differences]
        rejected = holm(np.array([test.p for test in tests])) < ALPHA
        found[words] = rejected & (np.mean(differences, axis=1) > 0)
    return [
        _kind(
            pair.distinguishable,
            pair.p_equal,
            {words: bool(better[index]) for words, better in found.items()},
        )
        for index, pair in enumerate(pairwise.itertuples())
    ]


def oriented(final: pd.DataFrame, column: str, like: pd.DataFrame) -> pd.DataFrame:
    """A metric by split and strategy, those of `like`, so that more is better."""
    scores = final.pivot(index=["seed", "split"], columns="strategy", values=column)
    return sign_of(column) * scores.loc[like.index, like.columns]


def _kind(is_better: bool, p_equal: float, beside: Mapping[str, bool]) -> str:
    if not is_better:
        return EQUAL if p_equal > SURE else UNKNOWN
    if not beside:
        return BETTER
    if all(beside.values()):
        return EVERYWHERE
    also = [words for words, better in beside.items() if better]
    return f"better at the argmax and {also[0]}" if also else AT_ARGMAX
