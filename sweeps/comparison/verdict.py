"""What the tests allow to say, in plain words and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.metrics import sign_of
from lossfleet.sweeps.comparison.ranks import Ranks, smallest_friedman_p
from lossfleet.sweeps.comparison.statistics import ALPHA, smallest_wilcoxon_p
from lossfleet.sweeps.comparison.threshold import AT_ARGMAX, BETTER, EQUAL, EVERYWHERE

if TYPE_CHECKING:
    import pandas as pd

# The share of a class's test rows that must be taken for another class to be said, and of how many classes it is.
LEAST_CONFUSED = 0.05
# What the sum of other splits in another order may make of one mean.
SAME = 1e-12
MOST_CONFUSED = 4


def sentence_about(data: str, table: pd.DataFrame, metric: str, pairwise: pd.DataFrame, rope: float) -> str:
    """Who is ahead on one data set, and from whom it can be told apart.

    Args:
        data: the data set's name.
        table: a row a strategy, the best first, with `metric`, `<metric>_std`, `replicates`, `missing`, `diverged`.
        metric: the metric's column.
        pairwise: of `statistics.compare_pairs`, with the `kind` of each pair.
        rope: what they were compared with.
    """
    best = table.iloc[0]
    if best["replicates"] == 0:
        return f"On {data} no final evaluation succeeded."
    score = f"{best[metric]:.3f}"
    if best["replicates"] > 1:
        score += f" ± {best[f'{metric}_std']:.3f}"
    name = metric.replace("_", " ")
    splits = _splits(best["replicates"])
    extreme = "lowest" if sign_of(metric) < 0 else "highest"
    said = [f"On {data} {best['strategy']} has the {extreme} {name} ({score} over {splits})"]
    level = table.loc[(table[metric] - best[metric]).abs() < SAME, "strategy"]
    if len(level) > 1:
        said = [f"On {data} {_list(list(level))} are level: {name} {score} over {splits}"]
    if len(table) == 1:
        said = [f"On {data} only {best['strategy']} was run: {name} {score} over {splits}"]
    if len(pairwise):
        said += _against_others(best["strategy"], pairwise, rope)
    failed = list(table.loc[table["replicates"] == 0, "strategy"])
    if failed:
        said.append(f"{_list(failed)} {'has' if len(failed) == 1 else 'have'} no result")
    partly = table[(table["missing"] > 0) & (table["replicates"] > 0)]
    if len(partly):
        lacks = [f"{row.strategy} on {_splits(row.missing)}" for row in partly.itertuples()]
        shared = "; all are compared on the splits that they share" if pairwise["pairs"].any() else ""
        said.append(f"There is no score of {_list(lacks)}{shared}")
    diverged = table[table["diverged"] > 0]
    if len(diverged):
        often = [f"{row.strategy} on {_splits(row.diverged)}" for row in diverged.itertuples()]
        said.append(f"Training diverged, which counts as chance: {_list(often)}")
    return ". ".join(said) + "."


def _against_others(best: str, pairwise: pd.DataFrame, rope: float) -> list[str]:
    pairs = int(pairwise["pairs"].iloc[0])
    if pairs < 2:
        return [
            f"No difference can be tested: all strategies share {_splits(pairs) if pairs else 'no split'}"
        ]
    # Pairs are ordered by the same means as the table.
    involved = pairwise[pairwise["first"] == best]
    ahead = involved[involved["distinguishable"]]
    constant = involved[involved["p"].isna()]
    same = involved[~involved["distinguishable"] & involved["p"].notna()]
    said = []
    if len(ahead):
        wins = [
            f"{row.second} by {row.difference:.3f} ({p_in_words(row.p_holm)})" for row in ahead.itertuples()
        ]
        said += [f"It is better than {_list(wins)}", *_ranking_or_threshold(best, ahead)]
    if len(same):
        others = [f"{row.second} ({p_in_words(row.p_holm)})" for row in same.itertuples()]
        said.append(f"{best} and {_list(others)} are not distinguishable on these {pairs} splits")
    equal = same[same["kind"] == EQUAL]
    if len(equal):
        others = [f"{row.second} (by {row.p_equal:.0%})" for row in equal.itertuples()]
        said.append(f"Probably within {rope:g} of {best}, which is practically equal: {_list(others)}")
    level = list(constant.loc[constant["difference"].abs() < SAME, "second"])
    if level:
        said.append(f"{best} has the same score as {_list(level)} on every split")
    constant = constant[~constant["second"].isin(level)]
    if len(constant):
        others = [f"{row.second} ({row.difference:.3f})" for row in constant.itertuples()]
        said.append(
            f"From {_list(others)} it differs by the same on every split, so that nothing can be tested"
        )
    tested = int(pairwise["p"].notna().sum())
    if not tested:
        return said
    tests = "a pair" if tested == 1 else f"{tested} pairs, Holm's correction for them"
    said.append(f"This is the corrected t-test of {tests}")
    smallest = smallest_wilcoxon_p(pairs)
    corrected = min(1.0, smallest * tested)
    if corrected >= ALPHA:
        after_holm = f", {corrected:.4f} after Holm" if tested > 1 else ""
        said.append(
            f"Wilcoxon's test cannot confirm any difference with {pairs} splits: its smallest p is "
            f"{smallest:.4f}{after_holm}"
        )
    return said


def _ranking_or_threshold(best: str, ahead: pd.DataFrame) -> list[str]:
    said = []
    alone = list(ahead.loc[ahead["kind"] == AT_ARGMAX, "second"])
    if alone:
        said.append(
            f"After a correction for the prior, tuned on validation, no difference to {_list(alone)} can be shown, "
            f"nor one in average precision: what {best} changes there is the decision threshold, not the ranking"
        )
    everywhere = list(ahead.loc[ahead["kind"] == EVERYWHERE, "second"])
    if everywhere:
        said.append(
            f"The difference to {_list(everywhere)} stays after a correction for the prior, tuned on validation, and "
            f"in average precision: {best} ranks better too"
        )
    partly = ahead[~ahead["kind"].isin([AT_ARGMAX, EVERYWHERE, BETTER])]
    for kind, rows in partly.groupby("kind"):
        said.append(f"Against {_list(list(rows['second']))} it is {kind} alone")
    return said


def sentence_beside(best: str, references: pd.DataFrame, metric: str) -> str:
    """How the best strategy stands beside the references of one data set.

    Args:
        best: the strategy.
        references: of `references.beside`.
        metric: the compared metric's column.
    """
    import pandas as pd

    said = []
    is_level = ~references["beaten"] & ~references["ahead"] & references["p"].notna()
    groups = (
        (references["beaten"], f"{best} is better than {{}}"),
        (references["ahead"], f"{best} is worse than {{}}"),
        (is_level, f"{best} and {{}} are not distinguishable"),
        (references["p"].isna(), f"{best} could not be tested against {{}}"),
    )
    for rows, words in groups:
        named = []
        for _, row in references[rows].iterrows():
            tested = "" if pd.isna(row["p_holm"]) else f", {p_in_words(row['p_holm'])}"
            named.append(f"{row['strategy']} ({row[metric]:.3f}{tested})")
        if named:
            said.append(words.format(_list(named)))
    first, *others = said
    return ". ".join([f"Beside the references, which are not tuned: {first}", *others]) + "."


def sentences_about_evaluation(
    table: pd.DataFrame, test_rows: float, pool_rows: float, outer_parts: tuple[int, int] | None = None
) -> str:
    """What the final evaluation was made on, where that is not parts of all rows, and how scores fell from validation.

    Args:
        table: a row a strategy, with `fall`.
        test_rows: of a test part.
        pool_rows: that all test parts are drawn from; NaN for the whole data set.
        outer_parts: of a nested evaluation, how many are there of how many that there are to be.
    """
    said = []
    if outer_parts is not None:
        there, planned = outer_parts
        lacking = (
            f" ({planned - there} of the {planned} outer parts are not there yet)" if there < planned else ""
        )
        said.append(
            f"Each split is an outer part with a search of its own, which never saw its test part{lacking}; its score "
            "is the mean of the replicates that were trained for it"
        )
    if pool_rows == test_rows:
        said.append(
            f"All replicates are tested on the same {test_rows:.0f} rows, which the search never saw: the test tells "
            "what other seeds would change there, not what other rows would"
        )
    elif pool_rows > test_rows:
        said.append(f"All test parts are drawn from {pool_rows:.0f} rows that the search never saw")
    worse = [f"{row.fall:.3f} ({row.strategy})" for row in table.itertuples() if row.fall >= 0]
    better = [f"{-row.fall:.3f} ({row.strategy})" for row in table.itertuples() if row.fall < 0]
    ways = [f"{word} by {_list(each)}" for word, each in (("worse", worse), ("better", better)) if each]
    if ways:
        said.append(f"From the search's validation to the test the best trials get {_list(ways)}")
    return "".join(f" {each}." for each in said)


def sentence_about_classes(best: str, counts: np.ndarray, class_names: Sequence[str]) -> str:
    """What the best strategy takes the test rows of which class for, where it is one in twenty; the worst four of them.

    Args:
        best: the strategy.
        counts: (C, C), test examples of class i predicted as class j; a class without any is not spoken of.
        class_names: C of them.
    """
    tested = np.flatnonzero(counts.sum(axis=1))
    shares = counts[tested] / counts[tested].sum(axis=1, keepdims=True)
    right = shares[np.arange(len(tested)), tested]
    wrong = shares.copy()
    wrong[np.arange(len(tested)), tested] = 0
    worst = [
        int(row)
        for row in np.argsort(-wrong.max(axis=1), kind="stable")[:MOST_CONFUSED]
        if wrong[row].max() >= LEAST_CONFUSED
    ]
    others = np.delete(np.arange(len(tested)), worst)
    # Rounded down, and not by what a division lost.
    least = f"in at least {math.floor(100 * right[others].min() + 1e-9)}%" if len(others) else ""
    if not worst:
        return f"{best} is right {least} of the test rows of each class."
    taken = [
        f"of {class_names[tested[row]]} {wrong[row].max():.0%} for {class_names[wrong[row].argmax()]}"
        for row in worst
    ]
    tail = ""
    if len(others):
        rest = f"{class_names[tested[others[0]]]} is" if len(others) == 1 else "the other classes are"
        tail = f"; {rest} right {least}"
    return f"Of its test rows {best} takes {_list(taken)}{tail}."


def sentence_about_few_rows(rows: np.ndarray, class_names: Sequence[str]) -> str:
    """Which classes have a single test row in each split, so that a metric of them is 0 or 1; nothing for none.

    Args:
        rows: (C,), test rows of each class in a split.
        class_names: C of them.
    """
    single = [name for name, count in zip(class_names, rows, strict=True) if 0 < count <= 1]
    if not single:
        return ""
    shown = [
        *single[:MOST_CONFUSED],
        *([f"{len(single) - MOST_CONFUSED} more"] if single[MOST_CONFUSED:] else []),
    ]
    return f"Of {_list(shown)} each split has one test row, which says next to nothing about the class."


def sentence_over(scores: pd.DataFrame, ranks: Ranks | None) -> str:
    """What several data sets say together.

    Args:
        scores: a row a data set (related ones averaged), a column a strategy that all data sets have.
        ranks: of `statistics.rank` on these scores.
    """
    datasets, strategies = scores.shape
    if ranks is None:
        return (
            f"Over several data sets nothing was tested: it needs three strategies and two unrelated data "
            f"sets, and there are {strategies} and {datasets}."
        )
    head = f"Over {datasets} data sets Friedman's test finds"
    order = ", ".join(f"{name} {value:.2f}" for name, value in ranks.average.items())
    tail = f"(average ranks: {order}; critical difference {ranks.critical_difference:.2f})"
    if ranks.p >= ALPHA:
        smallest = smallest_friedman_p(strategies, datasets)
        hopeless = (
            f", and could not with so few (its smallest p is {smallest:.3f})" if smallest >= ALPHA else ""
        )
        return f"{head} no difference between the strategies ({p_in_words(ranks.p)}){hopeless} {tail}."
    pairs = ranks.pairwise
    better = [f"{row.first} better than {row.second}" for row in pairs[pairs["p_holm"] < ALPHA].itertuples()]
    if better:
        found = f"by Wilcoxon's test with Holm's correction {_list(better)}"
    else:
        found = "but Wilcoxon's test with Holm's correction cannot say between which"
        if smallest_wilcoxon_p(datasets) * len(pairs) >= ALPHA:
            found += " with so few data sets"
    return f"{head} a difference between the strategies ({p_in_words(ranks.p)}), {found} {tail}."


def sentence_about_versions(versions: list[list[str]]) -> str:
    """Which data sets were taken for versions of one file, see `blocks.versions_of_files`."""
    said = [f"{_list(each)} have one file name and count as one data set" for each in versions]
    return f"{'. '.join(said)}."


def _splits(count: int) -> str:
    return f"{count} split{'' if count == 1 else 's'}"


def p_in_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
