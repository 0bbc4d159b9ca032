"""A comparison as files: figures in a folder, and a report as one HTML file that can be mailed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.tracking.tags import minute
from lossfleet.sweeps.report.printing import published_in
from lossfleet.sweeps.report.tables import NOTE, Cell, grids, thinned

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.sweeps.comparison.frame import Comparison
    from lossfleet.sweeps.report.figures.marks import DrawnSheet
    from lossfleet.sweeps.report.figures.page import Table

SETTINGS = ("budget.", "search.", "pruner.", "data.", "model.", "batch_size", "clip_norm")
CHOSEN = "best hyperparameters"
PAIR_HEADER = ["ahead", "behind", "by", "95 % interval", "effect", "p", "p (Holm)", "P(equal)", "finding"]
METHOD = (
    "Split. Training, validation and test part are drawn by (seed, split), with equal shares of each class, unless the "
    "data decides them; what standardises the features is fitted on the training part alone.",
    "Search. Every strategy has the same budget of trials, replicates and epochs, the same splits, and the same "
    "initial weights for a seed. A trial's value is the mean of the validation metric over its replicates; "
    "trials that fall behind are pruned.",
    "Final evaluation. Each strategy's best trial is trained again on seeds and splits that the search never saw, "
    "the same for all strategies, and measured on the test part.",
    "References are not tuned and not ranked: they are fitted on the training parts of the final splits, and the best "
    "strategy is compared with each by the same test.",
    "Tests on one data set. Differences are paired by split. Training parts of different splits overlap, hence "
    "the corrected t-test (1) with Holm's correction (2) for the number of pairs.",
    "Findings. A pair is better everywhere, or at the argmax alone, by the same test after a correction for the prior "
    "and in average precision; practically equal where the Bayesian t-test of correlated differences (4) says so.",
    "Tests over several data sets. Friedman's test on ranks (3), then Wilcoxon's signed-rank test with Holm's "
    "correction for each pair (5); related data sets are averaged first.",
    "Importances of hyperparameters are PED-ANOVA's (6), within the trials that ran to their end.",
)
REFERENCES = (
    "(1) Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003.",
    "(2) Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.",
    "(3) Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7, 2006.",
    "(4) Benavoli, Corani, Demsar and Zaffalon, Time for a change: a tutorial for comparing multiple classifiers "
    "through Bayesian analysis, JMLR 18, 2017.",
    "(5) Benavoli, Corani and Mangili, Should we really use post-hoc tests based on mean-ranks?, JMLR 17, 2016.",
    "(6) Watanabe, Bansal and Hutter, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary "
    "subspaces, IJCAI 2023.",
)


def check_targets(figures: str | None, html: str | None) -> None:
    """Checks that the files can be written, before anything is read or drawn.

    Args:
        figures: a folder that exists or can be made.
        html: a file in a folder that exists.

    Raises:
        UserError: one of them cannot be written.
    """
    if figures is not None:
        folder = Path(figures)
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise _not_writable("--figures", figures, existing, "a folder", "--figures figures")
    if html is not None:
        file = Path(html)
        folder = file.absolute().parent
        if file.is_dir():
            raise _not_writable("--html", html, file, "a file", f"--html {file / 'report.html'}")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise _not_writable("--html", html, folder, "a file in a folder", "--html report.html")


def report_from_mlflow(
    experiments: list[str] | None,
    *,
    uri: str | None,
    sweep: Sequence[str] | None,
    metrics: Sequence[str] | None,
    rope: float,
    figures: str | None,
    html: str | None,
) -> None:
    """Writes the figures and the report of sweeps in MLflow, and says on stderr where they are.

    Args and Raises: as for `frame.frame`, `summary.summary` and `write_report`.
    """
    from lossfleet.runners.tracking.read import read_sweeps
    from lossfleet.sweeps.comparison.frame import frame
    from lossfleet.sweeps.comparison.summary import summary

    table = frame(experiments, uri=uri, sweep=sweep)
    sweeps = read_sweeps(experiments, uri=uri, sweep=sweep)
    comparison = summary(table, metrics=metrics, rope=rope, published=published_in(sweeps))
    sheets = [sheet for each in sweeps for sheet in _sheets(each, len(sweeps) > 1, uri)]
    for path in write_report(comparison, table, sweeps, figures=figures, html=html, sheets=sheets):
        print(path, file=sys.stderr)


def _sheets(sweep: Mapping[str, Any], is_named: bool, uri: str | None) -> Iterator[DrawnSheet]:
    """The sheets of images that a sweep has drawn, perhaps with its name; what cannot be reached is said."""
    from lossfleet.runners.tracking.read import read_pictures
    from lossfleet.sweeps.report.figures.sheets import read_sheet

    try:
        pictures = read_pictures(sweep["run"], uri=uri)
    except OSError as error:
        print(f"sheets of images of {sweep['sweep']} are left out ({error})", file=sys.stderr)
        return
    for name, png in pictures.items():
        sheet = read_sheet(name, png)
        if sheet is None:
            continue
        if is_named:
            sheet = replace(sheet, name=f"{name}-{sweep['sweep']}", title=f"{sheet.title}: {sweep['sweep']}")
        yield sheet


def write_report(
    comparison: Comparison,
    frame: pd.DataFrame,
    sweeps: Sequence[Mapping[str, Any]],
    *,
    figures: str | None,
    html: str | None,
    sheets: Sequence[DrawnSheet] = (),
) -> list[Path]:
    """Writes what is asked for.

    Args:
        comparison: of the frame.
        frame: as `frame.frame` gives it, with curves.
        sweeps: as `read.read_sweeps` gives them.
        figures: the folder for the figures; None for none.
        html: the file for the report; None for none.
        sheets: of images, that the sweeps have drawn.

    Returns:
        The paths of the files.
    """
    from lossfleet.sweeps.report.figures import draw_gallery, write_gallery
    from lossfleet.sweeps.report.figures.page import write_page

    gallery = draw_gallery(frame, comparison)
    gallery.sheets.extend(sheets)
    paths = write_gallery(gallery, Path(figures)) if figures is not None else []
    if html is not None:
        write_page(
            Path(html),
            title=f"Class imbalance strategies on {gallery.title}",
            gallery=gallery,
            sentence=comparison.sentence,
            tables=list(report_tables(comparison)),
            method=METHOD,
            references=REFERENCES,
            environments={f"Sweep {sweep['sweep']}": _environment(sweep) for sweep in sweeps},
        )
        paths.append(Path(html))
    return paths


def report_tables(comparison: Comparison) -> Iterator[Table]:
    """The tables that the terminal shows, then the hyperparameters and the pairs of each data set, then the ranks."""
    from lossfleet.sweeps.report.figures.page import Table

    data_sets = list(dict.fromkeys(comparison.table["data"]))
    for grid in grids(comparison):
        if CHOSEN not in grid.header:
            title = grid.title
            if not title or title == thinned(comparison.table):
                title = ", ".join(filter(None, [f"Strategies on {data_sets[0]}", title]))
            of_paper = grid.title in (each.source for each in comparison.published)
            over = "the splits that a setting is judged on" if of_paper else "the final splits"
            note = f"Mean ± standard deviation over {over}. {NOTE if grid.has_marks else ''}"
            yield Table(title, grid.header, grid.rows, note, grid.rule)
    for data in data_sets:
        part = comparison.table[comparison.table["data"] == data]
        rows = part[["strategy", "replicates", "hyperparameters"]].to_numpy().tolist()
        yield Table(f"Best hyperparameters on {data}", ["strategy", "splits", CHOSEN], _cells(rows))
        pairs = comparison.pairwise[comparison.pairwise["data"] == data]
        if len(pairs):
            note = "Interval and p of the corrected t-test. Effect: mean over standard deviation of the differences."
            rows = [_pair(row) for row in pairs.itertuples()]
            yield Table(f"Pairs of strategies on {data}", PAIR_HEADER, _cells(rows), note)
    if comparison.ranks is not None:
        ranks = comparison.ranks
        note = f"Friedman's p = {ranks.p:.4f} ({ranks.method}); critical difference {ranks.critical_difference:.2f}."
        rows = [[name, f"{rank:.2f}"] for name, rank in ranks.average.items()]
        yield Table(
            f"Average ranks over {ranks.datasets} data sets", ["strategy", "rank"], _cells(rows), note
        )


def _pair(row: Any) -> list[str]:
    numbers = [f"{row.difference:.3f}", f"{row.low:.3f} to {row.high:.3f}", f"{row.effect:.2f}"]
    numbers += [f"{row.p:.4f}", f"{row.p_holm:.4f}", f"{row.p_equal:.2f}"]
    # NaN: there are too few splits, or the differences do not vary.
    numbers = ["" if "nan" in number else number for number in numbers]
    return [row.first, row.second, *numbers, row.kind]


def _cells(rows: list[list[Any]]) -> list[list[Cell]]:
    return [[Cell(str(value)) for value in row] for row in rows]


def _environment(sweep: Mapping[str, Any]) -> dict[str, str]:
    settings = {name: value for name, value in sweep["params"].items() if name.startswith(SETTINGS)}
    continued = {f"continued {number}": changes for number, changes in sweep["continued"].items()}
    mistakes = {"mistakes": sweep["mistakes"]} if sweep["mistakes"] else {}
    return {
        "data": sweep["data"],
        "started": minute(sweep["started"]),
        **continued,
        **mistakes,
        **sweep["environment"],
        **settings,
    }


def _not_writable(option: str, given: str, path: Path, expected: str, example: str) -> UserError:
    if not path.exists():
        reason = "does not exist"
    elif not path.is_dir():
        reason = "is no folder"
    else:
        reason = "is a folder" if expected == "a file" else "cannot be written to"
        if expected != "a file":
            example = f"{option} {Path(tempfile.gettempdir()) / Path(given).name}"
    return UserError(
        what=f"{option} is {given}, and {path} {reason}",
        expected=f"{expected} that can be written",
        hint=f"write for example {example}",
    )
