"""A detector on stock MindSpore, step by step: the oracle of the native one, and what trains without a compiler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.losses.detection import nms_mask
from lossfleet.losses.mining import hard_example_mask_ratio, highest
from lossfleet.losses.sigmoid import sigmoid_focal_loss
from lossfleet.runners.detection.anchors import IGNORED
from lossfleet.runners.detection.decoding import detections
from lossfleet.runners.detection.detections import Detections
from lossfleet.runners.detection.objective import DetectionLoss, HardAnchors
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.training import Training, standardisation
from lossfleet.runners.models.images import Convolution
from lossfleet.runners.models.initial import Parameters

PREDICTED_IMAGES = 32


class RetinaNetCell(nn.Cell):
    """The network on stock layers: of images (B, channels, height, width) logits (B, A, C) and deltas (B, A, 4)."""

    def __init__(self, network: RetinaNet) -> None:
        super().__init__()
        self.network = network
        self.body = _cells(network.body_convolutions)
        self.lateral = _cells(network.lateral_convolutions)
        self.classes = _cells(network.head_convolutions(network.classes))
        self.boxes = _cells(network.head_convolutions(4))

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        stages = []
        for convolution in self.body:
            images = ops.relu(convolution(images))
            stages.append(images)
        levels: list[Tensor] = []
        for convolution, stage in zip(self.lateral[::-1], stages[::-1], strict=False):
            level = convolution(stage)
            if levels:
                level = level + _doubled(levels[0], level.shape[2:])
            levels.insert(0, level)
        logits = [_of_anchors(_head(self.classes, level), self.network.classes) for level in levels]
        deltas = [_of_anchors(_head(self.boxes, level), 4) for level in levels]
        return ops.cat(logits, axis=1), ops.cat(deltas, axis=1)

    def load(self, parameters: Sequence[Parameters]) -> None:
        """Takes the parameters of each convolution."""
        arrays = [each for own in parameters for each in own]
        for parameter, array in zip(self.trainable_params(), arrays, strict=True):
            parameter.set_data(Tensor(array))

    def parameters(self) -> list[Parameters]:
        """The parameters of each convolution."""
        arrays = [parameter.asnumpy() for parameter in self.trainable_params()]
        return list(zip(arrays[::2], arrays[1::2], strict=True))


def _cells(convolutions: Sequence[Convolution]) -> nn.CellList:
    return nn.CellList([each.stock() for each in convolutions])


def _head(convolutions: nn.CellList, x: Tensor) -> Tensor:
    for convolution in convolutions[:-1]:
        x = ops.relu(convolution(x))
    return convolutions[-1](x)


def _doubled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Each pixel twice in each direction, up to a size."""
    doubled = ops.repeat_interleave(ops.repeat_interleave(x, 2, 2), 2, 3)
    return doubled[:, :, : size[0], : size[1]]


def _of_anchors(x: Tensor, numbers: int) -> Tensor:
    """(B, anchors of a place x numbers, rows, columns) as (B, A, numbers)."""
    return ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (x.shape[0], -1, numbers))


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
    size = ops.abs(deltas - Tensor(targets))
    near = ops.minimum(size, loss.beta)
    smooth = near * near / (2 * loss.beta) + size - near
    of_boxes = loss.box_weight * (smooth.sum(-1) * positive).sum() / total
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


class SoloDetector:
    """One training on stock layers and optimizer."""

    def __init__(self, training: Training) -> None:
        # Steps of a small model wait for the next one's launch otherwise.
        ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)
        self.training = training
        self.cell = RetinaNetCell(training.network)
        self.cell.load(training.initial)
        self._standardisation = standardisation(training.images)
        self._anchors = training.network.anchor_boxes
        self._optimizer = training.optimizer.stock(list(self.cell.trainable_params()))

        def forward(images: Tensor, labels: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
            logits, deltas = self.cell(images)
            losses = batch_loss(training.loss, logits, deltas, labels, targets, self._anchors)
            return losses[0] + losses[1], *losses

        self._value_and_gradient = ms.value_and_grad(forward, None, self._optimizer.parameters, has_aux=True)

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Train for an epoch, counted from 0; returns the mean losses of classes and boxes."""
        training = self.training
        losses = []
        for step, rows in enumerate(training.batches(epoch)):
            labels, targets = training.targets.dense(rows, len(self._anchors))
            ops.assign(self._optimizer.param_groups[0]["lr"], Tensor(training.rates[epoch, step], ms.float32))
            (_, *own), gradients = self._value_and_gradient(
                self._images(training.images[rows]), labels, targets
            )
            if training.clip_norm is not None:
                gradients = ops.clip_by_global_norm(gradients, training.clip_norm)
            self._optimizer(gradients)
            losses.append([float(each.asnumpy()) for each in own])
        classes, boxes = np.mean(losses, axis=0)
        return float(classes), float(boxes)

    def train(self) -> Iterator[tuple[float, float]]:
        """Train for all epochs, yielding the losses of each."""
        for epoch in range(len(self.training.plan)):
            yield self.train_epoch(epoch)

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, A, C) and deltas (N, A, 4) of images (N, channels, height, width) uint8."""
        found = []
        for start in range(0, len(images), PREDICTED_IMAGES):
            logits, deltas = self.cell(self._images(images[start : start + PREDICTED_IMAGES]))
            found.append((logits.asnumpy(), deltas.asnumpy()))
        logits, deltas = zip(*found, strict=True)
        return np.concatenate(logits), np.concatenate(deltas)

    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""
        network = self.training.network
        return detections(*self.predict(images), self._anchors, network.image_shape)

    def parameters(self) -> list[Parameters]:
        """The parameters of each convolution."""
        return self.cell.parameters()

    def load(self, parameters: Sequence[Parameters]) -> None:
        """Takes the parameters of each convolution; to look at images, not to train on."""
        self.cell.load(parameters)

    def _images(self, images: np.ndarray) -> Tensor:
        mean, factor = self._standardisation.reshape(2, *images.shape[1:])
        return Tensor((images - mean) * factor)
