"""What the config groups of a sweep have for detectors: a model, losses and a mining, as data."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Interval

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import show
from lossfleet.runners.detection.objective import DetectionLoss, HardAnchors, SampledLoss
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.portable.objects.anchors import Anchors

Count = Annotated[int, Gt(0)]
Positive = Annotated[float, Gt(0)]


def retinanet(
    input_shape: tuple[int, int, int],
    classes: int,
    body: tuple[Count, ...] = (8, 16, 32, 32),
    width: Count = 16,
    depth: Annotated[int, Ge(0)] = 1,
    strides: tuple[Count, ...] = (4, 8, 16),
    sizes: tuple[Positive, ...] = (8.0, 14.0, 22.0),
    scales: tuple[Positive, ...] = (1.0, 1.26),
    ratios: tuple[Positive, ...] = (1.0,),
    prior: Annotated[float, Interval(gt=0, lt=1)] | None = 0.01,
) -> RetinaNet:
    """The network of `model=retinanet`, see `RetinaNet` and `Anchors`.

    Args:
        input_shape: channels, height and width of an image.
        classes: of objects.
        body: the channels behind each halving of the image.
        width: the channels of pyramid and heads.
        depth: the convolutions of a head before its last.
        strides: of the levels of the pyramid, which are the last stages of the body.
        sizes: of the anchors of each level, in pixels.
        scales, ratios: of the anchors of each place; a ratio is height / width.
        prior: the probability of each class at each anchor that training begins with; None for one half.

    Raises:
        UserError: other strides than those of the last stages, or not a size for each.
    """
    anchors = _anchors(body, strides, sizes, scales, ratios)
    return RetinaNet(input_shape, classes, anchors, tuple(body), width, depth, prior)


def two_stage(
    input_shape: tuple[int, int, int],
    classes: int,
    body: tuple[Count, ...] = (8, 16, 32, 32),
    width: Count = 16,
    depth: Annotated[int, Ge(0)] = 1,
    strides: tuple[Count, ...] = (4, 8, 16),
    sizes: tuple[Positive, ...] = (8.0, 14.0, 22.0),
    scales: tuple[Positive, ...] = (1.0, 1.26),
    ratios: tuple[Positive, ...] = (1.0,),
    hidden: tuple[Count, ...] = (64,),
    cells: Count = 5,
    region_size: Count = 32,
    proposals: Count = 24,
    training_proposals: Count = 64,
) -> TwoStage:
    """The network of `model=two_stage`, see `TwoStage` and `Anchors`.

    Args:
        input_shape, classes, body, width, depth, strides, sizes, scales, ratios: as `retinanet` has them, of the first
            stage.
        hidden: the units of each hidden layer of the second stage.
        cells: the features of a region are cells x cells.
        region_size: the side in pixels from which on a region's features are those of the second level.
        proposals: of an image, at most so many are classified.
        training_proposals: and in training so many drawn from.

    Raises:
        UserError: other strides than those of the last stages, or not a size for each.
    """
    anchors = _anchors(body, strides, sizes, scales, ratios)
    first = (input_shape, classes, anchors, tuple(body), width, depth)
    return TwoStage(*first, tuple(hidden), cells, region_size, proposals, training_proposals)


def _anchors(
    body: tuple[int, ...],
    strides: tuple[int, ...],
    sizes: tuple[float, ...],
    scales: tuple[float, ...],
    ratios: tuple[float, ...],
) -> Anchors:
    of_body = tuple(2 ** (stage + 1) for stage in range(len(body)))
    if not strides or tuple(strides) != of_body[-len(strides) :]:
        raise UserError(
            what=f"model.strides is {show(strides)} with model.body={show(body)}",
            expected=f"the last ones of {show(of_body)}, the strides of the stages",
            hint=f"write model.strides=[{','.join(map(str, of_body[-3:]))}]",
        )
    if len(sizes) != len(strides):
        raise UserError(
            what=f"model.sizes is {show(sizes)} with model.strides={show(strides)}",
            expected="a size for each stride",
            hint=f"write model.sizes=[{','.join(str(2 * each) for each in strides)}]",
        )
    return Anchors(tuple(strides), tuple(sizes), tuple(scales), tuple(ratios))


def detection_focal(
    gamma: Annotated[float, Ge(0)] = 2.0,
    alpha: Annotated[float, Interval(ge=0, le=1)] | None = 0.25,
    box_weight: Annotated[float, Ge(0)] = 1.0,
) -> DetectionLoss:
    """The focal loss of dense detectors, with that of the boxes: see `DetectionLoss`."""
    return DetectionLoss(gamma, alpha, box_weight=box_weight)


def detection_cross_entropy(
    alpha: Annotated[float, Interval(ge=0, le=1)] | None = None,
    box_weight: Annotated[float, Ge(0)] = 1.0,
) -> DetectionLoss:
    """Alpha-balanced cross-entropy at every anchor and class, with the loss of the boxes: see `DetectionLoss`."""
    return DetectionLoss(0.0, alpha, box_weight=box_weight)


def detection_sampled(
    anchors: Count = 64,
    regions: Count = 32,
    positives: Annotated[float, Interval(gt=0, le=1)] = 0.25,
    box_weight: Annotated[float, Ge(0)] = 1.0,
) -> SampledLoss:
    """The losses of two stages at anchors and regions drawn by chance: see `SampledLoss`."""
    return SampledLoss(anchors, regions, positives, box_weight=box_weight)


def hard_anchors(
    iou_threshold: Annotated[float, Interval(ge=0, le=1)] = 1.0,
    examples: Count | None = None,
    negatives_per_positive: Positive | None = None,
) -> HardAnchors:
    """Which anchors of an image count, see `HardAnchors`.

    Raises:
        UserError: neither of the last two is given.
    """
    if examples is None and negatives_per_positive is None:
        raise UserError(
            what="mining=hard_anchors has neither mining.examples nor mining.negatives_per_positive",
            expected="at least one of them",
            hint="write mining.examples=64",
        )
    return HardAnchors(iou_threshold, examples, negatives_per_positive)
