"""The end of a sweep: the table, the sentence, what failed, and the figures."""

from __future__ import annotations

import hashlib
import importlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import Failure, UserError
from lossfleet.conf.evaluations import Evaluation
from lossfleet.conf.published import Published
from lossfleet.runners.detection.timing import MILLISECONDS
from lossfleet.runners.records import (
    CONFUSION,
    FIGURES,
    JOURNAL_FILE,
    PUBLISHED,
    ContinuationRecord,
    EndRecord,
    Journal,
    Record,
    ReplicateRecord,
    SweepRecord,
    TrialRecord,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lossfleet.runners.training.replicate import ReplicateFactory
    from lossfleet.sweeps.comparison.frame import Comparison
    from lossfleet.sweeps.report.figures.anchor_losses import LossMaps
    from lossfleet.sweeps.report.figures.sheets import Sheet
    from lossfleet.sweeps.report.importance import ColumnImportance


def conclude(
    records: list[Record],
    folder: Path,
    factory: ReplicateFactory,
    *,
    compared: Callable[[Comparison], None] | None = None,
    kept: Callable[[], None] | None = None,
) -> EndRecord:
    """Compare the final evaluations, print the table, the sentence and what failed, and draw the figures.

    Args:
        records: of the sweep.
        folder: of the sweep.
        factory: of the sweep.
        compared: is told of the comparison before the figures are drawn, which takes seconds.
        kept: comes back when the models are there that are to be kept.

    Raises:
        UserError: no trial of any strategy was completed, and all diverged.
        Failure: no trial of any strategy was completed.
    """
    from lossfleet.sweeps.comparison.frame import frame_from_records
    from lossfleet.sweeps.comparison.front import front_members
    from lossfleet.sweeps.comparison.summary import summary
    from lossfleet.sweeps.report.images import sheets_of
    from lossfleet.sweeps.report.importance import column_importance
    from lossfleet.sweeps.report.mistakes import write_mistakes
    from lossfleet.sweeps.report.tables import markdown_table, print_table

    trials = [record for record in records if isinstance(record, TrialRecord)]
    failed = [record for record in trials if record.state == "FAIL"]
    report_failures(failed, folder)
    if not any(record.stage == "final" and record.state == "COMPLETE" for record in trials):
        nothing = f"no trial was completed: {len(failed)} failed, the first because it {failed[0].reason}"
        if any(record.error for record in failed):
            raise Failure(nothing)
        raise UserError(
            what=nothing,
            expected="at least one complete trial",
            hint="search smaller learning rates, for example 'optimizer.lr=tag(log,interval(1e-4,1e-2))'",
        )
    table = frame_from_records(records)
    confusions = confusions_of(records)
    rope, published = evaluation_settings(records).rope, published_beside(records)
    comparison = summary(table, rope=rope, confusions=confusions, published=published)
    print_table(comparison)
    if compared is not None:
        compared(comparison)
    write_confusions(confusions, table["class_names"].iloc[0], folder / CONFUSION)
    write_reproduction(comparison, folder / PUBLISHED)
    mistakes = write_mistakes(records, comparison, factory, folder)
    columns = column_importance(records, comparison, table["search_metric"].iloc[0], factory.dataset)
    line, wrong = (None, None) if mistakes is None else mistakes
    sheets = partial(sheets_of, records, comparison, factory, wrong, folder, kept)
    draw_figures(table, comparison, folder / FIGURES, note=line, columns=columns, sheets=sheets)
    if columns is not None:
        print(columns.sentence())
    if line is not None:
        print(line)
    return EndRecord(
        "FINISHED",
        time.time(),
        markdown_table(comparison),
        comparison.sentence,
        metrics=comparison.scores(),
        front=front_members(comparison),
        winner=comparison.winner,
        best=comparison.best,
    )


def confusions_of(records: Iterable[Record]) -> dict[str, np.ndarray]:
    """The confusion counts (C, C) of each strategy, summed over its final replicates, where there are many classes."""
    import numpy as np

    # A sweep continued with more trials evaluates again what it then finds best.
    counts: dict[str, dict[int, dict[int, list[list[int]]]]] = {}
    for record in records:
        if isinstance(record, ReplicateRecord) and record.confusion is not None:
            counts.setdefault(record.strategy, {}).setdefault(record.trial, {})[record.replicate] = (
                record.confusion
            )
    return {
        strategy: np.sum(list(list(trials.values())[-1].values()), axis=0)
        for strategy, trials in counts.items()
    }


def write_confusions(confusions: Mapping[str, np.ndarray], class_names: Sequence[str], folder: Path) -> None:
    """Write a file of counts a strategy, a row a true class, a column a predicted one."""
    import pandas as pd

    for strategy, counts in confusions.items():
        folder.mkdir(exist_ok=True)
        table = pd.DataFrame(counts, index=class_names, columns=class_names)
        table.to_csv(folder / f"{strategy}.csv", index_label="true class")


def write_reproduction(comparison: Comparison, file: Path) -> None:
    """Write the tables that papers published beside what was measured, and the sentences on their claims."""
    from lossfleet.sweeps.report.tables import beside_paper, escape_markdown, markdown_of

    texts = []
    for each in comparison.published:
        texts += [markdown_of([beside_paper(each)]), *map(escape_markdown, each.sentences)]
    if texts:
        file.write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def conclude_side_by_side(folders: Sequence[Path]) -> None:
    """Print the table of several finished sweeps, and draw their curve over ratios, or detectors by time.

    Args:
        folders: of the sweeps. The curve goes beside them, into a folder whose name cannot be a sweep's.
    """
    from lossfleet.sweeps.comparison.frame import frame_from_records
    from lossfleet.sweeps.comparison.summary import summary
    from lossfleet.sweeps.report.tables import print_table

    journals = [Journal(folder / JOURNAL_FILE).read() for folder in folders]
    table = frame_from_records(*journals)
    comparison = summary(table, rope=evaluation_settings(journals[-1]).rope)
    names = " ".join(folder.name for folder in folders)
    print(f"\nSide by side (lossfleet compare --sweeps {names}):\n")
    print_table(comparison)
    beside = folders[0].with_name(f"_side_by_side-{hashlib.sha256(names.encode()).hexdigest()[:8]}")
    if table["long_tail"].nunique() > 1 or table[MILLISECONDS].notna().any():
        draw_figures(table, comparison, beside, together=True)


def evaluation_settings(records: Sequence[Record]) -> Evaluation:
    """How the latest run of a sweep judges its final evaluation."""
    # Sweeps of earlier versions have no such setting.
    return Evaluation(**_latest_settings(records).get("evaluation", {}))


def published_beside(records: Sequence[Record]) -> dict[tuple[str, str], Published]:
    """What the latest run of a sweep is set beside, by data set and name of the sweep."""
    started = next(record for record in records if isinstance(record, SweepRecord))
    published = _latest_settings(records).get("published")
    return {(started.data, started.sweep): Published.of(published)} if published else {}


def _latest_settings(records: Sequence[Record]) -> dict[str, Any]:
    """What the studies of the latest run of a sweep have in common."""
    runs = [record for record in records if isinstance(record, SweepRecord | ContinuationRecord)]
    settings: dict[str, Any] = next(iter(runs[-1].config["studies"].values()))
    return settings


def draw_figures(
    table: pd.DataFrame,
    comparison: Comparison,
    folder: Path,
    *,
    together: bool = False,
    note: str | None = None,
    columns: ColumnImportance | None = None,
    sheets: Callable[[], Iterable[Sheet | LossMaps]] = tuple,
) -> None:
    """Draw the figures of a sweep, or what shows several together; where that fails, the result is there still.

    Args:
        table: of the replicates.
        comparison: of the table.
        folder: for the figures.
        together: whether to draw what shows several sweeps, and only that.
        note: what the page says before the figures.
        columns: what they matter to the best strategy, where that is known.
        sheets: makes those of images.
    """
    # The result is to be seen before they are drawn, also where the output is a pipe.
    sys.stdout.flush()
    try:
        from lossfleet.sweeps.report.figures import draw_curve, write_figures, write_gallery

        if together:
            write_gallery(draw_curve(table, comparison), folder)
        else:
            write_figures(table, folder, comparison, note, columns, sheets)
    except Exception as error:
        print(
            f"lossfleet: warning: there are no figures ({type(error).__name__}: {error}); once that is mended "
            "'lossfleet compare --figures FOLDER' draws them",
            file=sys.stderr,
        )
    else:
        print(f"\nFigures: {folder}/figures.html")


def report_failures(failed: list[TrialRecord], folder: Path) -> None:
    """Say how many trials of which strategy failed and why: those that diverged, and those that raised."""
    for strategy in dict.fromkeys(record.strategy for record in failed):
        own = [record for record in failed if record.strategy == strategy]
        diverged = [record for record in own if record.error is None]
        raised = [record for record in own if record.error is not None]
        if diverged:
            print(
                f"{len(diverged)} trials of {strategy} failed, the first because it {diverged[0].reason}",
                file=sys.stderr,
            )
        if raised:
            print(
                f"{len(raised)} trials of {strategy} ended with an error, the first because it "
                f"{raised[0].reason}; the tracebacks are in {folder / 'records.jsonl'} and in MLflow",
                file=sys.stderr,
            )


def import_conclusion() -> None:
    """Import ahead what `conclude` needs."""
    for module in (
        "lossfleet.sweeps.comparison.summary",
        "lossfleet.sweeps.report.figures.interactive",
        "lossfleet.sweeps.report.figures.png",
        "lossfleet.sweeps.report.importance",
        "lossfleet.sweeps.search.study",
        "scipy.stats",
        "sklearn.ensemble",
        "optuna.importance",
        "matplotlib.backends.backend_agg",
        "plotly.graph_objects",
    ):
        importlib.import_module(module)
