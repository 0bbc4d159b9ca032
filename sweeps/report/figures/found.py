"""The sheet of what detectors find and miss in test images, a row a strategy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.detection.drawing import CAPTION, drawn
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.records import ReplicateRecord
from lossfleet.sweeps.report.figures.sheets import MOST_ROWS, Sheet

FOUND = "found"
# Images of a row, pixels of a side of each, and what is less sure counts as not found.
MOST_SCENES, SIDE, LEAST_SCORE = 5, 256, 0.3


def found_in(dataset: SceneDataset, replicates: Mapping[str, ReplicateRecord]) -> Sheet | None:
    """What each strategy finds in the first test images that have objects; None where none was recorded.

    Args:
        dataset: of the sweep.
        replicates: a final one of each strategy, with what it found; those of one split show the same images.
    """
    rows = []
    for strategy, replicate in list(replicates.items())[:MOST_ROWS]:
        found = {int(row): Detections.from_lists(*lists) for row, *lists in replicate.found or ()}
        first = [row for row in found if len(dataset.scenes.labels[row])][:MOST_SCENES]
        if first:
            scenes = dataset.scenes.take(np.array(first))
            rows.append((strategy, drawn(scenes, [found[row] for row in first], least_score=LEAST_SCORE)))
    if not rows:
        return None
    caption = f"{CAPTION} Test images of one final split; what is less sure than {LEAST_SCORE} is left out."
    return Sheet(FOUND, "Found and missed", caption, rows, side=SIDE)
