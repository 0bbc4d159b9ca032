"""Comparing strategies: the summary of a tidy table of replicates, and a sentence that sums it up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.evaluations import ROPE
from lossfleet.conf.metrics import sign_of
from lossfleet.conf.published import Published
from lossfleet.runners.detection.timing import FRAMES, MILLISECONDS
from lossfleet.sweeps.comparison.blocks import data_set_of, in_order, versions_of_files
from lossfleet.sweeps.comparison.evaluated import confusion_of, falls, pool_rows, rows_of
from lossfleet.sweeps.comparison.frame import (
    FIELDS,
    SHOWN,
    SHOWN_OF_OBJECTS,
    Comparison,
    decided_columns,
    hyperparameters,
    is_diverged,
    latest_finals,
    scored,
    spread,
)
from lossfleet.sweeps.comparison.front import sentence_about_front, trade_offs
from lossfleet.sweeps.comparison.nested import CHOSEN, join_outer_parts, outer_parts_of
from lossfleet.sweeps.comparison.published import reproduce
from lossfleet.sweeps.comparison.ranks import average_families, rank, ranks_of
from lossfleet.sweeps.comparison.references import beside, latest_references
from lossfleet.sweeps.comparison.statistics import INTERVALS, compare_pairs
from lossfleet.sweeps.comparison.threshold import kinds, metrics_beside, oriented
from lossfleet.sweeps.comparison.verdict import (
    sentence_about,
    sentence_about_classes,
    sentence_about_few_rows,
    sentence_about_versions,
    sentence_beside,
    sentence_over,
    sentences_about_evaluation,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BASELINE = "ce"
OPPOSITES = ("high", "low", "bootstrap_high", "bootstrap_low")
# Two tasks made of the same measurements count as one where data sets are the evidence.
FAMILIES = {"page_blocks_binary": "page_blocks"}


def summary(
    frame: pd.DataFrame,
    families: Mapping[str, str] = FAMILIES,
    *,
    metrics: Sequence[str] | None = None,
    rope: float = ROPE,
    confusions: Mapping[str, np.ndarray] | None = None,
    published: Mapping[tuple[str, str], Published] | None = None,
) -> Comparison:
    """Compares strategies by a metric of their final evaluations.

    Args:
        frame: as `frame` or `frame_from_records` give it; outer parts are joined, see `nested.join_outer_parts`.
        families: data set to family; related data sets are averaged before they are ranked, and so are blocks of one
            data set and versions of one file.
        metrics: columns of the frame, the first one is what is compared; None for what there is of SHOWN, and for
            what decisions were fitted to.
        rope: differences of the compared metric up to it are practically none, see `statistics.correlated_t`.
        confusions: the counts (C, C) of each strategy on data with too many classes for the frame to have them.
        published: by data set and sweep what it is set beside, see `published.reproduce`.

    Returns:
        The table is ordered by data set, the best strategy first. Each metric has mean, `<metric>_std` and
        `<metric>_median` over the splits on which every strategy has a score, the same that the tests compare;
        `replicates` is how many, `missing` on how many a strategy has none and `diverged` on how many of them it
        counts as chance. `difference` is that of the compared metric to the best strategy's, `difference_low` and
        `_high` its interval (corrected t at Holm's level), `bootstrap_low` and `_high` the bootstrap's;
        `ce_difference` and so on are those to plain cross-entropy's. `long_tail` is the ratio that
        training parts were thinned to, NaN for none. `fall` is how much worse the compared metric is
        than the search had validated it for the same trial. `beaten` says that the best one is better by
        the corrected test. The pairs have `kind`, what `threshold.kinds` finds of each. `references` has the models
        that the strategies are set beside, see `references.beside`; None without any.

    Raises:
        UserError: no final evaluation, no such metric, or two sweeps on one data set.
    """
    import pandas as pd

    reproductions = [
        reproduce(frame[(frame["sweep"] == sweep) & (frame["data"].map(data_set_of) == data)], each)
        for (data, sweep), each in (published or {}).items()
    ]
    frame = join_outer_parts(frame)
    final = latest_finals(frame)
    chosen = _choose_metrics(final, metrics)
    front = trade_offs(frame)
    fitted = latest_references(frame)
    tables, pairs, sentences, means, references = [], [], [], {}, []
    for data in in_order(final["data"]):
        part = final[final["data"] == data]
        if part["sweep"].nunique() > 1:
            raise UserError(
                what=f"the sweeps {', '.join(sorted(part['sweep'].unique()))} are on the same data {data}",
                expected="one sweep a data set",
                hint="read them together, for example by frame(sweep=['a', 'b']), which names what sets them apart",
            )
        scores = _paired_scores(part, chosen[0])
        rows = rows_of(part)
        pairwise = compare_pairs(sign_of(chosen[0]) * scores, **rows, rope=rope)
        others = {
            words: oriented(part, column, scores)
            for words, column in metrics_beside(chosen[0], part.columns).items()
        }
        pairwise["kind"] = kinds(pairwise, others, **rows)
        table = _add_differences(_table(part, chosen, scores), pairwise, sign_of(chosen[0]))
        search = frame[(frame["data"] == data) & frame["stage"].isin(["search", CHOSEN])]
        table["fall"] = falls(search, table, chosen[0])
        table["long_tail"] = part["long_tail"].iloc[0]
        tables.append(table)
        pairs.append(pairwise.assign(data=data))
        best = table["strategy"].iloc[0]
        models = beside(
            fitted[fitted["sweep"] == part["sweep"].iloc[0]],
            scores[best] if best in scores and len(scores) else None,
            chosen,
            **rows,
        )
        references.append(models)
        sentence = sentence_about(data, table, chosen[0], pairwise, rope)
        if len(models):
            sentence += f" {sentence_beside(best, models, chosen[0])}"
        sentence += sentences_about_evaluation(
            table, part["test_rows"].mean(), pool_rows(part), outer_parts_of(part)
        )
        counts = (confusions or {}).get(best, confusion_of(part, best))
        if counts is not None:
            class_names = part["class_names"].iloc[0]
            sentence += f" {sentence_about_classes(best, counts, class_names)}"
            tested = len(scored(part[part["strategy"] == best], chosen[0]))
            # Sums of weights are no rows.
            is_counted = bool((counts % 1 == 0).all())
            few = sentence_about_few_rows(counts.sum(axis=1) / max(1, tested), class_names)
            sentence += f" {few}" if few and is_counted else ""
        if (front["data"] == data).any():
            of_data = front[front["data"] == data].dropna(axis=1, how="all")
            sentence += f" {sentence_about_front(of_data)}"
        sentences.append(sentence)
        means[data] = table.set_index("strategy")[chosen[0]]
    ranks, average_ranks = None, None
    if len(means) > 1 and len({data_set_of(data) for data in means}) == 1:
        sentences.append("These sweeps are on one data set, so nothing is tested over them.")
    elif len(means) > 1:
        # A strategy that is missing on one data set cannot be ranked.
        scores = sign_of(chosen[0]) * pd.DataFrame(means).T.dropna(axis=1)
        scores = average_families(scores, families)
        ranks, average_ranks = rank(scores), ranks_of(scores).mean()
        sentences.append(sentence_over(scores, ranks))
        versions = versions_of_files(means, families)
        if versions:
            sentences.append(sentence_about_versions(versions))
    for each in reproductions:
        sentences += [f"Beside {each.source}:", *each.sentences]
    return Comparison(
        metrics=chosen,
        table=pd.concat(tables, ignore_index=True),
        sentence="\n".join(sentences),
        pairwise=pd.concat(pairs, ignore_index=True),
        average_ranks=average_ranks,
        ranks=ranks,
        front=front,
        references=pd.concat(references, ignore_index=True) if any(map(len, references)) else None,
        published=tuple(reproductions),
    )


def _choose_metrics(final: pd.DataFrame, wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None:
        shown = (*SHOWN, *SHOWN_OF_OBJECTS, *decided_columns(final))
        return tuple(metric for metric in shown if metric in final)
    for metric in wanted:
        if metric not in final:
            known = [
                name for name in final if name not in FIELDS and not name.startswith(("params.", "curves."))
            ]
            raise UserError(
                what=f"these sweeps have no metric {metric}",
                expected="a metric of their final evaluations",
                hint=suggest(metric, known),
            )
    return tuple(wanted)


def _table(final: pd.DataFrame, metrics: Sequence[str], scores: pd.DataFrame) -> pd.DataFrame:
    """A row a strategy, by the mean of the compared metric over the splits of `scores`."""
    import pandas as pd

    splits = len(final[["seed", "split"]].drop_duplicates())
    rows = []
    for strategy, part in final.groupby("strategy"):
        own = scored(part, metrics[0]).set_index(["seed", "split"])
        # Without a split that all share, each is shown on its own.
        shown = own.loc[own.index.isin(scores.index)] if len(scores) else own
        row = {
            "data": part["data"].iloc[0],
            "strategy": strategy,
            "trial": part["trial"].iloc[0],
            "hyperparameters": hyperparameters(part.iloc[0]),
            "replicates": len(shown),
            "missing": splits - len(own),
            "diverged": int(is_diverged(shown).sum()),
        }
        if final[MILLISECONDS].notna().any():
            # Of several outer parts the fastest, which the machine disturbed least.
            row |= {MILLISECONDS: part[MILLISECONDS].min(), FRAMES: part[FRAMES].max()}
        rows.append(row | spread(shown, metrics))
    table = pd.DataFrame(rows)
    # The means of `scores`, so that ties are broken as in the tests.
    order = table[metrics[0]] if scores.empty else table["strategy"].map(scores.mean())
    return table.iloc[(-sign_of(metrics[0]) * order).argsort(kind="stable")].reset_index(drop=True)


def _add_differences(table: pd.DataFrame, pairwise: pd.DataFrame, direction: int) -> pd.DataFrame:
    """The differences to the best strategy and to the baseline, in the metric's own direction."""
    import pandas as pd

    best = table["strategy"].iloc[0]
    pairs = {(pair.first, pair.second): pair for pair in pairwise.itertuples()}

    def minus(strategy: str, other: str) -> dict[str, float]:
        """The difference of two strategies with its intervals, nothing of a pair that was not tested."""
        pair, turn = pairs.get((strategy, other)), direction
        if pair is None:
            pair, turn = pairs.get((other, strategy)), -direction
        if pair is None:
            return dict.fromkeys(("difference", *INTERVALS), math.nan)
        ends = {name: turn * getattr(pair, name) for name in INTERVALS}
        if turn < 0:
            ends = {name: ends[opposite] for name, opposite in zip(INTERVALS, OPPOSITES, strict=True)}
        return {"difference": turn * pair.difference, **ends}

    for prefix, other in (("", best), (f"{BASELINE}_", BASELINE)):
        differences = pd.DataFrame([minus(strategy, other) for strategy in table["strategy"]])
        names = {"low": "difference_low", "high": "difference_high"}
        table = pd.concat([table, differences.rename(columns=names).add_prefix(prefix)], axis=1)
    beaten = [
        (best, strategy) in pairs and pairs[best, strategy].distinguishable for strategy in table["strategy"]
    ]
    return table.assign(beaten=pd.Series(beaten, dtype=bool))


def _paired_scores(final: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Scores by split and strategy, of the splits on which all strategies have one.

    A strategy without any score is no column: it must not take the splits from the others.
    """
    return scored(final, metric).pivot(index=["seed", "split"], columns="strategy", values=metric).dropna()
