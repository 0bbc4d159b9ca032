"""RetinaNet in miniature, as data: its convolutions, where their parameters begin, and what it says of an image.

A body of convolutions, each of which halves the image; a pyramid whose levels are its last stages, brought to one width
and added to the coarser level below, which is doubled; and two heads that all levels share, one for the classes and one
for the boxes.

Reference: Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log, prod

import numpy as np

from lossfleet.runners.models.images import Convolution
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.portable.objects.anchors import Anchors

# The deviation of the first weights of the last convolution of each head, as in the paper.
LAST_DEVIATION = 0.01


@dataclass(frozen=True)
class RetinaNet:
    """A one-stage detector of images of one size.

    Fields: image_shape, channels, height and width; classes; anchors; body, the channels behind each halving; width,
    the channels of the pyramid and of the heads; depth, the convolutions of a head before its last; prior, the
    probability of each class at each anchor that training begins with, None for one half.

    Raises:
        ValueError: the levels of the anchors are not the last stages of the body.
    """

    image_shape: tuple[int, int, int]
    classes: int
    anchors: Anchors
    body: tuple[int, ...] = (8, 16, 32, 32)
    width: int = 16
    depth: int = 1
    prior: float | None = 0.01

    def __post_init__(self) -> None:
        strides = tuple(2 ** (stage + 1) for stage in range(len(self.body)))
        levels = len(self.anchors.strides)
        if not 0 < levels <= len(strides) or strides[-levels:] != self.anchors.strides:
            raise ValueError(
                f"the anchors have strides {self.anchors.strides}; expected the last of {strides}, which the body has"
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of each level."""
        _, height, width = self.image_shape
        return [(-(-height // stride), -(-width // stride)) for stride in self.anchors.strides]

    @property
    def anchor_count(self) -> int:
        """The anchors A of an image."""
        return self.anchors.per_place * sum(map(prod, self.sizes))

    @property
    def anchor_boxes(self) -> np.ndarray:
        """The anchors (A, 4) of an image."""
        return self.anchors.boxes(*self.image_shape[1:])

    @property
    def body_convolutions(self) -> list[Convolution]:
        """Each halves the image, and is rectified."""
        return [
            Convolution(inputs, outputs, stride=2)
            for inputs, outputs in pairwise((self.image_shape[0], *self.body))
        ]

    @property
    def lateral_convolutions(self) -> list[Convolution]:
        """From the body to each level of the pyramid, the finest first; they are not rectified."""
        levels = len(self.anchors.strides)
        return [Convolution(channels, self.width, kernel=1) for channels in self.body[-levels:]]

    def head_convolutions(self, outputs: int) -> list[Convolution]:
        """Of a head that gives so many numbers an anchor; all but the last are rectified."""
        hidden = [Convolution(self.width, self.width) for _ in range(self.depth)]
        return [*hidden, Convolution(self.width, outputs * self.anchors.per_place)]

    @property
    def convolutions(self) -> list[Convolution]:
        """All, in the order of their parameters: body, pyramid, class head, box head."""
        heads = [*self.head_convolutions(self.classes), *self.head_convolutions(4)]
        return [*self.body_convolutions, *self.lateral_convolutions, *heads]

    def initial(self, random: np.random.Generator) -> list[Parameters]:
        """The first weight and bias of each convolution.

        He's uniform ones; those of the last of a head are normal with deviation 0.01, and the bias of the classes is
        -log((1 - prior) / prior), so that the many anchors on nothing do not drown the few on objects at the beginning.
        """
        parameters = [each.initial((), random) for each in self.convolutions]
        for last in (-self.depth - 2, -1):
            weight, bias = parameters[last]
            parameters[last] = random.normal(0, LAST_DEVIATION, weight.shape).astype(np.float32), bias
        if self.prior is not None:
            weight, bias = parameters[-self.depth - 2]
            parameters[-self.depth - 2] = weight, np.full_like(bias, -log((1 - self.prior) / self.prior))
        return parameters

    @property
    def parameter_count(self) -> int:
        """Weights and biases together."""
        return sum((each.inputs * each.kernel**2 + 1) * each.outputs for each in self.convolutions)
