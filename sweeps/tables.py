"""A comparison as text: for the terminal, as Markdown, as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.compare import Comparison


def presentable(table: pd.DataFrame) -> pd.DataFrame:
    """Words and rounded numbers for reading: `mean ± standard deviation` in one column a metric.

    Args:
        table: of a `Comparison`.

    Returns:
        The same rows, all cells strings; the data set's column only where there are several.
    """
    import pandas as pd

    columns = {}
    for name in table.columns:
        if name.endswith("_std") or (name == "data" and table["data"].nunique() == 1):
            continue
        cells = list(table[name])
        if f"{name}_std" in table:
            cells = [_mean(*pair) for pair in zip(cells, table[f"{name}_std"], strict=True)]
        columns[name.replace("_", " ")] = [str(cell) for cell in cells]
    return pd.DataFrame(columns)


def markdown_table(comparison: Comparison) -> str:
    """The table in Markdown, without a newline at the end."""
    table = presentable(comparison.table)
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def csv_table(comparison: Comparison) -> str:
    """The table's plain numbers as comma-separated values."""
    return comparison.table.to_csv(index=False)


def print_table(comparison: Comparison) -> None:
    """Prints a table a data set, the hyperparameters and the sentence; it fits into 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    style: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "padding": 0}
    several = comparison.table["data"].nunique() > 1
    for data, part in comparison.table.groupby("data"):
        text = presentable(part)
        metrics = text.drop(columns=["strategy", "hyperparameters", "replicates"])
        scores = Table(title=str(data) if several else None, **style)
        scores.add_column("strategy", no_wrap=True)
        for name in metrics.columns:
            scores.add_column(name)
        chosen = Table("strategy", "best hyperparameters", **style)
        for strategy, hyperparameters, cells in zip(
            text["strategy"], text["hyperparameters"], metrics.to_numpy().tolist(), strict=True
        ):
            scores.add_row(strategy, *[cell.replace("± ", "±") for cell in cells])
            # As Text, since square brackets in a string are rich's markup.
            chosen.add_row(strategy, Text(hyperparameters))
        console.print(scores, "", chosen, "", sep="\n")
    console.print(Text(comparison.sentence))


def _mean(mean: float, deviation: float) -> str:
    if mean != mean:
        return "no result"
    return f"{mean:.3f}" if deviation != deviation else f"{mean:.3f} ± {deviation:.3f}"
