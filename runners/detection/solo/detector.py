"""A detector of one stage on stock MindSpore."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from lossfleet.losses.detection import nms_mask
from lossfleet.losses.mining import hard_example_mask_ratio, highest
from lossfleet.losses.sigmoid import sigmoid_focal_loss
from lossfleet.runners.detection.anchors import IGNORED
from lossfleet.runners.detection.objective import DetectionLoss, HardAnchors
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.solo.cell import RetinaNetCell
from lossfleet.runners.detection.solo.training import SoloTraining, smooth_l1
from lossfleet.runners.detection.training import Training
from lossfleet.runners.portable.objects.decoding import detections
from lossfleet.runners.portable.objects.detections import Detections


def batch_loss(
    loss: DetectionLoss,
    logits: Tensor,
    deltas: Tensor,
    labels: np.ndarray,
    targets: np.ndarray,
    anchors: np.ndarray,
) -> tuple[Tensor, Tensor]:
    """The losses of the classes and of the boxes of a batch, see DetectionLoss.

    Args:
        loss: which one.
        logits, deltas: (B, A, C) and (B, A, 4).
        labels, targets: (B, A) and (B, A, 4), see Targets.dense.
        anchors: (A, 4).
    """
    is_there = Tensor((labels[..., None] == np.arange(logits.shape[2])).astype(np.float32))
    counts, positive = (
        Tensor((labels != IGNORED).astype(np.float32)),
        Tensor((labels >= 0).astype(np.float32)),
    )
    total = max(1, int((labels >= 0).sum()))
    of_anchors = sigmoid_focal_loss(logits, is_there, gamma=loss.gamma, alpha=loss.alpha).sum(-1)
    if loss.mining is not None:
        counts = chosen(loss.mining, of_anchors, positive, counts, anchors)
    of_boxes = loss.box_weight * (smooth_l1(deltas, targets, loss.beta) * positive).sum() / total
    return (of_anchors * counts).sum() / total, of_boxes


def chosen(
    mining: HardAnchors, losses: Tensor, positive: Tensor, valid: Tensor, anchors: np.ndarray
) -> Tensor:
    """1 for the anchors (B, A) that mining keeps, 0 for the others.

    Args:
        mining: how.
        losses, positive, valid: (B, A); the latter two 1 or 0, valid 0 for ignored anchors.
        anchors: (A, 4).
    """
    # Ignored anchors come last, and leave none out.
    losses = ops.stop_gradient(losses) * valid
    left = valid
    if mining.iou_threshold < 1:
        boxes = Tensor(np.broadcast_to(anchors, (*losses.shape, 4)).copy())
        left = nms_mask(losses, boxes, iou_threshold=mining.iou_threshold) * valid
    examples = losses.shape[1] if mining.examples is None else mining.examples
    if mining.negatives_per_positive is None:
        return highest(losses, left, ops.full(losses.shape[:1], examples, dtype=ms.float32))
    room = int(np.float32(examples) / np.float32(1 + mining.negatives_per_positive))
    positives = highest(losses, left * positive, ops.full(losses.shape[:1], room, dtype=ms.float32))
    candidates = left * (1 - positive) + positives
    return hard_example_mask_ratio(
        losses, positive, negatives_per_positive=mining.negatives_per_positive, valid=candidates
    )


class SoloDetector(SoloTraining):
    """One training of RetinaNet on stock layers and optimizer."""

    cell: RetinaNetCell

    def __init__(self, training: Training) -> None:
        assert isinstance(training.network, RetinaNet)
        assert isinstance(training.loss, DetectionLoss)
        self._loss = training.loss
        super().__init__(training, RetinaNetCell(training.network))

    def _learnt(self, images: Tensor, rows: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, ...]:
        return self.training.targets.dense(rows, len(self._anchors))

    def _losses(self, images: Tensor, *learnt: np.ndarray) -> tuple[Tensor, Tensor]:
        logits, deltas = self.cell(images)
        labels, targets = learnt
        return batch_loss(self._loss, logits, deltas, labels, targets, self._anchors)

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, A, C) and deltas (N, A, 4) of images (N, channels, height, width) uint8."""
        found = [[each.asnumpy() for each in self.cell(block)] for block in self._blocks(images)]
        logits, deltas = zip(*found, strict=True)
        return np.concatenate(logits), np.concatenate(deltas)

    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""
        return detections(*self.predict(images), self._anchors, self.training.network.image_shape)
