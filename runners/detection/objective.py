"""What a detector minimises, as data; solo training computes it with stock MindSpore, the native core in C++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from lossfleet.runners.detection.anchors import IGNORED


@dataclass(frozen=True)
class HardAnchors:
    """Online hard example mining: of each image only the anchors with the highest losses count.

    First anchors that overlap a harder one by more than `iou_threshold` are left out (1 leaves all of them), then the
    hardest are kept: `examples` of them, or, where `negatives_per_positive` is k, all positives and the
    max(1, ceil(k P)) hardest negatives for P of them, of which at most examples / (1 + k) count, the hardest. What
    overlaps is judged by the anchors, the regions of a one-stage detector, as OHEM judges proposals.

    Reference: Shrivastava et al. 2016, arXiv 1604.03540; Liu et al. 2015, SSD, arXiv 1512.02325; the baselines of Lin
    et al. 2017, arXiv 1708.02002, table 1d.
    """

    iou_threshold: Annotated[float, Interval(ge=0, le=1)] = 1.0
    examples: Annotated[int, Gt(0)] | None = None
    negatives_per_positive: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if self.examples is None and self.negatives_per_positive is None:
            raise ValueError(
                "HardAnchors says neither examples nor negatives_per_positive; expected at least one"
            )


@dataclass(frozen=True)
class DetectionLoss:
    """A sigmoid focal loss of the classes and a smooth L1 loss of the boxes, of a batch with P positive anchors.

        (sum of FL over the classes of the anchors that count
            + box_weight * sum of smooth L1 over the four deltas of the positives) / max(1, P)

    FL = -alpha_t (1 - p_t)^gamma log p_t, with alpha_t = alpha for a class that is there and 1 - alpha for others, 1
    for both where alpha is None; gamma 0 is alpha-balanced cross-entropy. Without mining all anchors count but the
    ignored ones. Every strategy is divided by the same number, so that none has another learning rate.

    Smooth L1 of a difference d is d^2 / (2 beta) for |d| < beta and |d| - beta / 2 beyond; 1/9 is Detectron's choice.
    """

    gamma: Annotated[float, Ge(0)] = 2.0
    alpha: Annotated[float, Interval(ge=0, le=1)] | None = 0.25
    mining: HardAnchors | None = None
    beta: Annotated[float, Gt(0)] = 1 / 9
    box_weight: Annotated[float, Ge(0)] = 1.0

    @property
    def class_weights(self) -> tuple[float, float]:
        """Of a class that is there, and of one that is not."""
        return (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)

    def of_anchors(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The loss of each anchor before mining, in float64: what a heat map or a cumulative curve shows.

        Args:
            logits: (..., C).
            labels: (...), a class, BACKGROUND, or IGNORED, whose losses are 0.
        """
        there = labels[..., None] == np.arange(logits.shape[-1])
        against = np.where(there, -1.0, 1.0) * logits
        cross_entropy = np.logaddexp(0, against)
        weight = np.where(there, *self.class_weights)
        losses = weight * np.exp(self.gamma * (against - cross_entropy)) * cross_entropy
        return losses.sum(-1) * (labels != IGNORED)

    @property
    def numbers(self) -> np.ndarray:
        """What the core is told of it, (8,) float32: DetectionNumbers in detection_loss.h."""
        mining = (1.0, 0.0, 0.0)
        if self.mining is not None:
            mining = (
                self.mining.iou_threshold,
                self.mining.examples or 0,
                self.mining.negatives_per_positive or 0,
            )
        return np.array([self.gamma, *self.class_weights, self.beta, self.box_weight, *mining], np.float32)


@dataclass(frozen=True)
class SampledLoss:
    """Both losses of both stages of a two-stage detector, of examples drawn by chance.

    Of each image `anchors` are drawn, at most half of them positives, and `regions`, at most `positives` of them on
    objects, among the proposals and the objects' own boxes; negatives fill up.

        (sum of cross-entropy of two classes + box_weight * sum of smooth L1 of the positives) / (images anchors)
        + (sum of cross-entropy of C + 1 classes + box_weight * sum of smooth L1 of those on objects) / (images regions)

    Smooth L1 is that of `DetectionLoss`; in the second stage beta is 1, and deltas count times `regions.DELTA_SCALES`.

    Reference: Ren et al. 2015, arXiv 1506.01497, section 3.1.2; Girshick 2015, arXiv 1504.08083, section 2.3.
    """

    anchors: Annotated[int, Gt(0)] = 64
    regions: Annotated[int, Gt(0)] = 32
    positives: Annotated[float, Interval(gt=0, le=1)] = 0.25
    beta: Annotated[float, Gt(0)] = 1 / 9
    box_weight: Annotated[float, Ge(0)] = 1.0

    @property
    def most_positive_anchors(self) -> int:
        """Of an image."""
        return max(1, self.anchors // 2)

    @property
    def most_positive_regions(self) -> int:
        """Of an image."""
        return max(1, round(self.positives * self.regions))

    @property
    def numbers(self) -> np.ndarray:
        """What the core is told of it, (6,) float32: SampledNumbers in two_stage.h."""
        counts = (self.anchors, self.most_positive_anchors, self.regions, self.most_positive_regions)
        return np.array([*counts, self.beta, self.box_weight], np.float32)
