"""Predictions of a kept model for the rows of a file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.portable.encoder import raw_columns
from lossfleet.runners.portable.files import ModelError
from lossfleet.runners.portable.model import Model
from lossfleet.runners.portable.objects.detector import Detector
from lossfleet.runners.prediction.new_images import Batch, has_images, read_images
from lossfleet.runners.prediction.new_rows import open_rows, predictions_writer, read_rows
from lossfleet.runners.prediction.stored import as_user_error, read_model
from lossfleet.runners.tables.reading import Settings
from lossfleet.runners.tracking.models.fetch import fetched_model
from lossfleet.sweeps.commands.in_order import in_order, read_ahead
from lossfleet.sweeps.commands.objects import predict_objects, print_end, refuse_for_detectors

if TYPE_CHECKING:
    import pandas as pd

Told = Counter[tuple[str, str]]


def predict_file(
    model: str,
    file: Path,
    *,
    output: Path | None,
    decision: str | None,
    uri: str | None,
    drawings: Path | None = None,
) -> None:
    """Write the class and one probability a class of each row, batch by batch; of a detector what it finds.

    Args:
        model: as `fetched_model` takes it.
        file: the rows; of a model of images also a folder of them, or a file that has some.
        output: where to; None for standard output.
        decision: another rule than the model's.
        uri: MLflow's store.
        drawings: of a detector, a folder for photographs with what is found in them; None for none.

    Raises:
        UserError: no such model or file, or a cell that cannot be used; then nothing is written.
    """
    import pandas as pd

    start = time.perf_counter()
    with fetched_model(model, uri) as folder:
        found = read_model(folder)
    if isinstance(found, Detector):
        refuse_for_detectors("--decision", decision)
        predict_objects(found, file, output=output, drawings=drawings)
        return
    if drawings is not None:
        raise UserError(
            what="--draw for a model that classifies",
            expected="a model that finds objects",
            hint="leave --draw out",
        )
    rows, told = 0, Told()
    of_images = found.encoder.image_shape is not None and has_images(file)
    with predictions_writer(output) as writer:
        if of_images:
            for which, predicted in predicted_images(found, file, decision=decision):
                rows += len(predicted)
                writer.write(pd.concat([which.drop(columns="class", errors="ignore"), predicted], axis=1))
        else:
            for _, predicted in predicted_batches(found, file, decision=decision, told=told):
                rows += len(predicted)
                writer.write(predicted)
    tell(told)
    print_end(output, f"{rows:,} {'images' if of_images else 'rows'} in {time.perf_counter() - start:.1f} s")


def predicted_batches(
    model: Model,
    file: Path,
    *,
    decision: str | None,
    told: Told,
    label: str | None = None,
    weight: Mapping[str, Any] | None = None,
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The cells of a file and what a model says of them, batch by batch; further ones are worked on meanwhile.

    Args:
        model: a kept one.
        file: has its columns.
        decision: another rule than the model's.
        told: counts what the model could not take as it was, see `tell`.
        label, weight: further columns, as `read_rows` takes them.

    Raises:
        UserError: see `open_rows` and `read_rows`; or a cell that cannot be used, by its row and column.
    """
    columns = model.description["columns"]
    settings = Settings.of(model.description["made"]["config"]["data"])
    names = [*raw_columns(columns), *([] if label is None else [label])]
    batches = read_rows(open_rows(file, names, settings), columns, label, weight)

    def predict(numbered: tuple[int, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame, Told]:
        first_row, batch = numbered
        own = Told()
        try:
            return batch, model.predict(batch, decision=decision, first_row=first_row, told=own), own
        except ModelError as error:
            raise as_user_error(error) from error

    for batch, predicted, own in in_order(predict, with_first_rows(read_ahead(batches))):
        told.update(own)
        yield batch, predicted


def predicted_images(
    model: Model, path: Path, *, decision: str | None
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Which images of a path there are, as `new_images.read_images` has them, and what a model of images says of them.

    Raises:
        UserError: see `read_images`; or a decision that the model does not know.
    """
    assert model.encoder.image_shape is not None

    def predict(batch: Batch) -> tuple[pd.DataFrame, pd.DataFrame]:
        which, pixels = batch
        try:
            return which, model.predict_images(pixels, decision=decision)
        except ModelError as error:
            raise as_user_error(error) from error

    return in_order(predict, read_ahead(read_images(path, model.encoder.image_shape)))


def tell(told: Told) -> None:
    """Say which cells of which columns the model could not take as they were."""
    for (name, what), count in told.items():
        print(f"column {name!r}: {count:,} cells {what}", file=sys.stderr)


def with_first_rows(batches: Iterable[pd.DataFrame]) -> Iterator[tuple[int, pd.DataFrame]]:
    """Batches, each behind the number of its first row, from 1."""
    first_row = 1
    for batch in batches:
        yield first_row, batch
        first_row += len(batch)
