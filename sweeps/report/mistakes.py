"""The rows of the data that the strategy ahead gets wrong on its test parts; some of them may be mislabelled."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.parts import Shares, draw_parts
from lossfleet.runners.images.parts import TEST
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.metrics.evaluation import MOST_MISTAKES
from lossfleet.runners.records import MISTAKES, Record, ReplicateRecord

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.training.replicate import ReplicateFactory
    from lossfleet.sweeps.comparison.frame import Comparison

# Once a row can be wrong by the luck of one training.
FEWEST_TESTS = 2


def write_mistakes(
    records: Iterable[Record], comparison: Comparison, factory: ReplicateFactory, folder: Path
) -> tuple[str, pd.DataFrame] | None:
    """Write the rows that the final replicates of the best strategy get wrong, see `mistakes_table`.

    Args:
        records: of the sweep.
        comparison: of the sweep.
        factory: of the sweep; its data set is read, and test parts are drawn again.
        folder: of the sweep.

    Returns:
        A line that says where they are, and the table; None where the records have none, as those of earlier versions.
    """
    file = folder / MISTAKES
    best = comparison.table.iloc[0]
    replicates = [each for each in final_replicates(records, comparison) if each.mistakes is not None]
    if not replicates:
        # Of another strategy, from before the sweep was continued.
        file.unlink(missing_ok=True)
        return None
    if any(len(each.mistakes or ()) == MOST_MISTAKES for each in replicates):
        print(
            f"{MISTAKES} counts the {MOST_MISTAKES:,} most confident mistakes of a replicate, and there were as many",
            file=sys.stderr,
        )
    table = mistakes_table(replicates, factory.dataset, factory.shares)
    # Where other machines have trained, there is no folder of the sweep yet.
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False)
    always = table["always"].sum()
    first = (
        f", first the {always} that every split which tests them gets wrong, as mislabelled rows would be"
        if always
        else ""
    )
    line = f"Mistakes: {file} has the {len(table)} test rows that {best['strategy']} gets wrong{first}"
    return line, table


def mistakes_table(replicates: Sequence[ReplicateRecord], dataset: Dataset, shares: Shares) -> pd.DataFrame:
    """The rows of the data that replicates get wrong.

    Args:
        replicates: of one configuration, with `mistakes`.
        dataset: that they were trained on.
        shares: of its splits.

    Returns:
        A row a row of the data: `file` where there are two, `row` in it from 1, `class`, `taken_for` most often, in how
        many test parts it was (`tested`), in how many of them it was `wrong`, the mean `probability` of the wrong class
        there, `always` where it was wrong in all of at least two, then its columns, with `column` before a name that is
        one of these; of images none, and `file` where each has one. Those that are always wrong come first, then by
        probability. Its index says which rows of the data set they are.
    """
    import pandas as pd

    tested = np.zeros(len(dataset.labels), np.int64)
    for each in replicates:
        parts, _ = draw_parts(dataset, shares, seed=each.seed, split=each.split)
        tested[parts[TEST]] += 1
    mistakes = pd.DataFrame(
        [mistake for each in replicates for mistake in each.mistakes or ()],
        columns=["position", "predicted", "probability"],
    ).astype({"position": np.int64, "predicted": np.int64, "probability": float})
    by_class = mistakes.groupby(["position", "predicted"])["probability"].agg(["size", "sum"]).reset_index()
    most = by_class.sort_values(["size", "sum"], ascending=False, kind="stable").drop_duplicates("position")
    found = mistakes.groupby("position")["probability"].agg(["size", "mean"])
    positions = found.index.to_numpy()
    names = np.array(dataset.class_names, dtype=object)
    table = pd.DataFrame(
        {
            **_places(dataset, positions),
            "class": names[dataset.labels[positions]],
            "taken_for": names[most.set_index("position")["predicted"].loc[positions]],
            "tested": tested[positions],
            "wrong": found["size"].to_numpy(),
            "probability": found["mean"].round(3).to_numpy(),
        }
    )
    table["always"] = (table["wrong"] == table["tested"]) & (table["tested"] >= FEWEST_TESTS)
    if isinstance(dataset.features, Images):
        columns = pd.DataFrame(index=table.index)
    else:
        columns = dataset.features.iloc[positions].reset_index(drop=True)
    columns.columns = [f"column {name}" if name in table else name for name in columns]
    order = table.sort_values(["always", "probability"], ascending=False, kind="stable").index
    return pd.concat([table, columns], axis=1).loc[order].set_axis(positions[order])


def final_replicates(
    records: Iterable[Record], comparison: Comparison, place: int = 0
) -> list[ReplicateRecord]:
    """The replicates of the final evaluation of a strategy in order, by its place in the table: the best one's is 0."""
    row = comparison.table.iloc[place]
    evaluation = (row["strategy"], "final", int(row["trial"]))
    found = {
        record.replicate: record
        for record in records
        if isinstance(record, ReplicateRecord) and (record.strategy, record.stage, record.trial) == evaluation
    }
    return [found[number] for number in sorted(found)]


def _places(dataset: Dataset, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Where rows of the data set stand: the number of each, and the file where there are two; or its own file."""
    numbers = dataset.row_numbers[positions]
    if dataset.file_names is not None:
        return {"file": dataset.file_names[positions]}
    if len(dataset.files) < 2:
        return {"row": numbers}
    names, rows = (np.array(each) for each in zip(*dataset.files, strict=True))
    ends = rows.cumsum()
    file = np.searchsorted(ends, numbers)
    return {"file": names[file], "row": numbers - (ends - rows)[file]}
