"""A comparison as text: for the terminal, as Markdown, as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """Prints the table and the sentence to the terminal."""
    from rich.console import Console
    from rich.table import Table

    text = presentable(comparison.table)
    table = Table()
    for name in text.columns:
        table.add_column(name, overflow="fold")
    for row in text.to_numpy().tolist():
        table.add_row(*row)
    console = Console()
    console.print(table)
    # Square brackets in names are text, not rich's markup; numbers need no colours.
    console.print(comparison.sentence, markup=False, highlight=False)


def _mean(mean: float, deviation: float) -> str:
    if mean != mean:
        return "no result"
    return f"{mean:.3f}" if deviation != deviation else f"{mean:.3f} ± {deviation:.3f}"
