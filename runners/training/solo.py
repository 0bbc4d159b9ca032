"""Solo training: one replicate on stock MindSpore layers and optimizer, step by step.

It is the oracle of the fleet: both share data, split, index plan and what the parts say, but not layers, the form of
the loss, optimizer or loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.conf.schema import Config
from lossfleet.runners.models.build import build_cell
from lossfleet.runners.models.dropout import dropout_seeds
from lossfleet.runners.models.layers import Dropout, Layer
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import (
    Mixture,
    Replicate,
    dropout_masks,
    learning_rates,
    mixture,
    seeds_of_dropouts,
)


class StockModel(nn.Cell):
    """The stock form of a list of layers: logits (B, C) of examples (B, F)."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.CellList([layer.stock() for layer in layers])
        self.drops = [isinstance(layer, Dropout) for layer in layers]

    def construct(self, examples: Tensor, masks: tuple[Tensor, ...] = ()) -> Tensor:
        """Logits; `masks`, a mask (B, units) for each dropout, drops units."""
        dropouts = 0
        for index, layer in enumerate(self.layers):
            examples = layer(examples)
            if masks and self.drops[index]:
                examples = examples * ops.reshape(masks[dropouts], examples.shape)
                dropouts += 1
        return examples

    def load(self, parameters: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Set the parameters of all layers, in the order in which each has them."""
        for layer, arrays in zip(self.layers, parameters, strict=True):
            for parameter, values in zip(layer.trainable_params(), arrays, strict=True):
                parameter.set_data(Tensor(values))


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
    cell = initial_cell(replicate) if cell is None else cell
    optimizer = replicate.config.optimizer.call().stock(list(cell.trainable_params()))
    loss_of_batch: Callable[..., Tensor]

    def forward(
        examples: Tensor, labels: tuple[Tensor, ...], weights: tuple[Tensor, ...], *masks: tuple[Tensor, ...]
    ) -> Tensor:
        logits = cell(examples, *masks)
        loss = loss_of_batch(logits, labels[0], *weights[:1])
        return loss + loss_of_batch(logits, labels[1], weights[1]) if len(labels) == 2 else loss

    value_and_gradient = ms.value_and_grad(forward, None, optimizer.parameters)
    rates = learning_rates(replicate)
    seeds = dropout_seeds(cell)
    progress = Progress(cell)
    cell.set_train(True)
    for epoch, order in enumerate(replicate.plan):
        losses = []
        loss_of_batch = batch_loss(replicate.config, replicate.given_at(epoch))
        mixed = None if replicate.config.mixing.target is None else mixture(replicate, epoch)
        seeds_of_epoch = seeds_of_dropouts(replicate, epoch, len(seeds))
        for step, (rows, masks) in enumerate(_batches(replicate, order, epoch)):
            ops.assign(optimizer.param_groups[0]["lr"], Tensor(rates[epoch, step], ms.float32))
            for seed, value in zip(seeds, seeds_of_epoch[step], strict=True):
                ops.assign(seed, Tensor(value, ms.int32))
            loss, gradients = value_and_gradient(*_batch(replicate, rows, mixed, step), *masks)
            optimizer(gradients)
            losses.append(float(loss.asnumpy()))
        progress.training_loss.append(float(np.mean(losses)))
        yield progress


def initial_cell(replicate: Replicate) -> nn.Cell:
    """The model of a replicate on stock layers with its initial parameters, or the user's cell, made from its seed."""
    if replicate.layers is None:
        ms.set_seed(replicate.seed)
        features, image_shape = replicate.features.shape[1], replicate.split.image_shape
        return build_cell(replicate.config.model, features, replicate.classes, image_shape)
    cell = StockModel(replicate.layers)
    cell.load(replicate.initial)
    return cell


def _batch(
    replicate: Replicate, rows: np.ndarray, mixed: Mixture | None, step: int
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The examples of a batch, their labels (B,), two where they are mixed, and what each label weighs, if not 1."""
    features, labels, weights = replicate.features[rows], replicate.labels[rows], replicate.weights
    if mixed is None:
        return Tensor(features), (Tensor(labels),), () if weights is None else (Tensor(weights[rows]),)
    first = step * replicate.config.batch_size
    partners = mixed.partners[first : first + len(rows)]
    of_features, of_label = mixed.shares[:, first : first + len(rows)]
    features = of_features[:, None] * features + (1 - of_features[:, None]) * replicate.features[partners]
    shares = (of_label, 1 - of_label)
    if weights is not None:
        shares = (weights[rows] * of_label, weights[partners] * (1 - of_label))
    both = (Tensor(labels), Tensor(replicate.labels[partners]))
    return Tensor(features), both, (Tensor(shares[0]), Tensor(shares[1]))


def batch_loss(config: Config, given: Mapping[str, np.ndarray]) -> Callable[..., Tensor]:
    """The configured loss of a batch, reduced as every strategy's is: the mean over the examples that count.

    Args:
        config: its loss and mining.
        given: what the loss is given, see `given_to_loss`.

    Returns:
        A function of logits (B, C), labels (B,) int32 and perhaps weights (B,) of examples that returns a scalar.
    """
    objective = Objective.of(config.loss, config.mining, stacked=False)
    numbers = objective.numbers(config.loss, config.mining)
    known = {name: Tensor(given[name][None]) for name in objective.given}

    def loss_of_batch(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        # Losses are written for the logits (K, C, B) of K models.
        logits, labels = ops.expand_dims(logits.T, 0), ops.expand_dims(labels, 0)
        own = iter(numbers)
        settings = {
            name: Tensor(np.full(labels.shape, next(own), np.float32)) for name in objective.loss.numbers
        }
        if objective.by_valid:
            settings["valid"] = ops.ones(labels.shape, ms.float32)
        losses = objective.loss.function(
            logits, labels, **dict(objective.loss.constants), **settings, **known
        )
        if weights is not None:
            losses = losses * weights
        if objective.mining is None:
            return losses.mean()
        settings = {name: Tensor([float(next(own))], ms.float32) for name in objective.mining.numbers}
        if objective.mines_by_label:
            settings["labels"] = labels
        mask = objective.mining.function(
            ops.stop_gradient(losses),
            valid=ops.ones_like(losses),
            **dict(objective.mining.constants),
            **settings,
        )
        return (losses * mask).sum() / mask.sum()

    return loss_of_batch


def _batches(
    replicate: Replicate, order: np.ndarray, epoch: int
) -> Iterator[tuple[np.ndarray, tuple[tuple[Tensor, ...], ...]]]:
    """The rows of each batch, and the dropout masks (B, width) of its layers if there are any."""
    batch_size = replicate.config.batch_size
    drops = replicate.layers is not None and any(isinstance(layer, Dropout) for layer in replicate.layers)
    by_layer = dropout_masks(replicate, epoch) if drops else []
    for step in range(replicate.steps):
        rows = order[step * batch_size : (step + 1) * batch_size]
        masks = tuple(Tensor(np.ascontiguousarray(mask[step][:, : len(rows)].T)) for mask in by_layer)
        yield rows, (masks,) if masks else ()
