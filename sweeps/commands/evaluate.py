"""The metrics of a kept model on labelled rows, beside what its final evaluation let expect."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.metrics.classification import confusion_matrix
from lossfleet.runners.portable.cells import folded
from lossfleet.runners.portable.objects.detector import Detector
from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.tracking.models.fetch import fetched_model
from lossfleet.sweeps.commands.objects import evaluate_objects, refuse_for_detectors
from lossfleet.sweeps.commands.predict import Told, predicted_batches, predicted_images, tell
from lossfleet.sweeps.keeping.judgement import Score, judge
from lossfleet.sweeps.keeping.sample import Sample

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.portable.model import Model


def evaluate_file(
    model: str,
    file: Path,
    *,
    target: str | None,
    decision: str | None,
    uri: str | None,
    importance: Path | None = None,
) -> None:
    """Measure a model on the rows of a file and print each metric beside what was expected.

    Args:
        model: as `fetched_model` takes it.
        file: rows with their classes; of a model of images a folder with a folder a class, of a detector annotated
            photographs.
        target: the column with the classes; None for that of the training table.
        decision: another rule than the model's.
        uri: MLflow's store.
        importance: where to draw what each column matters on these rows.

    Raises:
        UserError: no such model, file or column, a class that the model does not know, or a cell that cannot be used.
    """
    with fetched_model(model, uri) as folder:
        found = read_model(folder)
    if isinstance(found, Detector):
        for option, value in (("--decision", decision), ("--target", target), ("--importance", importance)):
            refuse_for_detectors(option, value)
        evaluate_objects(found, file)
        return
    of_images = found.encoder.image_shape is not None and file.is_dir()
    if of_images and importance is not None:
        raise UserError(
            what="--importance for a model of images",
            expected="columns that say something alone",
            hint="leave --importance out",
        )
    label = "class" if of_images else target or trained_target(found.description)
    classes = found.classes
    fold_case = bool(found.description["made"]["config"]["data"].get("fold_case"))
    weight = found.description.get("weight")
    confusion, rows, told = np.zeros((len(classes), len(classes))), 0, Told()
    total = squares = 0.0
    sample = None if importance is None else Sample()
    if of_images:
        batches = predicted_images(found, file, decision=decision)
    else:
        batches = predicted_batches(found, file, decision=decision, told=told, label=label, weight=weight)
    for batch, predicted in batches:
        labels = labels_of(batch[label], classes, first_row=rows + 1, fold_case=fold_case)
        weights = weights_of(batch, weight, first_row=rows + 1)
        confusion += confusion_matrix(predicted["class"].cat.codes.to_numpy(), labels, len(classes), weights)
        total, squares = total + weights.sum(), squares + np.square(weights).sum()
        rows += len(labels)
        if sample is not None:
            sample.add(batch)
    if not rows:
        raise UserError(
            what=f"{file.name} has no rows", expected="labelled rows", hint="write the table again"
        )
    column = None if weight is None else weight["name"]
    if not total:
        raise UserError(
            what=f"the weight {column!r} is 0 in all {rows} rows",
            expected="a weight above 0 in some of them",
            hint="correct it, or take the column out: then all rows count alike",
        )
    tell(told)
    is_weighed = column is not None and column in batch
    if column is not None and not is_weighed:
        print(f"{file.name} has no column {column}: all rows count alike", file=sys.stderr)
    for name, count in zip(classes, confusion.sum(axis=1), strict=True):
        if not count:
            print(f"no row is of class {name}: means over classes leave it out", file=sys.stderr)
    decided = decision or found.description["decision"]
    weighed = f", weighed by {column}" if is_weighed else ""
    noun = "images" if of_images else "rows"
    name = found.description["name"]
    print(f"{name} on {rows:,} {noun} of {file.name}{weighed}, decisions by {decided}")
    print_scores(judge(confusion, found.description, decided, effective_rows=total**2 / squares))
    if sample is not None and importance is not None:
        draw_importance(found, sample.rows(), label, importance, decision)


def draw_importance(model: Model, rows: pd.DataFrame, label: str, path: Path, decision: str | None) -> None:
    """Draw what each column matters on labelled rows, and name the three that matter most."""
    from lossfleet.sweeps.keeping.importance import column_importance
    from lossfleet.sweeps.report.figures.columns import draw_columns

    labels = labels_of(rows[label].astype("category"), model.classes, first_row=1)
    weights = weights_of(rows, model.description.get("weight"), first_row=1)
    table = column_importance(model, rows, labels, decision=decision, weights=weights)
    draw_columns(table, path, f"What each column matters on {len(rows):,} rows")
    most = ", ".join(f"{row['column']} {row['mean']:.3f}" for _, row in table.head(3).iterrows())
    print(f"{path}: shuffled, these columns cost most balanced accuracy: {most}")


def weights_of(rows: pd.DataFrame, weight: Mapping[str, Any] | None, *, first_row: int) -> np.ndarray:
    """What rows count for, (N,): 1 where a model has no column of weights, or the rows have it not.

    Raises:
        UserError: a cell that is no number of at least 0; the message has the row.
    """
    if weight is None or weight["name"] not in rows:
        return np.ones(len(rows))
    weights = rows[weight["name"]].to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        value = weights[wrong[0]]
        raise UserError(
            what=f"the weight {weight['name']!r} {'is no number' if np.isnan(value) else f'has {value:g}'} "
            f"in row {first_row + wrong[0]}",
            expected="a number of at least 0 in every row",
            hint="correct it, or take the column out: then all rows count alike",
        )
    return weights


def trained_target(description: dict[str, Any]) -> str:
    """The column that held the classes in training.

    Raises:
        UserError: the model was not trained on a table of the user's.
    """
    target = description["made"]["config"]["data"].get("target")
    if not isinstance(target, str):
        raise UserError(
            what="the model's data has no column with the classes",
            expected="the name of that column in the file",
            hint="write for example --target class",
        )
    return target


def labels_of(cells: pd.Series, classes: list[str], *, first_row: int, fold_case: bool = False) -> np.ndarray:
    """The numbers of the classes that a column names, (N,); `fold_case` takes names that differ in case alone as one.

    Raises:
        UserError: a missing cell, or a name that is no class; the message has the row.
    """
    place = {name: label for label, name in enumerate(classes)}
    if fold_case:
        alike = {folded(name): label for name, label in place.items()}
        place |= {
            word: alike.get(folded(word), -1) for word in map(str, cells.cat.categories) if word not in place
        }
    of_category = [place.get(str(word), place.get(_whole(str(word)), -1)) for word in cells.cat.categories]
    labels = np.array([*of_category, -1], np.int64)[cells.cat.codes.to_numpy()]
    if (labels < 0).any():
        row = int((labels < 0).argmax())
        word = cells.iloc[row]
        is_missing = cells.isna().iloc[row]
        raise UserError(
            what=f"column {cells.name!r} {'is missing' if is_missing else f'has {word!r}'} in row {first_row + row}",
            expected=f"one of the classes {', '.join(classes)}",
            hint="take the row out" if is_missing else suggest(str(word), classes),
        )
    return labels


def _whole(word: str) -> str:
    """A whole number without a fraction, as classes are named; other words as they are."""
    whole, point, fraction = word.partition(".")
    return whole if point and not fraction.strip("0") and whole.lstrip("-").isdecimal() else word


def print_scores(scores: list[Score]) -> None:
    """A line a metric: measured, expected with its interval, and whether they differ."""
    width = max(len(score.name) for score in scores)
    print(f"{'metric':<{width}}  measured  expected (95 % interval)   difference")
    for score in scores:
        print(f"{score.name:<{width}}  {score.measured:8.4f}  {score.told:<24}  {_difference(score)}")
    print("Expected: the final evaluation of the sweep. Differences are tested with Holm's correction.")


def _difference(score: Score) -> str:
    if score.expected is None:
        return ""
    difference = f"{score.measured - score.expected:+.4f}"
    if score.p is None:
        return f"{difference}, cannot be tested"
    return f"{difference}, {'more than' if score.differs else 'within'} chance (p = {score.p:.3f})"
