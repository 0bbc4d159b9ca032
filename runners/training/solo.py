"""Solo training: one replicate on stock MindSpore layers and optimizer, any nn.Cell.

It is the oracle of the fleet: both share data, split and index plan, but not layers, optimizer or loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.experimental import optim

from lossfleet.conf.schema import Config, Model
from lossfleet.losses import (
    hard_example_mask,
    hard_example_mask_ratio,
    softmax_cross_entropy,
    softmax_focal_loss,
)
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.training.replicate import Replicate, dropout_masks


class MLP(nn.Cell):
    """A multilayer perceptron of stock layers: logits (B, C) of examples (B, F)."""

    def __init__(self, model: Model, features: int, classes: int) -> None:
        super().__init__()
        sizes = (features, *model.widths, classes)
        self.layers = nn.CellList([nn.Dense(inputs, out) for inputs, out in pairwise(sizes)])
        self.activation = nn.ReLU()

    def construct(self, examples: Tensor, masks: tuple[Tensor, ...] = ()) -> Tensor:
        """Logits; `masks`, a mask (B, width) for each hidden layer, drops units."""
        for index, layer in enumerate(self.layers):
            examples = layer(examples)
            if index < len(self.layers) - 1:
                examples = self.activation(examples)
                if masks:
                    examples = examples * masks[index]
        return examples

    def load(self, parameters: Parameters) -> None:
        """Set the weights (out, in) and biases (out,) of all layers."""
        for layer, (weight, bias) in zip(self.layers, parameters, strict=True):
            layer.weight.set_data(Tensor(weight))
            layer.bias.set_data(Tensor(bias))


@dataclass
class Progress:
    """What a solo run has learned so far: the mean training loss of each epoch, and logits on demand."""

    cell: nn.Cell
    training_loss: list[float] = field(default_factory=list)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits (C, N) of features (N, F)."""
        self.cell.set_train(False)
        logits = self.cell(Tensor(features)).asnumpy().T
        self.cell.set_train(True)
        return logits


def train_solo(replicate: Replicate, cell: nn.Cell | None = None) -> Iterator[Progress]:
    """Train a replicate, yielding after every epoch.

    Args:
        replicate: what to train on.
        cell: any cell that gives logits (B, C) of examples (B, F), trained from the parameters it has;
            None is the configuration's model from the replicate's initial parameters.

    Yields:
        The progress, once an epoch.
    """
    # Steps of a small model wait for the next one's launch otherwise: 35 ms a step instead of 4.
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)
    config = replicate.config
    if cell is None:
        cell = MLP(config.model, replicate.features.shape[1], len(replicate.class_weight))
        cell.load(replicate.initial)
    optimizer = optim.AdamW(
        cell.trainable_params(),
        lr=config.optimizer.lr,
        betas=(config.optimizer.beta1, config.optimizer.beta2),
        eps=config.optimizer.epsilon,
        weight_decay=config.optimizer.weight_decay,
    )
    loss_of_batch = batch_loss(config, Tensor(replicate.class_weight))

    def forward(examples: Tensor, labels: Tensor, *masks: tuple[Tensor, ...]) -> Tensor:
        return loss_of_batch(cell(examples, *masks), labels)

    value_and_gradient = ms.value_and_grad(forward, None, optimizer.parameters)
    progress = Progress(cell)
    cell.set_train(True)
    for epoch, order in enumerate(replicate.plan):
        losses = []
        for rows, masks in _batches(replicate, order, epoch):
            loss, gradients = value_and_gradient(
                Tensor(replicate.features[rows]), Tensor(replicate.labels[rows]), *masks
            )
            optimizer(gradients)
            losses.append(float(loss.asnumpy()))
        progress.training_loss.append(float(np.mean(losses)))
        yield progress


def batch_loss(config: Config, class_weight: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The configured loss of a batch, reduced as every strategy's is: the mean over the examples that count.

    Args:
        config: the loss, `config.loss`.
        class_weight: (C,), mean 1 over the training examples.

    Returns:
        A function of logits (B, C) and labels (B,) int32 that returns a scalar.
    """
    loss: Any = config.loss

    def mean(logits: Tensor, labels: Tensor) -> Tensor:
        return (softmax_cross_entropy(logits, labels) * class_weight[labels]).mean()

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        return softmax_focal_loss(logits, labels, gamma=loss.gamma, class_weight=class_weight).mean()

    def hardest(logits: Tensor, labels: Tensor) -> Tensor:
        losses = softmax_cross_entropy(logits, labels)
        if loss.negatives_per_positive is None:
            mask = hard_example_mask(ops.stop_gradient(losses), keep=loss.keep)
        else:
            mask = hard_example_mask_ratio(
                ops.stop_gradient(losses), labels, negatives_per_positive=loss.negatives_per_positive
            )
        return (losses * mask).sum() / mask.sum()

    return {"focal": focal, "ohem": hardest}.get(loss.name, mean)


def _batches(
    replicate: Replicate, order: np.ndarray, epoch: int
) -> Iterator[tuple[np.ndarray, tuple[tuple[Tensor, ...], ...]]]:
    """The rows of each batch, and the dropout masks (B, width) of its hidden layers if there are any."""
    model, batch_size = replicate.config.model, replicate.config.batch_size
    all_masks = dropout_masks(replicate, epoch) if model.dropout > 0 else None
    for step in range(replicate.steps):
        rows = order[step * batch_size : (step + 1) * batch_size]
        if all_masks is None:
            yield rows, ()
            continue
        by_layer = np.split(all_masks[step][:, : len(rows)], np.cumsum(model.widths)[:-1])
        yield rows, (tuple(Tensor(np.ascontiguousarray(mask.T)) for mask in by_layer),)
