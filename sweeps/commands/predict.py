"""Predictions of a kept model for the rows of a file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lossfleet.runners.portable.model import Model, ModelError, raw_columns
from lossfleet.runners.prediction.new_rows import open_rows, predictions_writer, read_rows
from lossfleet.runners.prediction.stored import as_user_error, read_model
from lossfleet.runners.tables.reading import Settings
from lossfleet.runners.tracking.models.fetch import fetched_model

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Told = Counter[tuple[str, str]]


def predict_file(
    model: str, file: Path, *, output: Path | None, decision: str | None, uri: str | None
) -> None:
    """Write the class and one probability a class of each row, batch by batch.

    Args:
        model: as `fetched_model` takes it.
        file: the rows.
        output: where to; None for standard output.
        decision: another rule than the model's.
        uri: MLflow's store.

    Raises:
        UserError: no such model or file, or a cell that cannot be used; then nothing is written.
    """
    start = time.perf_counter()
    with fetched_model(model, uri) as folder:
        found = read_model(folder)
    rows, told = 0, Told()
    with predictions_writer(output) as writer:
        for batch in batches(found, file):
            predicted = predicted_rows(found, batch, decision=decision, first_row=rows + 1, told=told)
            rows += len(predicted)
            writer.write(predicted)
    tell(told)
    said = f"{rows:,} rows in {time.perf_counter() - start:.1f} s"
    if output is None:
        print(said, file=sys.stderr)
    else:
        print(f"{output}: {said}")


def batches(model: Model, file: Path, label: str | None = None) -> Iterator[pd.DataFrame]:
    """The cells of a file, batch by batch; the next one is read while one is worked on.

    Raises:
        UserError: see `open_rows` and `read_rows`.
    """
    columns = model.description["columns"]
    settings = Settings.of(model.description["made"]["config"]["data"])
    names = [*raw_columns(columns), *([] if label is None else [label])]
    return read_ahead(read_rows(open_rows(file, names, settings), columns, label))


def predicted_rows(
    model: Model, rows: pd.DataFrame, *, decision: str | None, first_row: int, told: Told
) -> pd.DataFrame:
    """What a model says of rows; args as for `Model.predict`.

    Raises:
        UserError: a cell that cannot be used, by its row and column.
    """
    try:
        return model.predict(rows, decision=decision, first_row=first_row, told=told)
    except ModelError as error:
        raise as_user_error(error) from error


def tell(told: Told) -> None:
    """Say which cells of which columns the model could not take as they were."""
    for (name, what), count in told.items():
        print(f"column {name!r}: {count:,} cells {what}", file=sys.stderr)


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before is worked on."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
