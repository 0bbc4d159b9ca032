"""A detector of two stages on stock MindSpore."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.runners.detection.objective import SampledLoss
from lossfleet.runners.detection.sampling import sampled_anchors, sampled_regions
from lossfleet.runners.detection.solo.cell import RetinaNetCell
from lossfleet.runners.detection.solo.training import SoloTraining, smooth_l1
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.portable.objects.decoding import region_detections
from lossfleet.runners.portable.objects.detections import NOTHING, Detections
from lossfleet.runners.portable.objects.regions import level_of, proposals, shares


class TwoStageCell(nn.Cell):
    """The network on stock layers."""

    def __init__(self, network: TwoStage) -> None:
        super().__init__()
        self.network = network
        self.proposer = RetinaNetCell(network.proposer)
        self.dense = nn.CellList([each.stock() for each in network.dense])

    def construct(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The pyramid, and of every anchor the logit (B, A) of an object and deltas (B, A, 4)."""
        levels = self.proposer.levels(images)
        logits, deltas = self.proposer.of_levels(levels)
        return levels, logits.squeeze(-1), deltas

    def classified(
        self, levels: Sequence[Tensor], images: np.ndarray, boxes: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """The second stage: logits (R, C + 1), the last of no object, and scaled deltas (R, 4) of regions.

        Args:
            levels: of the pyramid.
            images, boxes: (R,), which image of the batch, and (R, 4).
        """
        network, features = self.network, 0.0
        at = level_of(boxes, network.region_size, len(levels))
        for number, (level, stride) in enumerate(zip(levels, network.anchors.strides, strict=True)):
            left, top, right, bottom = boxes.T
            height, width = level.shape[2:]
            rows = shares(top, bottom, stride=stride, pixels=height, cells=network.cells)
            columns = shares(left, right, stride=stride, pixels=width, cells=network.cells)
            # What is pooled from another level counts for nothing here.
            rows = rows * (at == number)[:, None, None]
            of_images = level[Tensor(images, ms.int32)]
            pooled = ops.matmul(Tensor(rows)[:, None], of_images)
            features = features + ops.matmul(pooled, Tensor(columns.transpose(0, 2, 1).copy())[:, None])
        x = ops.reshape(ops.transpose(features, (0, 2, 3, 1)), (len(boxes), -1))
        for layer in self.dense[:-1]:
            x = ops.relu(layer(x))
        x = self.dense[-1](x)
        return x[:, :-4], x[:, -4:]


class SoloTwoStage(SoloTraining):
    """One training of `TwoStage` on stock layers and optimizer."""

    cell: TwoStageCell

    def __init__(self, training: Training) -> None:
        assert isinstance(training.network, TwoStage)
        assert isinstance(training.loss, SampledLoss)
        self._network, self._loss = training.network, training.loss
        self._targets = training.targets.of_any_class
        super().__init__(training, TwoStageCell(training.network))

    def _learnt(self, images: Tensor, rows: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of the anchors labels, targets and which count; of the regions images, boxes, labels and targets."""
        labels, targets = self._targets.dense(rows, len(self._anchors))
        counts = np.zeros(labels.shape, np.float32)
        for own, of_image, seed in zip(counts, labels, seeds, strict=True):
            own[sampled_anchors(self._loss, of_image, int(seed))] = 1
        _, logits, deltas = self.cell(images)
        regions = []
        for place, (row, seed) in enumerate(zip(rows, seeds, strict=True)):
            found = self._proposals(logits[place], deltas[place], self._network.training_proposals)
            objects = self.training.objects.of_image(row)
            of_image = sampled_regions(
                self._loss, found, *objects, len(self._anchors), int(seed), self._network.classes
            )
            regions.append((np.full(len(of_image[0]), place), *of_image))
        return labels, targets, counts, *(np.concatenate(each) for each in zip(*regions, strict=True))

    def _losses(self, images: Tensor, *learnt: np.ndarray) -> tuple[Tensor, Tensor]:
        loss = self._loss
        labels, targets, counts, of_regions, boxes, region_labels, region_targets = learnt
        levels, logits, deltas = self.cell(images)
        is_object = Tensor((labels == 0).astype(np.float32))
        against = logits * (1 - 2 * is_object)
        of_anchors = ops.relu(against) + ops.log(1 + ops.exp(-ops.abs(against)))
        smooth = smooth_l1(deltas, targets, loss.beta)
        share = 1 / (loss.anchors * len(labels))
        of_classes = share * (of_anchors * Tensor(counts)).sum()
        of_boxes = share * (smooth * Tensor(counts) * is_object).sum()
        if not len(boxes):
            return of_classes, loss.box_weight * of_boxes
        region_logits, region_deltas = self.cell.classified(levels, of_regions, boxes)
        is_class = Tensor((region_labels[:, None] == np.arange(region_logits.shape[1])).astype(np.float32))
        is_on_object = Tensor((region_labels < self._network.classes).astype(np.float32))
        share = 1 / (loss.regions * len(labels))
        of_classes = of_classes - share * (ops.log_softmax(region_logits, -1) * is_class).sum()
        smooth = smooth_l1(region_deltas, region_targets, 1.0)
        return of_classes, loss.box_weight * (of_boxes + share * (smooth * is_on_object).sum())

    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""
        network, found = self._network, []
        for block in self._blocks(images):
            levels, logits, deltas = self.cell(block)
            for place in range(len(block)):
                boxes = self._proposals(logits[place], deltas[place], network.proposals)
                if not len(boxes):
                    found.append(NOTHING)
                    continue
                said, moved = self.cell.classified(levels, np.full(len(boxes), place), boxes)
                of_image = (said.asnumpy()[None], moved.asnumpy()[None], boxes[None])
                found += region_detections(*of_image, network.image_shape)
        return found

    def _proposals(self, logits: Tensor, deltas: Tensor, most: int) -> np.ndarray:
        """Of an image."""
        return proposals(logits.asnumpy(), deltas.asnumpy(), self._anchors, self._network.image_shape, most)
