"""Faster R-CNN in miniature, as data: proposals of any class by the first stage, a class for each by the second.

The first stage is the body, the pyramid and the heads of RetinaNet with one class, which says whether there is an
object. The best boxes of an image go on: their features are pooled from the level of the pyramid that belongs to their
size, and dense layers say the class, or that there is none, and how far the box is from the object.

Reference: Ren et al. 2015, Faster R-CNN, arXiv 1506.01497; Lin et al. 2016, Feature pyramid networks, arXiv 1612.03144.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lossfleet.runners.detection.retinanet import LAST_DEVIATION, RetinaNet
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.models.layers import Dense
from lossfleet.runners.portable.objects.anchors import Anchors

# As in Fast R-CNN: the deviation of the first weights of what moves a box.
BOX_DEVIATION = 0.001


@dataclass(frozen=True)
class TwoStage:
    """A two-stage detector of images of one size.

    Fields: image_shape, channels, height and width; classes; anchors, body, width and depth, of the first stage, as
    RetinaNet has them; hidden, the units of each hidden dense layer of the second; cells, a region's features are cells
    x cells; region_size, the side in pixels from which on regions are pooled from the second level, twice it from the
    third, and so on; proposals and training_proposals, at most so many boxes of an image go on.

    Raises:
        ValueError: the levels of the anchors are not the last stages of the body.
    """

    image_shape: tuple[int, int, int]
    classes: int
    anchors: Anchors
    body: tuple[int, ...] = (8, 16, 32, 32)
    width: int = 16
    depth: int = 1
    hidden: tuple[int, ...] = (64,)
    cells: int = 5
    region_size: int = 32
    proposals: int = 24
    training_proposals: int = 64

    def __post_init__(self) -> None:
        # It checks the levels.
        _ = self.proposer

    @property
    def proposer(self) -> RetinaNet:
        """The first stage."""
        return RetinaNet(self.image_shape, 1, self.anchors, self.body, self.width, self.depth, prior=None)

    @property
    def anchor_count(self) -> int:
        """The anchors A of an image."""
        return self.proposer.anchor_count

    @property
    def anchor_boxes(self) -> np.ndarray:
        """The anchors (A, 4) of an image."""
        return self.proposer.anchor_boxes

    @property
    def dense(self) -> list[Dense]:
        """The layers of the second stage, all but the last rectified.

        The first takes the features of a region by row, column, channel; the last gives a logit a class, that of none
        of them, and four deltas.
        """
        widths = (self.cells**2 * self.width, *self.hidden, self.classes + 1 + 4)
        return [Dense(inputs, outputs) for inputs, outputs in pairwise(widths)]

    def initial(self, random: np.random.Generator) -> list[Parameters]:
        """The first weight and bias of each convolution and dense layer.

        He's uniform ones; those of the last layer are normal with deviation 0.01 for classes and 0.001 for boxes.
        """
        first = self.proposer.initial(random)
        second = [each.initial((each.inputs,), random) for each in self.dense]
        weight, bias = second[-1]
        deviation = np.repeat([LAST_DEVIATION, BOX_DEVIATION], [self.classes + 1, 4])
        second[-1] = (deviation[:, None] * random.normal(size=weight.shape)).astype(np.float32), bias
        return [*first, *second]

    @property
    def parameter_count(self) -> int:
        """Weights and biases together."""
        return self.proposer.parameter_count + sum((each.inputs + 1) * each.outputs for each in self.dense)
