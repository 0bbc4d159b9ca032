"""Training, validation and test parts of scenes: whole sources, so that no photograph is in two of them."""

from __future__ import annotations

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.parts import PART_NAMES, Shares, draw_parts
from lossfleet.runners.data.splits import Split, encoded_split
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.images.parts import TRAINING, VALIDATION


def make_scene_split(dataset: SceneDataset, shares: Shares, *, seed: int, split: int) -> Split:
    """Split scenes.

    Args: as `data.splits.make_split` has them.

    Returns:
        The split; `class_counts` are objects of the training part, and an epoch draws as many images as it has.

    Raises:
        UserError: a part has no object at all.
    """
    parts, pool = draw_scene_parts(dataset, shares, seed=seed, split=split)
    counts = dataset.scenes.take(parts[TRAINING]).class_counts
    return encoded_split(
        dataset,
        parts,
        pool,
        class_counts=counts,
        rarest_class=int(counts.argmin()),
        draws=len(parts[TRAINING]),
        train_rows=parts[TRAINING],
        validation_rows=parts[VALIDATION],
    )


def draw_scene_parts(
    dataset: SceneDataset, shares: Shares, *, seed: int, split: int
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """The rows of each part, sorted, and those that all test parts are drawn from; see `data.parts.draw_parts`.

    Raises:
        UserError: a part has no object at all.
    """
    drawn, pool = draw_parts(dataset, shares, seed=seed, split=split)
    parts = [np.sort(rows) for rows in drawn]
    for part, rows in zip(PART_NAMES.values(), parts, strict=True):
        if not dataset.counts_among(rows).any():
            raise UserError(
                what=f"the {part} part of {dataset.name}, {len(rows)} of {len(dataset.labels)} images, has no object",
                expected="objects in each part, with all images of a source in one",
                hint="bring more photographs, or parts of your own in folders train, val and test",
            )
    return parts, pool
