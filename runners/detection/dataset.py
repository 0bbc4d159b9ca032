"""Scenes as a data set of a sweep: its rows are images, and what is told of its classes counts objects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.tables.report import Reading


@dataclass(frozen=True, eq=False)
class SceneDataset(Dataset):
    """A data set of images with objects.

    The label of an image is the rarest class in it, the most frequent one where there is none: by it parts have their
    share of every class, and samplers draw. Its group is its source.

    Fields of its own: scenes; tile, the side of the squares that photographs were cut into, None where they are whole.
    """

    scenes: Scenes = field(kw_only=True)
    tile: int | None = None

    @property
    def class_counts(self) -> np.ndarray:
        """Objects a class, (C,) int64."""
        return self.scenes.class_counts

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any pixel, box, label, source, part or name."""
        content = hashlib.sha256(self.scenes.digest.encode())
        if self.parts is not None:
            content.update(self.parts.tobytes())
        return content.hexdigest()[:8]

    @cached_property
    def has_class(self) -> np.ndarray:
        """(N, C) bool, which classes are in which image."""
        found = np.zeros((len(self.scenes), len(self.class_names)), bool)
        for image, labels in enumerate(self.scenes.labels):
            found[image, labels] = True
        return found

    def counts_among(self, rows: np.ndarray) -> np.ndarray:
        """The images among some that have each class, (C,)."""
        return self.has_class[rows].sum(axis=0)


def scene_dataset(
    name: str,
    scenes: Scenes,
    *,
    source: str,
    said: Sequence[str],
    notes: Sequence[str] = (),
    parts: np.ndarray | None = None,
    photographs: Sequence[str] = (),
    tile: int | None = None,
) -> SceneDataset:
    """The data set of scenes.

    Args:
        name: of the data set.
        scenes: N of them.
        source: where they come from.
        said: what they are, in words.
        notes: what was left out or made otherwise.
        parts: (N,) int8 of `TRAINING`, `VALIDATION` and `TEST`, None where nothing gives them.
        photographs: the name of each source, empty where they have none.
        tile: as `SceneDataset` has it.
    """
    reading = Reading(len(scenes), tuple(said), columns={}, specs={}, order=(), example={}, noun="images")
    return SceneDataset(
        name=name,
        features=Images.of(scenes.images),
        labels=rarest_classes(scenes.labels, scenes.class_counts),
        class_names=scenes.class_names,
        notes=tuple(notes),
        source=source,
        groups=scenes.sources,
        parts=parts,
        reading=reading,
        file_names=np.array(photographs)[scenes.sources] if photographs else None,
        scenes=scenes,
        tile=tile,
    )


def rarest_classes(labels: Sequence[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Of each image the rarest class that is in it, the most frequent of all where there is none, (N,) int64.

    Args:
        labels: of the objects in each image.
        counts: (C,), the objects of each class.
    """
    return np.array([own[counts[own].argmin()] if len(own) else counts.argmax() for own in labels], np.int64)
