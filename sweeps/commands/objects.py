"""What a kept detector finds in photographs, and how right it is in annotated ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.portable.objects.detector import CORNERS, Detector
from lossfleet.runners.prediction.new_photographs import Named, read_photographs
from lossfleet.runners.prediction.new_rows import predictions_writer
from lossfleet.sweeps.commands.in_order import in_order, read_ahead
from lossfleet.sweeps.keeping.judgement import Score, expected_score

if TYPE_CHECKING:
    import pandas as pd

# What is less sure is not drawn, and what is as sure is counted.
LEAST_DRAWN, SURE = 0.3, 0.5
# Images that a thread looks at together.
TOGETHER = 64


def predict_objects(detector: Detector, path: Path, *, output: Path | None, drawings: Path | None) -> None:
    """Write a row a find, photograph by photograph; one without any has a row with its name alone.

    Args:
        detector: a kept one.
        path: as `read_photographs` takes it.
        output: where to; None for standard output.
        drawings: a folder for photographs with their finds; None for none.

    Raises:
        UserError: see `read_photographs`; or drawings would take the place of photographs, or cannot be written. Then
            no table is written.
    """
    if drawings is not None:
        _check_apart(drawings, path)
    start, counts = time.perf_counter(), []

    def find(named: Named) -> tuple[Named, Detections]:
        return named, detector.find(named[1])

    with predictions_writer(output) as writer:
        named = read_photographs(path, detector.image_shape[0])
        for (name, pixels), found in in_order(find, read_ahead(named)):
            counts.append((len(found), len(found.of_at_least(SURE))))
            writer.write(_rows(detector, name, found))
            if drawings is not None:
                _draw(drawings / name, pixels, found, detector)
    finds, sure = np.sum(counts, axis=0)
    said = f"{finds:,} finds, {sure:,} of them with a score of {SURE} or more, in {len(counts):,} photographs"
    print_end(output, f"{said} in {time.perf_counter() - start:.1f} s")


def _rows(detector: Detector, name: str, found: Detections) -> pd.DataFrame:
    """The finds in a photograph as a file has them."""
    rows = detector.table([name], [found])
    if not len(found):
        rows = rows.reindex([0]).assign(image=name)
    # The same types where nothing is found.
    return rows.astype({"image": "string", "class": "string"}).round(
        {"score": 4, **dict.fromkeys(CORNERS, 2)}
    )


def _check_apart(drawings: Path, path: Path) -> None:
    photographs = path if path.is_dir() else path.parent
    if drawings.resolve() == photographs.resolve():
        raise UserError(
            what=f"--draw is {drawings}, where the photographs are",
            expected="another folder, so that none is written over",
            hint="write for example --draw drawn",
        )


def _draw(file: Path, pixels: np.ndarray, found: Detections, detector: Detector) -> None:
    """Draw the finds in a photograph into a file of its name, with the ending .png."""
    from lossfleet.runners.detection.drawing import draw_finds

    # Two photographs may differ in their endings alone.
    target = file if file.suffix == ".png" else file.with_name(f"{file.name}.png")
    try:
        draw_finds(target, pixels, found, detector.classes, least_score=LEAST_DRAWN)
    except OSError as error:
        raise UserError(
            what=f"{target} cannot be written ({error.strerror or error})",
            expected="a folder that this user may write, and space in it",
            hint="name another one with --draw",
        ) from error


def evaluate_objects(detector: Detector, path: Path) -> None:
    """Measure a detector on annotated photographs and print average precision beside what was expected.

    Args:
        detector: a kept one.
        path: a folder or a file of annotations, as `data.path` of `data=boxes` names it; photographs are cut and
            resized as those that it was trained on.

    Raises:
        UserError: there are no annotations, or some that cannot be used.
    """
    from lossfleet.runners.detection.annotations.reading import read_boxes
    from lossfleet.runners.detection.average_precision import precision_at_recall
    from lossfleet.runners.detection.measuring import object_metrics

    channels, size, _ = detector.image_shape
    told = detector.description["detector"]
    with _about_this_path():
        dataset = read_boxes(
            str(path),
            classes=tuple(detector.classes),
            tile=told["tile"],
            overlap=told["overlap"],
            size=size,
            channels=channels,
        )
    for note in dataset.notes:
        print(note, file=sys.stderr)
    images = dataset.scenes.images
    blocks = (images[start : start + TOGETHER] for start in range(0, len(images), TOGETHER))
    found = [each for block in in_order(detector.detect, blocks) for each in block]
    metrics = object_metrics(precision_at_recall(found, dataset.scenes), detector.classes)
    for name, count in zip(detector.classes, dataset.class_counts, strict=True):
        if not count:
            print(f"no object is of class {name}: means over classes leave it out", file=sys.stderr)
    scores = [
        expected_score(name, value, detector.description)
        for name, value in metrics.items()
        if not np.isnan(value)
    ]
    sources = len(set(dataset.scenes.sources.tolist()))
    tiles = f" in {len(images):,} tiles" if told["tile"] else ""
    print(
        f"{detector.description['name']} on {path.name}: {sources:,} photographs{tiles} with "
        f"{dataset.class_counts.sum():,} objects"
    )
    _print_scores(scores)


def refuse_for_detectors(option: str, value: object) -> None:
    """Raises UserError where an option has a value that says nothing to a detector."""
    if value is not None:
        raise UserError(
            what=f"{option} is {value} for a model that finds objects",
            expected="a model that classifies",
            hint=f"leave {option} out",
        )


def print_end(output: Path | None, said: str) -> None:
    """Say what was written: on standard error where standard output has the rows."""
    if output is None:
        print(said, file=sys.stderr)
    else:
        print(f"{output}: {said}")


@contextmanager
def _about_this_path() -> Iterator[None]:
    """Errors of annotations speak of settings of a sweep; here the command line names them."""
    try:
        yield
    except UserError as error:
        what, expected, hint = (
            each.replace(", or write data.broken=skip to leave out what cannot be used", "").replace(
                "data.path", "the path"
            )
            for each in (error.what, error.expected, error.hint)
        )
        raise UserError(what=what, expected=expected, hint=hint) from error


def _print_scores(scores: list[Score]) -> None:
    """A line a metric: measured, and expected with its interval."""
    width = max(len(score.name) for score in scores)
    print(f"{'metric':<{width}}  measured  expected (95 % interval)")
    for score in scores:
        print(f"{score.name:<{width}}  {score.measured:8.4f}  {score.told}")
    print("Expected: the final evaluation of the sweep.")
