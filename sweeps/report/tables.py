"""A comparison as text: for the terminal, as Markdown, LaTeX and CSV.

Names of strategies, data sets and hyperparameters are data: each format shows them as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lossfleet.conf.metrics import sign_of
from lossfleet.runners.detection.timing import FRAMES, MILLISECONDS
from lossfleet.sweeps.comparison.blocks import block_of, data_set_of
from lossfleet.sweeps.comparison.front import front_metrics
from lossfleet.sweeps.comparison.statistics import ALPHA

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.sweeps.comparison.frame import Comparison, Reproduction

MARK = "*"
NOTE = f"{MARK} the best is better: corrected t-test, Holm's correction, p < {ALPHA:g}"
REFERENCES = "references, not tuned"
INTERVAL = "difference to the best, 95 %"
# What a page or a terminal of 80 columns has room for.
DATA_SETS_A_TABLE = 4
LONGEST_NUMBER = len("-0.21 to -0.04")
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    # What follows the end of a row would be its option.
    "[": "{[}",
    "*": "{*}",
}


@dataclass(frozen=True)
class Cell:
    """A place of a table: its text, whether it is the best of its column, whether the best is better."""

    text: str
    best: bool = False
    beaten: bool = False


@dataclass(frozen=True)
class Grid:
    """A table to read; the first column names the rows. Below a rule are the rows of the references, if any.

    So many of the last columns as `optional` says may be left out where there is no room.
    """

    title: str
    header: list[str]
    rows: list[list[Cell]]
    below: int = 0
    optional: int = 0

    @property
    def rule(self) -> int | None:
        """The row that the rule is above."""
        return len(self.rows) - self.below if self.below else None

    @property
    def width(self) -> int:
        """Characters in a line where nothing is broken."""
        return sum(max(len(name), self.longest(index)) + 1 for index, name in enumerate(self.header))

    @property
    def least_width(self) -> int:
        """Characters in a line where headers and long texts are broken, and names are not."""
        return sum(self.least(index) + 1 for index in range(len(self.header))) - 1

    def least(self, index: int) -> int:
        """Characters of a column where rather its header is broken; of the first one where no name is."""
        if index == 0:
            # What heads a block has its line to itself, and may be broken.
            names = (row[0].text for row in self.rows if any(cell.text for cell in row[1:]))
            return max(map(len, (self.header[0], *names)))
        words = [min(len(word), LONGEST_NUMBER) for word in self.header[index].split()]
        return max(min(self.longest(index), LONGEST_NUMBER), *words, 0)

    def longest(self, index: int) -> int:
        """Characters of a column's longest cell."""
        return max(len(row[index].text) + row[index].beaten for row in self.rows)

    def without_deviations(self, index: int) -> Grid:
        """The table with the means alone in a column."""
        rows = [
            [
                replace(cell, text=cell.text.partition(" ±")[0]) if place == index else cell
                for place, cell in each
            ]
            for each in map(enumerate, self.rows)
        ]
        return replace(self, rows=rows)

    def without_last_column(self) -> Grid:
        """The table without its last column."""
        rows = [row[:-1] for row in self.rows]
        return replace(self, header=self.header[:-1], rows=rows, optional=self.optional - 1)

    @property
    def has_marks(self) -> bool:
        """Whether a cell needs the note that explains the mark."""
        return any(cell.beaten for row in self.rows for cell in row)


def grids(comparison: Comparison) -> list[Grid]:
    """The tables of a comparison.

    One data set: strategies by metrics, with the interval of the difference to the best, and the chosen
    hyperparameters; several sweeps on it are blocks of the same table. Several: strategies by data sets for each
    metric, with average ranks below the first. Then the Pareto front of each data set where several metrics were
    optimised, and what papers published beside what was measured.
    """
    table = comparison.table
    data_sets = list(dict.fromkeys(table["data"]))
    if len({data_set_of(data) for data in data_sets}) == 1:
        shown = [_in_blocks(_scores, comparison), _in_blocks(_chosen, comparison), *_fronts(comparison)]
        return [*shown, *map(beside_paper, comparison.published)]
    blocks = [
        data_sets[start : start + DATA_SETS_A_TABLE] for start in range(0, len(data_sets), DATA_SETS_A_TABLE)
    ]
    by_data_set = [
        _by_data_set(comparison, metric, block) for metric in comparison.metrics for block in blocks
    ]
    return [*by_data_set, *_fronts(comparison), *map(beside_paper, comparison.published)]


def beside_paper(reproduction: Reproduction) -> Grid:
    """What a paper published beside what was measured."""
    rows = [[Cell(text) for text in row] for row in reproduction.rows]
    return Grid(reproduction.source, reproduction.header, rows)


def markdown_table(comparison: Comparison) -> str:
    """The tables in Markdown, without a newline at the end."""
    return markdown_of(grids(comparison))


def markdown_of(tables: Iterable[Grid]) -> str:
    """Tables in Markdown, without a newline at the end."""
    parts = []
    for grid in tables:
        lines = [[escape_markdown(name) for name in grid.header], ["---"] * len(grid.header)]
        lines += [[_marked(cell, escape_markdown, "**{}**") for cell in row] for row in grid.rows]
        if grid.rule is not None:
            # Markdown has no rules within a table.
            lines.insert(2 + grid.rule, [f"*{REFERENCES}*", *[""] * (len(grid.header) - 1)])
        title = [f"{escape_markdown(grid.title)}:", ""] if grid.title else []
        parts.append("\n".join(title + ["| " + " | ".join(line) + " |" for line in lines]))
        if grid.has_marks:
            parts.append(f"\\{NOTE}")
    return "\n\n".join(parts)


def latex_table(comparison: Comparison) -> str:
    """The tables in LaTeX with the rules of booktabs, and the sentence as their caption."""
    lines = ["% in the preamble: \\usepackage{booktabs}", "\\begin{table}", "\\centering"]
    lines.append(f"\\caption{{{escape_latex(comparison.sentence)}}}")
    for grid in grids(comparison):
        if grid.title:
            lines.append(f"{escape_latex(grid.title)}\\\\")
        lines += [f"\\begin{{tabular}}{{{'l' * len(grid.header)}}}", "\\toprule"]
        lines += [_latex_row(escape_latex(name) for name in grid.header), "\\midrule"]
        rows = [
            _latex_row(_marked(cell, escape_latex, r"\textbf{{{}}}") for cell in row) for row in grid.rows
        ]
        if grid.rule is not None:
            rows.insert(grid.rule, "\\midrule")
        lines += rows
        lines += ["\\bottomrule", "\\end{tabular}\\par"]
        if grid.has_marks:
            lines.append(f"{{\\footnotesize {escape_latex(NOTE)}}}\\par")
    return "\n".join([*lines, "\\end{table}"])


def csv_table(comparison: Comparison) -> str:
    """All plain numbers of the comparison's table as comma-separated values; `reference` says what is one."""
    import pandas as pd

    table = comparison.table
    if comparison.references is not None:
        strategies, references = table.assign(reference=False), comparison.references.assign(reference=True)
        table = pd.concat([strategies, references.drop(columns=["p", "p_holm", "ahead"])])
    return table.to_csv(index=False)


def print_table(comparison: Comparison) -> None:
    """Prints the tables and the sentence; the defaults fit into 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    # Rich's own has no line between rows.
    lines = box.Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")
    style: dict[str, Any] = {"box": lines, "show_edge": False, "padding": 0}
    for whole in grids(comparison):
        grid, lost = fitted(whole, console.width)
        # As Text, since square brackets in a string are rich's markup.
        title = Text(grid.title) if grid.title else None
        table = Table(title=title, title_justify="left", **style)
        for index, name in enumerate(grid.header):
            # A name that is longer than a line is broken rather than cut off.
            table.add_column(Text(name), width=_width(grid, index, console.width), overflow="fold")
        for number, row in enumerate(grid.rows):
            if number == grid.rule:
                table.add_section()
            table.add_row(*[_terminal_cell(cell) for cell in row])
        console.print(table)
        if grid.has_marks:
            console.print(Text(NOTE, style="dim"))
        if lost:
            console.print(Text(lost, style="dim"))
        console.print()
    console.print(Text(comparison.sentence))


def fitted(grid: Grid, width: int) -> tuple[Grid, str]:
    """A table within a width with its names whole, and what it lost for that, in a line.

    Columns behind the second lose their deviations, the last ones first; then optional ones are left out.
    """
    bare: list[str] = []
    left_out: list[str] = []
    for index in range(len(grid.header) - 1, 1, -1):
        shorter = grid.without_deviations(index)
        if grid.least_width > width and shorter != grid:
            grid = shorter
            bare.insert(0, grid.header[index])
    while grid.least_width > width and grid.optional:
        left_out.insert(0, grid.header[-1])
        grid = grid.without_last_column()
    lost = [f"the deviations of {name}" for name in bare if name not in left_out] + left_out
    return grid, f"without room in {width} columns: {', '.join(lost)}" if lost else ""


def escape_markdown(text: str) -> str:
    """Text that Markdown and its HTML show as it is, in a cell of a table too."""
    text = "".join(f"\\{character}" if character in "\\`*_[]|#~$" else character for character in text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    text = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return re.sub(r"(?<!\S)-(?=\d)", "$-$", text)


def _in_blocks(draw: Callable[[pd.DataFrame, Comparison], Grid], comparison: Comparison) -> Grid:
    """One table for the sweeps on one data set: where there are several, each has its rows below a heading."""
    parts = [
        (block_of(data), draw(part, comparison))
        for data, part in comparison.table.groupby("data", sort=False)
    ]
    if len(parts) == 1:
        return parts[0][1]
    rows = []
    for block, grid in parts:
        above = len(grid.rows) - grid.below
        for heading, own in ((block, grid.rows[:above]), (REFERENCES, grid.rows[above:])):
            if own:
                rows += [[Cell(heading), *[Cell("")] * (len(grid.header) - 1)], *own]
    return replace(parts[0][1], title=thinned(comparison.table) and parts[0][1].title, rows=rows, below=0)


def _scores(table: pd.DataFrame, comparison: Comparison) -> Grid:
    header = ["strategy", *(metric.replace("_", " ") for metric in comparison.metrics)]
    has_interval = bool(comparison.table["difference_low"].notna().any())
    if has_interval:
        header.insert(2, INTERVAL)
    rows, below = _score_rows(table, comparison.metrics, has_interval), []
    if comparison.references is not None:
        own = comparison.references[comparison.references["data"].isin(table["data"])]
        below = _score_rows(own, comparison.metrics, has_interval)
    # What is bold is the best strategy.
    below = [[replace(cell, best=False) for cell in row] for row in below]
    return Grid(thinned(table), header, rows + below, len(below), optional=len(comparison.metrics) - 1)


def thinned(table: pd.DataFrame) -> str:
    """The ratio that all training parts were thinned to; nothing where they differ, as headings then say."""
    ratios = {ratio for ratio in table.get("long_tail", ()) if ratio == ratio}
    if len(ratios) != 1 or table["long_tail"].isna().any():
        return ""
    return f"training parts thinned to {ratios.pop():g} : 1"


def _score_rows(table: pd.DataFrame, metrics: Sequence[str], has_interval: bool) -> list[list[Cell]]:
    columns = [[Cell(str(strategy)) for strategy in table["strategy"]]]
    columns += [_metric_cells(table, metric, marks=metric == metrics[0]) for metric in metrics]
    if has_interval:
        ends = zip(table["difference_low"], table["difference_high"], strict=True)
        columns.insert(2, [Cell(_interval(*each)) for each in ends])
    return [list(row) for row in zip(*columns, strict=True)]


def _chosen(table: pd.DataFrame, _: Comparison) -> Grid:
    columns = {"strategy": "strategy", "replicates": "splits", "hyperparameters": "best hyperparameters"}
    texts = table.astype({"replicates": str})
    if MILLISECONDS in table:
        columns |= {MILLISECONDS: "ms an image", FRAMES: "frames a second"}
        texts[MILLISECONDS] = [_number(each, "{:.2f}") for each in table[MILLISECONDS]]
        texts[FRAMES] = [_number(each, "{:,.0f}") for each in table[FRAMES]]
    rows = [[Cell(str(value)) for value in row] for row in texts[list(columns)].to_numpy().tolist()]
    return Grid("", list(columns.values()), rows)


def _number(value: float, form: str) -> str:
    return form.format(value) if value == value else ""


def _by_data_set(comparison: Comparison, metric: str, data_sets: Sequence[str]) -> Grid:
    is_compared = metric == comparison.metrics[0]
    strategies = list(dict.fromkeys(comparison.table["strategy"]))
    if comparison.average_ranks is not None:
        order = comparison.average_ranks.sort_values(kind="stable").index
        strategies = [*order, *(name for name in strategies if name not in order)]
    rows = {strategy: [Cell(str(strategy))] for strategy in strategies}
    for data in data_sets:
        part = comparison.table[comparison.table["data"] == data]
        cells = dict(zip(part["strategy"], _metric_cells(part, metric, marks=is_compared), strict=True))
        for strategy in strategies:
            rows[strategy].append(cells.get(strategy, Cell("")))
    header = ["strategy", *data_sets]
    if is_compared and comparison.average_ranks is not None:
        header.append("average rank")
        for strategy in strategies:
            value = comparison.average_ranks.get(strategy)
            rows[strategy].append(Cell("" if value is None else f"{value:.2f}"))
    below = _references_by_data_set(comparison.references, metric, data_sets, marks=is_compared)
    # They have no rank.
    below = [[*row, *[Cell("")] * (len(header) - len(row))] for row in below]
    title = ", ".join(filter(None, [metric.replace("_", " "), thinned(comparison.table)]))
    return Grid(title, header, list(rows.values()) + below, len(below))


def _references_by_data_set(
    references: pd.DataFrame | None, metric: str, data_sets: Sequence[str], *, marks: bool
) -> list[list[Cell]]:
    if references is None:
        return []
    rows = {name: [Cell(str(name))] for name in dict.fromkeys(references["strategy"])}
    for data in data_sets:
        part = references[references["data"] == data]
        cells = dict(zip(part["strategy"], _metric_cells(part, metric, marks=marks), strict=True))
        for name, row in rows.items():
            row.append(replace(cells[name], best=False) if name in cells else Cell(""))
    return list(rows.values())


def _fronts(comparison: Comparison) -> list[Grid]:
    """The members of each data set's front, the best in the first metric first."""
    found = []
    fronts = comparison.front.groupby("data") if comparison.front is not None else ()
    for data, part in fronts:
        part = part.dropna(axis=1, how="all")
        metrics = front_metrics(part)
        members = part[part["pareto_overall"]].sort_values(
            metrics[0], ascending=sign_of(metrics[0]) < 0, kind="stable"
        )
        rows = [
            [row["strategy"], row["trial"], *(f"{row[name]:.3f}" for name in metrics), row["hyperparameters"]]
            for _, row in members.iterrows()
        ]
        header = ["strategy", "trial", *(name.replace("_", " ") for name in metrics), "hyperparameters"]
        found.append(
            Grid(f"Pareto front on {data}", header, [[Cell(str(value)) for value in row] for row in rows])
        )
    return found


def _metric_cells(table: pd.DataFrame, metric: str, *, marks: bool) -> list[Cell]:
    """`mean ± standard deviation` of one data set's strategies."""
    means = table[metric]
    best = means.min() if sign_of(metric) < 0 else means.max()
    return [
        Cell(_mean(mean, deviation), best=mean == best, beaten=marks and beaten)
        for mean, deviation, beaten in zip(means, table[f"{metric}_std"], table["beaten"], strict=True)
    ]


def _mean(mean: float, deviation: float) -> str:
    if mean != mean:
        return "no result"
    return f"{mean:.3f}" if deviation != deviation else f"{mean:.3f} ±{deviation:.3f}"


def _interval(low: float, high: float) -> str:
    return "" if low != low else f"{low:.2f} to {high:.2f}"


def _marked(cell: Cell, escape: Callable[[str], str], bold: str) -> str:
    text = escape(cell.text)
    text = bold.format(text) if cell.best else text
    return f"{text}{escape(MARK)}" if cell.beaten else text


def _terminal_cell(cell: Cell) -> Any:
    from rich.text import Text

    return Text(_marked(cell, str, "{}"), style="bold" if cell.best else "")


def _width(grid: Grid, index: int, width: int) -> int | None:
    """The width of a column where the table is narrow; None where it is wide, and for texts that have to be broken."""
    if grid.width <= width or (index == 0 and grid.least_width > width):
        return None
    return grid.least(index) if index == 0 or grid.longest(index) <= LONGEST_NUMBER else None


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
