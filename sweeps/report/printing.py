"""The comparisons that a command prints."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.evaluations import ROPE
from lossfleet.conf.metrics import is_known, known_metrics
from lossfleet.conf.published import Published

if TYPE_CHECKING:
    from lossfleet.sweeps.comparison.frame import Comparison

Format = Literal["terminal", "md", "csv", "latex"]


def print_comparison(
    experiments: list[str] | None = None,
    format: Format = "terminal",
    uri: str | None = None,
    sweep: str | Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    rope: float = ROPE,
) -> None:
    """Prints the comparison of the latest finished sweeps, and what unfinished ones have found so far.

    Args:
        experiments: names; None for all that have a sweep.
        format: `terminal`, `md` and `latex` for reading, `csv` for all numbers of the table.
        uri: as for `frame.frame`.
        sweep: as for `frame.frame`; an experiment without a finished sweep gives its latest one.
        metrics, rope: as for `summary.summary`.

    Raises:
        UserError: as `frame` and `summary` do, and for an unknown format or metric.
    """
    from lossfleet.sweeps.report import tables

    if format not in get_args(Format):
        raise UserError(
            what=f"the format is {format}",
            expected=f"one of {', '.join(get_args(Format))}",
            hint="write for example md",
        )
    check_metric_names(metrics or ())
    for number, comparison in enumerate(read_comparisons(experiments, uri, sweep, metrics, rope)):
        if number:
            print()
        if format == "terminal":
            tables.print_table(comparison)
        elif format == "md":
            print(f"{tables.markdown_table(comparison)}\n\n{tables.escape_markdown(comparison.sentence)}")
        elif format == "latex":
            print(tables.latex_table(comparison))
        else:
            print(tables.csv_table(comparison), end="")


def read_comparisons(
    experiments: list[str] | None,
    uri: str | None,
    sweep: str | Sequence[str] | None,
    metrics: Sequence[str] | None,
    rope: float,
) -> Iterator[Comparison]:
    """The comparison of all sweeps that are evaluated, then the best so far of each of the others.

    Args and Raises: as for `print_comparison`.
    """
    from lossfleet.runners.tracking.read import read_sweeps
    from lossfleet.sweeps.comparison.blocks import data_set_of
    from lossfleet.sweeps.comparison.frame import frame
    from lossfleet.sweeps.comparison.summary import summary
    from lossfleet.sweeps.comparison.unfinished import FINISHED, best_so_far, is_evaluated, mark_unfinished

    table = frame(experiments, uri=uri, sweep=sweep, curves=False, unfinished=True)
    tell_unknown_metrics(table["search_metric"])
    searching = []
    said = []
    evaluated = []
    for each in read_sweeps(experiments, uri=uri, sweep=sweep, unfinished=True):
        rows = (table["sweep"] == each["sweep"]) & (table["data"].map(data_set_of) == each["data"])
        if not is_evaluated(each, table[rows]):
            searching.append((each, table[rows]))
            table = table[~rows]
        else:
            evaluated.append(each)
            said += [mark_unfinished(each)] if each["status"] != FINISHED else []
        if each["newer"]:
            print(
                f"{each['data']} has a later sweep that is not finished: --sweeps {each['newer']} shows it so far",
                file=sys.stderr,
            )
    if len(table):
        comparison = summary(table, metrics=metrics, rope=rope, published=published_in(evaluated))
        yield replace(comparison, sentence="\n".join([*said, comparison.sentence]))
    for each, part in searching:
        yield best_so_far(each, part)


def published_in(sweeps: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Published]:
    """What sweeps are set beside, by data set and name.

    Args:
        sweeps: as `read.read_sweeps` gives them.
    """
    return {
        (each["data"], each["sweep"]): Published.of(each["published"]) for each in sweeps if each["published"]
    }


def tell_unknown_metrics(searched: Iterable[str]) -> None:
    """Says on standard error by which metrics was searched of which nothing tells whether more is better."""
    for metric in dict.fromkeys(searched):
        if not is_known(metric):
            print(
                f"a search was by {metric}, which is none of lossfleet's own: more of it is taken as better, unless "
                "--config-dir names the folder that has it",
                file=sys.stderr,
            )


def check_metric_names(names: Sequence[str]) -> None:
    """Refuses names that no sweep has, whatever its number of classes.

    Raises:
        UserError: for an unknown name or one that comes twice.
    """
    from lossfleet.runners.detection.measuring import object_metric_names
    from lossfleet.runners.metrics.decided import decided_names
    from lossfleet.runners.metrics.evaluation import final_metric_names

    users = list(known_metrics().values())
    of_objects = [
        f"{part}_{name}" for part in ("test", "validation") for name in object_metric_names(("CLASS",), users)
    ]
    of_rows = (*final_metric_names(("CLASS",), users), *decided_names(("CLASS",), users))
    known = (*of_rows, *of_objects, "best_epoch")
    for index, name in enumerate(names):
        if re.sub(r"\[.*?\](?=\[|$)", "[CLASS]", name) not in known:
            raise UserError(
                what=f"there is no metric {name!r}",
                expected="a metric of the final evaluations",
                hint=f"{suggest(name, known)} One of your own needs --config-dir FOLDER",
            )
        if name in names[:index]:
            raise UserError(
                what=f"the metric {name} is there twice",
                expected="each metric once",
                hint="take the repeated one out",
            )
