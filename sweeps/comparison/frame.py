"""The replicates of sweeps as one tidy table, and what is read off it; what a comparison consists of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.metrics.decided import AT_ARGMAX, DECIDED, FITTED
from lossfleet.runners.records import Record
from lossfleet.runners.tracking.replicates import replicate_rows
from lossfleet.runners.tracking.tags import SPEED_TAGS
from lossfleet.sweeps.comparison.blocks import block_names
from lossfleet.sweeps.comparison.ranks import Ranks

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
# Likewise of objects that are found.
SHOWN_OF_OBJECTS = ("test_ap", "test_ap50", "test_ap75")
ORDER = ("data", "sweep", "strategy", "stage", "trial", "replicate")
FIELDS = (
    *ORDER, "seed", "split", "state", "epochs", "engine", "started", "ended", "search_metric", "class_names",
    "objectives", "feasible", "long_tail", "nested", "outer_part", "outer_parts", *SPEED_TAGS,
)  # fmt: skip


@dataclass(frozen=True)
class Reproduction:
    """A sweep beside what a paper published of the same experiment.

    `source` names the paper's table, `rows` are texts below `header`. `sentences` has one a claim, and how they were
    tested.
    """

    source: str
    header: list[str]
    rows: list[list[str]]
    sentences: list[str]


@dataclass(frozen=True)
class Comparison:
    """What a sweep, or several on different data sets, has found.

    `sentence` has a line a data set, and one over all. `metrics` are those of the table, the first one is
    compared. `table` has a row a strategy (and data set), `pairwise` a row a pair of strategies.
    `references` has what `references.beside` gives, of all data sets; they have no rank.
    `average_ranks` is there for several data sets, `ranks` with the tests for three strategies or more, `front`
    has what `front.trade_offs` gives. `published` has what papers published of the sweeps' experiments beside them.
    """

    metrics: tuple[str, ...]
    table: pd.DataFrame
    sentence: str
    pairwise: pd.DataFrame
    average_ranks: pd.Series | None = None
    ranks: Ranks | None = None
    front: pd.DataFrame | None = None
    references: pd.DataFrame | None = None
    published: tuple[Reproduction, ...] = ()

    @property
    def best(self) -> str:
        """The strategy ahead on one data set."""
        return str(self.table["strategy"].iloc[0])

    @property
    def winner(self) -> str:
        """The strategy ahead on one data set, and from which others it cannot be told apart; empty without rivals."""
        best, *others = self.table.itertuples()
        if not others or not best.replicates:
            return ""
        ties = [other.strategy for other in others if other.replicates and not other.beaten]
        return f"{best.strategy} (not distinguishable from {', '.join(ties)})" if ties else best.strategy

    def scores(self) -> dict[str, float]:
        """The winner's mean of each metric, and as `<metric>.<name>` the first of every strategy and reference."""
        means = {name: self.table[name].iloc[0] for name in self.metrics}
        first = self.metrics[0]
        for table in (self.table, self.references):
            if table is not None:
                means |= {f"{first}.{row['strategy']}": row[first] for _, row in table.iterrows()}
        return {name: float(mean) for name, mean in means.items() if math.isfinite(mean)}


def frame(
    experiments: list[str] | None = None,
    *,
    uri: str | None = None,
    sweep: str | Sequence[str] | None = None,
    curves: bool = True,
    unfinished: bool = False,
) -> pd.DataFrame:
    """The replicates of sweeps, from MLflow.

    Args:
        experiments: names; None for all that have a sweep.
        uri: the tracking URI; None for MLFLOW_TRACKING_URI, else mlflow.db in the working directory.
        sweep: the name of a sweep, or of several; None for the latest finished one of each experiment.
        curves: whether to read the curves too.
        unfinished: whether an experiment without a finished sweep gives its latest one.

    Returns:
        A row a replicate: data (with what sets a sweep apart where several are on one data set), sweep, strategy,
        stage, trial, replicate, seed, split, state, epochs, engine (who trained it: native, graph, cell for one of a
        cell of yours, stock for a detector without the core; empty of references and in sweeps of earlier versions),
        started, ended (unix seconds), search_metric (the validation metric that the search optimised, of several the
        first one), class_names (a tuple), objectives
        (of several metrics, with commas), feasible, long_tail (the ratio that the training part was thinned to, NaN
        where it was not), nested (what the sweeps of all outer parts of a nested evaluation are called together, else
        empty), outer_part (from 1, else 0), outer_parts (how many there are to be), milliseconds_per_image and
        frames_per_second (of the first final replicate of a detector, else NaN), a column `params.<name>` a sampled
        hyperparameter, a column a metric with its last value, and a column `curves.<name>` a curve: a tuple of (step,
        value), where the step is the epoch, but for `lossfleet.runners.metrics.evaluation.DIAGRAMS`; a replicate
        without that curve has an empty one.

    Raises:
        UserError: no store, no such experiment, no such sweep.
    """
    from lossfleet.runners.tracking.read import read_replicates

    return _tidy(read_replicates(experiments, uri=uri, sweep=sweep, curves=curves, unfinished=unfinished))


def frame_from_records(*sweeps: Iterable[Record]) -> pd.DataFrame:
    """The replicates of a sweep, or of several, from their journals; the same table as `frame` gives."""
    return _tidy([row for records in sweeps for row in replicate_rows(records)])


def _tidy(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    params = sorted({name for row in rows for name in row["params"]})
    metrics = sorted({name for row in rows for name in row["metrics"]})
    curves = sorted({name for row in rows for name in row["curves"]})
    blocks = block_names(rows)
    flat = [
        {name: row[name] for name in FIELDS if name in row}
        | {"data": blocks[row["data"], row["nested"] or row["sweep"]]}
        | {"long_tail": float(row["settings"].get("data.long_tail", "nan"))}
        | {f"params.{name}": value for name, value in row["params"].items()}
        | row["metrics"]
        | {f"curves.{name}": row["curves"].get(name, ()) for name in curves}
        for row in rows
    ]
    columns = [f"params.{name}" for name in params] + metrics + [f"curves.{name}" for name in curves]
    table = pd.DataFrame(flat, columns=[*FIELDS, *columns])
    return table.sort_values(list(ORDER), ignore_index=True)


def scored(final: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """The final replicates that have a score: those that ended well, and diverged ones that count as chance.

    Args:
        final: final replicates.
        metric: the score; None for what strategies are compared by.
    """
    metric = metric or (PRIMARY if PRIMARY in final else SHOWN_OF_OBJECTS[0])
    measured = final["state"].eq("COMPLETE") | is_diverged(final)
    return final[measured & final[metric].notna()]


def decided_columns(final: pd.DataFrame) -> list[str]:
    """What decisions were fitted to on validation parts, on the test parts: at the argmax, if there, then decided."""
    fitted = [
        name.removeprefix(FITTED) for name in final if name.startswith(FITTED) and final[name].notna().any()
    ]
    columns = [f"{prefix}{name}" for name in fitted for prefix in (AT_ARGMAX, DECIDED)]
    return [name for name in columns if name in final]


def is_diverged(final: pd.DataFrame) -> pd.Series:
    """Which final replicates failed and were measured all the same, as chance."""
    return final["state"].eq("FAIL") & final["test_rows"].notna()


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


def spread(replicates: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float]:
    """The mean of each metric, `<metric>_std` and `<metric>_median`."""
    found: dict[str, float] = {}
    for metric in metrics:
        values = replicates[metric]
        found |= {metric: values.mean(), f"{metric}_std": values.std(), f"{metric}_median": values.median()}
    return found


def hyperparameters(replicate: pd.Series) -> str:
    """The sampled hyperparameters of a row, as `name=value` with spaces between them."""
    sampled = replicate.filter(like="params.").dropna()
    return " ".join(
        f"{name.removeprefix('params.')}={f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in sampled.items()
    )
