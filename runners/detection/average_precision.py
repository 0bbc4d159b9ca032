"""COCO's average precision, by faster-coco-eval, whose numbers are those of pycocotools in an eighth of its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.portable.objects.boxes import area
from lossfleet.runners.portable.objects.detections import Detections

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
# Of these the best count, of each class in an image.
MOST_DETECTIONS = 100


def average_precision(found: Sequence[Detections], scenes: Scenes) -> dict[str, float]:
    """The `averages` of what was found in scenes.

    Args:
        found: of each scene.
        scenes: with the true boxes.
    """
    return averages(precision_at_recall(found, scenes), scenes.class_names)


def averages(precision: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Mean precision over recalls and classes: AP over all thresholds of IoU, AP50 and AP75 at .5 and .75.

    Args:
        precision: as `precision_at_recall` gives it.
        class_names: C of them.

    Returns:
        `ap`, `ap50`, `ap75` and `ap_NAME` of each class, in 0..1. Classes without an object have NaN and count in no
        mean; without any object all are NaN.

    Reference: Lin et al. 2014, arXiv 1405.0312; cocodataset.org/#detection-eval.
    """
    of_classes = class_average_precisions(precision)
    return {
        "ap": mean_average_precision(precision),
        "ap50": mean_average_precision(precision, iou=0.5),
        "ap75": mean_average_precision(precision, iou=0.75),
        **{f"ap_{name}": float(each) for name, each in zip(class_names, of_classes, strict=True)},
    }


def mean_average_precision(
    precision_curves: np.ndarray, iou: Annotated[float, Interval(ge=0.5, le=0.95)] | None = None
) -> float:
    """The mean of precision over recalls and classes with objects; NaN without any object.

    Args:
        precision_curves: as `precision_at_recall` gives them.
        iou: the threshold, the nearest of `IOU_THRESHOLDS`; None for the mean over all.
    """
    own = precision_curves if iou is None else precision_curves[[np.abs(IOU_THRESHOLDS - iou).argmin()]]
    # NaN along the axis of classes alone.
    with_objects = own[:, :, ~np.isnan(own[0, 0])]
    return float(with_objects.mean()) if with_objects.size else np.nan


def class_average_precisions(precision_curves: np.ndarray) -> np.ndarray:
    """The mean of precision over thresholds and recalls, (C,); NaN for a class without an object.

    Args:
        precision_curves: as `precision_at_recall` gives them.
    """
    return precision_curves.mean(axis=(0, 1))


def precision_at_recall(found: Sequence[Detections], scenes: Scenes) -> np.ndarray:
    """The largest precision that is reached at a recall or above it: curves of precision and recall.

    A detection is right if its IoU with an object of its class that no surer detection took is at least the threshold.

    Args: as `average_precision` has them.

    Returns:
        (10, 101, C): by `IOU_THRESHOLDS`, `RECALLS` and class, in 0..1; NaN for a class without an object.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    def indexed(annotations: Iterator[dict[str, Any]]) -> COCO:
        """As COCO has them; numbers begin with 1, since the object 0 would count as not found."""
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(len(scenes))],
            "categories": [{"id": label} for label in range(len(scenes.class_names))],
            "annotations": [
                {"id": number, "iscrowd": 0, **each} for number, each in enumerate(annotations, start=1)
            ],
        }
        coco.createIndex()
        return coco

    evaluation = COCOeval_faster(indexed(_objects(scenes)), indexed(_finds(found, len(scenes))), "bbox")
    evaluation.params.iouThrs = IOU_THRESHOLDS
    evaluation.params.recThrs = RECALLS
    evaluation.params.maxDets = [MOST_DETECTIONS]
    # Objects of all sizes together.
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]
    return np.where(precision < 0, np.nan, precision)


def _objects(scenes: Scenes) -> Iterator[dict[str, Any]]:
    for image, (boxes, labels) in enumerate(zip(scenes.boxes, scenes.labels, strict=True)):
        for box, label in zip(_from_corners(boxes), labels.tolist(), strict=True):
            yield {"image_id": image, "category_id": label, **box}


def _finds(found: Sequence[Detections], count: int) -> Iterator[dict[str, Any]]:
    for image, each in zip(range(count), found, strict=True):
        for box, label, score in zip(
            _from_corners(each.boxes), each.labels.tolist(), each.scores.tolist(), strict=True
        ):
            yield {"image_id": image, "category_id": label, "score": score, **box}


def _from_corners(boxes: np.ndarray) -> Iterator[dict[str, Any]]:
    """Boxes as COCO has them: corner, width, height."""
    boxes = boxes.astype(np.float64)
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return (
        {"bbox": side, "area": own} for side, own in zip(sides.tolist(), area(boxes).tolist(), strict=True)
    )
