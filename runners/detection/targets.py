"""What a dense detector learns of scenes, computed once: the anchors that are not background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossfleet.runners.detection.anchors import BACKGROUND, IGNORED, match
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.portable.objects.boxes import encode


@dataclass(frozen=True, eq=False)
class Targets:
    """The matched anchors of N images, one image after the other.

    Fields: starts (N + 1,) int32, where each image's begin; matched (M, 2) int32, an anchor and the class of its
    object, or IGNORED; deltas (M, 4) float32, what the box head learns there.
    """

    starts: np.ndarray
    matched: np.ndarray
    deltas: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """Their memory in bytes."""
        return self.starts.nbytes + self.matched.nbytes + self.deltas.nbytes

    @classmethod
    def of(cls, scenes: Scenes, anchors: np.ndarray) -> Targets:
        """Those of scenes whose images have these anchors (A, 4)."""
        starts, matched, deltas = [0], [np.zeros((0, 2), np.int32)], [np.zeros((0, 4), np.float32)]
        exact = anchors.astype(np.float64)
        for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True):
            box = match(anchors, boxes)
            places = np.flatnonzero(box != BACKGROUND).astype(np.int32)
            learns = box[places] != IGNORED
            of_objects = np.full(len(places), IGNORED, np.int32)
            of_objects[learns] = labels[box[places][learns]]
            of_boxes = np.zeros((len(places), 4), np.float32)
            of_boxes[learns] = encode(boxes[box[places][learns]].astype(np.float64), exact[places[learns]])
            starts.append(starts[-1] + len(places))
            matched.append(np.stack([places, of_objects], axis=1))
            deltas.append(of_boxes)
        return cls(np.array(starts, np.int32), np.concatenate(matched), np.concatenate(deltas))

    @property
    def of_any_class(self) -> Targets:
        """The same for who learns only whether there is an object: the class of each is 0."""
        matched = self.matched.copy()
        matched[:, 1] = np.minimum(matched[:, 1], 0)
        return Targets(self.starts, matched, self.deltas)

    def dense(self, images: np.ndarray, anchors: int) -> tuple[np.ndarray, np.ndarray]:
        """The label (N, A) int32 of each anchor of images, and its deltas (N, A, 4), 0 where there is no object."""
        labels = np.full((len(images), anchors), BACKGROUND, np.int32)
        deltas = np.zeros((len(images), anchors, 4), np.float32)
        for row, image in enumerate(images):
            own = slice(self.starts[image], self.starts[image + 1])
            places, of_places = self.matched[own].T
            labels[row, places] = of_places
            deltas[row, places] = self.deltas[own]
        return labels, deltas


@dataclass(frozen=True, eq=False)
class Objects:
    """What is in N images, one image after the other.

    Fields: starts (N + 1,) int32, where each image's begin; boxes (G, 4) float32; labels (G,) int32.
    """

    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, scenes: Scenes) -> Objects:
        """Those of scenes."""
        counts = [len(each) for each in scenes.labels]
        return cls(
            np.cumsum([0, *counts], dtype=np.int32),
            np.concatenate([np.zeros((0, 4)), *scenes.boxes]).astype(np.float32),
            np.concatenate([[], *scenes.labels]).astype(np.int32),
        )

    def of_image(self, image: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes and labels of an image."""
        own = slice(self.starts[image], self.starts[image + 1])
        return self.boxes[own], self.labels[own]
