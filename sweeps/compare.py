"""Comparing strategies: one tidy table of replicates, its summary, and a sentence that sums it up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from conf.errors import UserError
from runners.records import Record
from runners.tracking_runs import replicate_rows
from sweeps.statistics import Ranks, average_families, compare_pairs, rank
from sweeps.verdict import sentence_about, sentence_over

if TYPE_CHECKING:
    import pandas as pd

PRIMARY = "test_balanced_accuracy"
SHOWN = (
    "validation_balanced_accuracy",
    PRIMARY,
    "test_macro_f1",
    "test_macro_average_precision",
    "test_rarest_recall",
)
# Two tasks made of the same measurements count as one where data sets are the evidence.
FAMILIES = {"page_blocks_binary": "page_blocks"}
ORDER = ("data", "sweep", "strategy", "stage", "trial", "replicate")
FIELDS = (*ORDER, "seed", "split", "state", "epochs", "started", "ended", "class_names")

Format = Literal["terminal", "md", "csv"]


@dataclass(frozen=True)
class Comparison:
    """What a sweep, or several on different data sets, has found.

    `table` has a row a strategy (and data set), `pairwise` a row a pair of strategies, `ranks` is there for
    several data sets and three strategies or more.
    """

    table: pd.DataFrame
    sentence: str
    pairwise: pd.DataFrame
    ranks: Ranks | None = None


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
        started, ended (unix seconds), class_names (a tuple), a column `params.<name>` a sampled
        hyperparameter, a column a metric with its last value, and a column `curves.<name>` a curve: a tuple
        of (step, value), where the step is the epoch, but for `runners.evaluation.DIAGRAMS`; a replicate
        without that curve has an empty one.

    Raises:
        UserError: no store, no such experiment, no such sweep.
    """
    from runners.tracking import read_replicates

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


def summary(frame: pd.DataFrame, families: Mapping[str, str] = FAMILIES) -> Comparison:
    """Compares strategies by the balanced accuracy of their final evaluations.

    Args:
        frame: as `frame` or `frame_from_records` give it.
        families: data set to family; related data sets are averaged before they are ranked.

    Returns:
        The table is ordered by data set and mean test balanced accuracy; each metric has a mean and a
        standard deviation (`<metric>_std`) over the final replicates.

    Raises:
        UserError: no final evaluation, or two sweeps on one data set.
    """
    import pandas as pd

    final = _latest_finals(frame)
    tables, pairs, sentences, means = [], [], [], {}
    for data, part in final.groupby("data"):
        if part["sweep"].nunique() > 1:
            raise UserError(
                what=f"the sweeps {', '.join(sorted(part['sweep'].unique()))} are on the same data {data}",
                expected="one sweep a data set",
                mend="compare them one by one, naming the experiment and the sweep",
            )
        table = _table(part)
        scores, left_out = _paired_scores(part)
        pairwise = compare_pairs(
            scores, train_rows=part["train_rows"].mean(), test_rows=part["test_rows"].mean()
        )
        tables.append(table)
        pairs.append(pairwise.assign(data=data))
        sentences.append(sentence_about(str(data), table, PRIMARY, pairwise, left_out))
        means[data] = table.set_index("strategy")[PRIMARY]
    ranks = None
    if len(means) > 1:
        # A strategy that is missing on one data set cannot be ranked.
        scores = pd.DataFrame(means).T.dropna(axis=1)
        scores = average_families(scores, families)
        ranks = rank(scores)
        sentences.append(sentence_over(scores, ranks))
    return Comparison(
        table=pd.concat(tables, ignore_index=True),
        sentence=" ".join(sentences),
        pairwise=pd.concat(pairs, ignore_index=True),
        ranks=ranks,
    )


def print_comparison(
    experiments: list[str] | None = None,
    format: Format = "terminal",
    uri: str | None = None,
    sweep: str | None = None,
) -> None:
    """Prints the comparison of the latest finished sweeps.

    Args:
        experiments: names; None for all that have a sweep.
        format: `terminal` and `md` for reading, `csv` for the plain numbers of the table.
        uri: as for `frame`.
        sweep: as for `frame`.

    Raises:
        UserError: as `frame` and `summary` do, and for an unknown format.
    """
    from sweeps import tables

    if format not in ("terminal", "md", "csv"):
        raise UserError(
            what=f"the format is {format}", expected="terminal, md or csv", mend="write for example md"
        )
    comparison = summary(frame(experiments, uri=uri, sweep=sweep, curves=False))
    if format == "terminal":
        tables.print_table(comparison)
    elif format == "md":
        print(f"{tables.markdown_table(comparison)}\n\n{comparison.sentence}")
    else:
        print(tables.csv_table(comparison), end="")


def _latest_finals(frame: pd.DataFrame) -> pd.DataFrame:
    final = frame[frame["stage"] == "final"]
    if final.empty:
        raise UserError(
            what="there is no final evaluation",
            expected="a sweep whose studies have all ended",
            mend="run the sweep again to finish it",
        )
    # A sweep continued with more trials evaluates again what it then finds best.
    ended = final.groupby(["sweep", "strategy", "trial"])["ended"].transform("max")
    latest = ended.groupby([final["sweep"], final["strategy"]]).transform("max")
    return final[ended == latest]


def _table(final: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for strategy, part in final.groupby("strategy"):
        complete = _scored(part)
        row = {
            "data": part["data"].iloc[0],
            "strategy": strategy,
            "hyperparameters": _hyperparameters(part.iloc[0]),
            "replicates": len(complete),
        }
        for metric in SHOWN:
            row |= {metric: complete[metric].mean(), f"{metric}_std": complete[metric].std()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(PRIMARY, ascending=False, kind="stable", ignore_index=True)


def _hyperparameters(replicate: pd.Series) -> str:
    sampled = replicate.filter(like="params.").dropna()
    return " ".join(
        f"{name.removeprefix('params.')}={f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in sampled.items()
    )


def _paired_scores(final: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Scores by split and strategy, and how many splits lack a strategy's score and are left out.

    A strategy without any score is no column: it must not take the splits from the others.
    """
    scores = _scored(final).pivot(index=["seed", "split"], columns="strategy", values=PRIMARY)
    paired = scores.dropna()
    return paired, len(final[["seed", "split"]].drop_duplicates()) - len(paired)


def _scored(final: pd.DataFrame) -> pd.DataFrame:
    return final[(final["state"] == "COMPLETE") & final[PRIMARY].notna()]
