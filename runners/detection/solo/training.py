"""A training on stock MindSpore, step by step: the oracle of the native one, and what trains without a compiler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.runners.detection.training import Training
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.portable.objects.detections import Detections

PREDICTED_IMAGES = 32


class SoloTraining(ABC):
    """One training on stock layers and optimizer."""

    def __init__(self, training: Training, cell: nn.Cell) -> None:
        # Steps of a small model wait for the next one's launch otherwise.
        ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)
        self.training = training
        self.cell = cell
        self.load(training.initial)
        self._anchors = training.network.anchor_boxes
        self._optimizer = training.optimizer.stock(list(self.cell.trainable_params()))

        def forward(images: Tensor, *learnt: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
            losses = self._losses(images, *learnt)
            return losses[0] + losses[1], *losses

        self._value_and_gradient = ms.value_and_grad(forward, None, self._optimizer.parameters, has_aux=True)

    @abstractmethod
    def _learnt(self, images: Tensor, rows: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, ...]:
        """What is learnt of training images, by their rows; a gradient goes through none of it."""

    @abstractmethod
    def _losses(self, images: Tensor, *learnt: np.ndarray) -> tuple[Tensor, Tensor]:
        """The losses of classes and of boxes."""

    @abstractmethod
    def detect(self, images: np.ndarray) -> list[Detections]:
        """The objects found in each of images (N, channels, height, width) uint8."""

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Train for an epoch, counted from 0; returns the mean losses of classes and boxes."""
        training = self.training
        losses = []
        for step, rows in enumerate(training.batches(epoch)):
            first = step * training.batch_size
            images = self._images(training.images[rows])
            learnt = self._learnt(images, rows, training.seeds[epoch, first : first + len(rows)])
            ops.assign(self._optimizer.param_groups[0]["lr"], Tensor(training.rates[epoch, step], ms.float32))
            (_, *own), gradients = self._value_and_gradient(images, *learnt)
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

    def parameters(self) -> list[Parameters]:
        """The parameters of each layer."""
        arrays = [parameter.asnumpy() for parameter in self.cell.trainable_params()]
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    def load(self, parameters: Sequence[Parameters]) -> None:
        """Takes the parameters of each layer; of one that is trained, to look at images alone."""
        arrays = [each for own in parameters for each in own]
        for parameter, array in zip(self.cell.trainable_params(), arrays, strict=True):
            parameter.set_data(Tensor(array))

    def _images(self, images: np.ndarray) -> Tensor:
        mean, factor = self.training.standardisation.reshape(2, *images.shape[1:])
        return Tensor((images - mean) * factor)

    def _blocks(self, images: np.ndarray) -> Iterator[Tensor]:
        """Few of the images at a time."""
        for start in range(0, len(images), PREDICTED_IMAGES):
            yield self._images(images[start : start + PREDICTED_IMAGES])


def smooth_l1(found: Tensor, targets: np.ndarray, beta: float) -> Tensor:
    """The sum over the last axis of d^2 / (2 beta) of each difference d up to beta, of |d| - beta / 2 beyond."""
    size = ops.abs(found - Tensor(targets))
    near = ops.minimum(size, beta)
    return (near * near / (2 * beta) + size - near).sum(-1)
