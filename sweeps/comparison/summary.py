"""Comparing strategies: one tidy table of replicates, its summary, and a sentence that sums it up."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.metrics import sign_of
from lossfleet.runners.metrics.evaluation import final_metric_names
from lossfleet.runners.records import Record
from lossfleet.runners.tracking.runs import replicate_rows
from lossfleet.sweeps.comparison.front import sentence_about_front, trade_offs
from lossfleet.sweeps.comparison.statistics import (
    INTERVALS,
    Ranks,
    average_families,
    compare_pairs,
    rank,
    ranks_of,
)
from lossfleet.sweeps.comparison.verdict import sentence_about, sentence_over

if TYPE_CHECKING:
    import pandas as pd

# The first one is what strategies are compared by: at the argmax, then after a correction for the prior that
# is tuned on validation, and one without a threshold.
SHOWN = (
    "test_balanced_accuracy",
    "test_corrected_balanced_accuracy",
    "test_macro_f1",
    "test_macro_average_precision",
)
PRIMARY = SHOWN[0]
BASELINE = "ce"
OPPOSITES = ("high", "low", "bootstrap_high", "bootstrap_low")
# Two tasks made of the same measurements count as one where data sets are the evidence.
FAMILIES = {"page_blocks_binary": "page_blocks"}
ORDER = ("data", "sweep", "strategy", "stage", "trial", "replicate")
FIELDS = (
    *ORDER, "seed", "split", "state", "epochs", "started", "ended", "search_metric", "class_names", "objectives",
    "feasible",
)  # fmt: skip

Format = Literal["terminal", "md", "csv", "latex"]


@dataclass(frozen=True)
class Comparison:
    """What a sweep, or several on different data sets, has found.

    `sentence` has a line a data set, and one over all. `metrics` are those of the table, the first one is
    compared. `table` has a row a strategy (and data set), `pairwise` a row a pair of strategies.
    `average_ranks` is there for several data sets, `ranks` with the tests for three strategies or more, `front`
    has what `front.trade_offs` gives.
    """

    metrics: tuple[str, ...]
    table: pd.DataFrame
    sentence: str
    pairwise: pd.DataFrame
    average_ranks: pd.Series | None = None
    ranks: Ranks | None = None
    front: pd.DataFrame | None = None

    @property
    def winner(self) -> str:
        """The strategy ahead on one data set, and from which others it cannot be told apart; empty without rivals."""
        best, *others = self.table.itertuples()
        if not others or not best.replicates:
            return ""
        ties = [other.strategy for other in others if other.replicates and not other.beaten]
        return f"{best.strategy} (not distinguishable from {', '.join(ties)})" if ties else best.strategy

    def scores(self) -> dict[str, float]:
        """The winner's mean of each metric, and every strategy's mean of the first as `<metric>.<strategy>`."""
        means = {name: self.table[name].iloc[0] for name in self.metrics}
        first = self.metrics[0]
        means |= {f"{first}.{row['strategy']}": row[first] for _, row in self.table.iterrows()}
        return {name: float(mean) for name, mean in means.items() if math.isfinite(mean)}


def frame(
    experiments: list[str] | None = None,
    *,
    uri: str | None = None,
    sweep: str | None = None,
    curves: bool = True,
) -> pd.DataFrame:
    """The replicates of sweeps, from MLflow.

    Args:
        experiments: names; None for all that have a sweep.
        uri: the tracking URI; None for MLFLOW_TRACKING_URI, else mlflow.db in the working directory.
        sweep: the sweep's name; None for the latest finished one of each experiment.
        curves: whether to read the curves too.

    Returns:
        A row a replicate: data, sweep, strategy, stage, trial, replicate, seed, split, state, epochs,
        started, ended (unix seconds), search_metric (the validation metric that the search optimised, of
        several the first one), class_names (a tuple), objectives (of several metrics, with commas), feasible, a
        column `params.<name>` a sampled hyperparameter, a column a metric with its last value, and a column
        `curves.<name>` a curve: a tuple of (step, value), where the step is the epoch, but for
        `lossfleet.runners.metrics.evaluation.DIAGRAMS`; a replicate without that curve has an empty one.

    Raises:
        UserError: no store, no such experiment, no such sweep.
    """
    from lossfleet.runners.tracking.tracker import read_replicates

    return _tidy(read_replicates(experiments, uri=uri, sweep=sweep, curves=curves))


def frame_from_records(records: Iterable[Record]) -> pd.DataFrame:
    """The replicates of a sweep, from its journal; the same table as `frame` gives."""
    return _tidy(replicate_rows(records))


def _tidy(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    params = sorted({name for row in rows for name in row["params"]})
    metrics = sorted({name for row in rows for name in row["metrics"]})
    curves = sorted({name for row in rows for name in row["curves"]})
    flat = [
        {name: row[name] for name in FIELDS}
        | {f"params.{name}": value for name, value in row["params"].items()}
        | row["metrics"]
        | {f"curves.{name}": row["curves"].get(name, ()) for name in curves}
        for row in rows
    ]
    columns = [f"params.{name}" for name in params] + metrics + [f"curves.{name}" for name in curves]
    table = pd.DataFrame(flat, columns=[*FIELDS, *columns])
    return table.sort_values(list(ORDER), ignore_index=True)


def summary(
    frame: pd.DataFrame, families: Mapping[str, str] = FAMILIES, *, metrics: Sequence[str] | None = None
) -> Comparison:
    """Compares strategies by a metric of their final evaluations.

    Args:
        frame: as `frame` or `frame_from_records` give it.
        families: data set to family; related data sets are averaged before they are ranked.
        metrics: columns of the frame, the first one is what is compared; None for what there is of SHOWN.

    Returns:
        The table is ordered by data set, the best strategy first. Each metric has mean, `<metric>_std` and
        `<metric>_median` over the final replicates. `difference` is that of the compared metric to the best
        strategy's, `difference_low` and `_high` its 95 % interval (corrected t), `bootstrap_low` and `_high`
        the bootstrap's; `ce_difference` and so on are those to plain cross-entropy's. `beaten` says that the
        best one is better by the corrected test.

    Raises:
        UserError: no final evaluation, no such metric, or two sweeps on one data set.
    """
    import pandas as pd

    final = latest_finals(frame)
    chosen = _choose_metrics(final, metrics)
    front = trade_offs(frame)
    tables, pairs, sentences, means = [], [], [], {}
    for data, part in final.groupby("data"):
        if part["sweep"].nunique() > 1:
            raise UserError(
                what=f"the sweeps {', '.join(sorted(part['sweep'].unique()))} are on the same data {data}",
                expected="one sweep a data set",
                hint="compare them one by one, naming the experiment and the sweep",
            )
        scores, left_out = _paired_scores(part, chosen[0])
        pairwise = compare_pairs(
            sign(chosen[0]) * scores, train_rows=part["train_rows"].mean(), test_rows=part["test_rows"].mean()
        )
        table = _add_differences(_table(part, chosen), pairwise, sign(chosen[0]))
        tables.append(table)
        pairs.append(pairwise.assign(data=data))
        sentence = sentence_about(str(data), table, chosen[0], pairwise, left_out)
        if (front["data"] == data).any():
            of_data = front[front["data"] == data].dropna(axis=1, how="all")
            sentence += f" {sentence_about_front(of_data)}"
        sentences.append(sentence)
        means[data] = table.set_index("strategy")[chosen[0]]
    ranks, average_ranks = None, None
    if len(means) > 1:
        # A strategy that is missing on one data set cannot be ranked.
        scores = sign(chosen[0]) * pd.DataFrame(means).T.dropna(axis=1)
        scores = average_families(scores, families)
        ranks, average_ranks = rank(scores), ranks_of(scores).mean()
        sentences.append(sentence_over(scores, ranks))
    return Comparison(
        metrics=chosen,
        table=pd.concat(tables, ignore_index=True),
        sentence="\n".join(sentences),
        pairwise=pd.concat(pairs, ignore_index=True),
        average_ranks=average_ranks,
        ranks=ranks,
        front=front,
    )


def print_comparison(
    experiments: list[str] | None = None,
    format: Format = "terminal",
    uri: str | None = None,
    sweep: str | None = None,
    metrics: Sequence[str] | None = None,
) -> None:
    """Prints the comparison of the latest finished sweeps.

    Args:
        experiments: names; None for all that have a sweep.
        format: `terminal`, `md` and `latex` for reading, `csv` for all numbers of the table.
        uri: as for `frame`.
        sweep: as for `frame`.
        metrics: as for `summary`.

    Raises:
        UserError: as `frame` and `summary` do, and for an unknown format or metric.
    """
    from lossfleet.sweeps.comparison import tables

    if format not in get_args(Format):
        raise UserError(
            what=f"the format is {format}",
            expected=f"one of {', '.join(get_args(Format))}",
            hint="write for example md",
        )
    check_metric_names(metrics or ())
    comparison = summary(frame(experiments, uri=uri, sweep=sweep, curves=False), metrics=metrics)
    if format == "terminal":
        tables.print_table(comparison)
    elif format == "md":
        print(f"{tables.markdown_table(comparison)}\n\n{tables.escape_markdown(comparison.sentence)}")
    elif format == "latex":
        print(tables.latex_table(comparison))
    else:
        print(tables.csv_table(comparison), end="")


def check_metric_names(names: Sequence[str]) -> None:
    """Refuses names that no sweep has, whatever its number of classes.

    Raises:
        UserError: for an unknown name or one that comes twice.
    """
    known = final_metric_names(classes=1)
    for index, name in enumerate(names):
        if re.sub(r"_\d+", "_0", name) not in known:
            raise UserError(
                what=f"there is no metric {name!r}",
                expected="a metric of the final evaluations",
                hint=suggest(name, known),
            )
        if name in names[:index]:
            raise UserError(
                what=f"the metric {name} is there twice",
                expected="each metric once",
                hint="take the repeated one out",
            )


def sign(metric: str) -> int:
    """1 where more of a metric is better, -1 where less is."""
    return sign_of(metric)


def latest_finals(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each strategy's last final evaluation.

    Raises:
        UserError: there is none.
    """
    final = frame[frame["stage"] == "final"]
    if final.empty:
        raise UserError(
            what="there is no final evaluation",
            expected="a sweep whose studies have all ended",
            hint="run the sweep again to finish it",
        )
    # A sweep continued with more trials evaluates again what it then finds best.
    ended = final.groupby(["sweep", "strategy", "trial"])["ended"].transform("max")
    latest = ended.groupby([final["sweep"], final["strategy"]]).transform("max")
    return final[ended == latest]


def _choose_metrics(final: pd.DataFrame, wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None:
        return tuple(metric for metric in SHOWN if metric in final)
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


def _table(final: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for strategy, part in final.groupby("strategy"):
        complete = scored(part, metrics[0])
        row = {
            "data": part["data"].iloc[0],
            "strategy": strategy,
            "hyperparameters": hyperparameters(part.iloc[0]),
            "replicates": len(complete),
        }
        for metric in metrics:
            values = complete[metric]
            row |= {metric: values.mean(), f"{metric}_std": values.std(), f"{metric}_median": values.median()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(
        metrics[0], ascending=sign(metrics[0]) < 0, kind="stable", ignore_index=True
    )


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


def hyperparameters(replicate: pd.Series) -> str:
    sampled = replicate.filter(like="params.").dropna()
    return " ".join(
        f"{name.removeprefix('params.')}={f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in sampled.items()
    )


def _paired_scores(final: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, int]:
    """Scores by split and strategy, and how many splits lack a strategy's score and are left out.

    A strategy without any score is no column: it must not take the splits from the others.
    """
    scores = scored(final, metric).pivot(index=["seed", "split"], columns="strategy", values=metric)
    paired = scores.dropna()
    return paired, len(final[["seed", "split"]].drop_duplicates()) - len(paired)


def scored(final: pd.DataFrame, metric: str = PRIMARY) -> pd.DataFrame:
    """The final replicates that ended well and have a score."""
    return final[(final["state"] == "COMPLETE") & final[metric].notna()]
