"""The comparison that a command prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.evaluations import ROPE
from lossfleet.conf.metrics import known_metrics

Format = Literal["terminal", "md", "csv", "latex"]


def print_comparison(
    experiments: list[str] | None = None,
    format: Format = "terminal",
    uri: str | None = None,
    sweep: str | None = None,
    metrics: Sequence[str] | None = None,
    rope: float = ROPE,
) -> None:
    """Prints the comparison of the latest finished sweeps.

    Args:
        experiments: names; None for all that have a sweep.
        format: `terminal`, `md` and `latex` for reading, `csv` for all numbers of the table.
        uri: as for `frame.frame`.
        sweep: as for `frame.frame`.
        metrics, rope: as for `summary.summary`.

    Raises:
        UserError: as `frame` and `summary` do, and for an unknown format or metric.
    """
    from lossfleet.sweeps.comparison import tables
    from lossfleet.sweeps.comparison.frame import frame
    from lossfleet.sweeps.comparison.summary import summary

    if format not in get_args(Format):
        raise UserError(
            what=f"the format is {format}",
            expected=f"one of {', '.join(get_args(Format))}",
            hint="write for example md",
        )
    check_metric_names(metrics or ())
    comparison = summary(frame(experiments, uri=uri, sweep=sweep, curves=False), metrics=metrics, rope=rope)
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
    from lossfleet.runners.metrics.evaluation import final_metric_names

    known = final_metric_names(("CLASS",), users=list(known_metrics().values()))
    for index, name in enumerate(names):
        if re.sub(r"\[.*?\](?=\[|$)", "[CLASS]", name) not in known:
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
