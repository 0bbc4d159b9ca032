"""Solo training: one replicate on stock MindSpore layers and optimizer, step by step.

It is the oracle of the fleet: both share data, split, index plan and what the parts say, but not layers, the form of
the loss, optimizer or loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.conf.schema import Config
from lossfleet.runners.images.pixels import Features
from lossfleet.runners.models.build import build_cell
from lossfleet.runners.models.dropout import dropout_seeds
from lossfleet.runners.models.export import MeanOfMembers
from lossfleet.runners.models.layers import Dropout
from lossfleet.runners.models.stock import StockModel
from lossfleet.runners.training.ensembles import members_of
from lossfleet.runners.training.epoch_rows import at_epoch
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import (
    Mixture,
    Replicate,
    dropout_masks,
    learning_rates,
    mixture,
    seeds_of_dropouts,
)
from lossfleet.runners.training.second_stages import (
    Rescaling,
    Retraining,
    first_replicate,
    second_replicate,
    second_stage_of,
)


@dataclass
class Progress:
    """What a solo run has learned so far: the mean training loss of each epoch, and logits on demand."""

    cell: nn.Cell
    training_loss: list[float] = field(default_factory=list)

    def logits(self, features: Features) -> np.ndarray:
        """Logits (C, N) of features (N, F)."""
        self.cell.set_train(False)
        logits = self.cell(Tensor(np.asarray(features))).asnumpy().T
        self.cell.set_train(True)
        return logits


class FrozenBody(nn.Cell):
    """Layers that stay as they are, and a head that is trained."""

    def __init__(self, body: StockModel, head: nn.Cell) -> None:
        super().__init__()
        self.body = body
        self.head = head
        for parameter in self.body.get_parameters():
            parameter.requires_grad = False

    def construct(self, examples: Tensor) -> Tensor:
        """Logits; dropout is off."""
        return self.head(ops.stop_gradient(self.body(examples)))


class RescaledLogits(nn.Cell):
    """A model whose logits are divided class by class."""

    def __init__(self, model: StockModel, stage: Rescaling) -> None:
        super().__init__()
        self.model = model
        self.stage = stage

    def construct(self, examples: Tensor) -> Tensor:
        """Logits."""
        divisors = self.stage.divisors(self.model.parameters_by_layer()[-1])
        return self.model(examples) / Tensor(divisors.astype(np.float32))


def train_solo(replicate: Replicate, cell: nn.Cell | None = None) -> Iterator[Progress]:
    """Train a replicate, yielding after every epoch.

    Args:
        replicate: what to train on.
        cell: any cell that gives logits (B, C) of examples (B, F), trained from the parameters it has;
            None is the configuration's model from the replicate's initial parameters.

    Yields:
        The progress, once an epoch.

    Raises:
        UserError: its second stage cannot work on its model.
    """
    if replicate.config.members > 1:
        for each in zip(*map(train_solo, members_of(replicate)), strict=True):
            cells = [member.cell for member in each]
            losses = np.mean([member.training_loss for member in each], axis=0)
            yield Progress(MeanOfMembers(cells, len(cells)), losses.tolist())
        return
    stage = second_stage_of(replicate.config)
    cell = initial_cell(replicate) if cell is None else cell
    if isinstance(stage, Retraining):
        yield from _train_stages(replicate, stage, cell)
    elif isinstance(stage, Rescaling):
        stage.check(replicate.layers)
        for progress in _train(replicate, cell):
            yield Progress(RescaledLogits(cell, stage), progress.training_loss)
    else:
        yield from _train(replicate, cell)


def _train_stages(replicate: Replicate, stage: Retraining, cell: nn.Cell) -> Iterator[Progress]:
    """The second stage trains a head behind the body of the first, whose parameters no optimizer is given."""
    stage.check(replicate.layers)
    assert isinstance(cell, StockModel)
    assert replicate.layers is not None
    for progress in _train(first_replicate(replicate, stage), cell):
        yield progress
    second = second_replicate(replicate, stage, replicate.split.train_features)
    kept = stage.kept(replicate.layers)
    body = StockModel(replicate.layers[:kept])
    body.load(cell.parameters_by_layer()[:kept])
    whole = FrozenBody(body, initial_cell(second))
    for of_second in _train(second, whole):
        yield Progress(whole, [*progress.training_loss, *of_second.training_loss])


def _train(replicate: Replicate, cell: nn.Cell) -> Iterator[Progress]:
    """Train a cell for all epochs of a replicate."""
    # Steps of a small model wait for the next one's launch otherwise: 35 ms a step instead of 4.
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)
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
    for epoch in range(len(replicate.plan)):
        now = at_epoch(replicate, epoch)
        losses = []
        loss_of_batch = batch_loss(replicate.config, replicate.given_at(epoch))
        mixed = None if replicate.config.mixing.target is None else mixture(now, epoch)
        seeds_of_epoch = seeds_of_dropouts(replicate, epoch, len(seeds))
        for step, (rows, masks) in enumerate(_batches(now, epoch)):
            ops.assign(optimizer.param_groups[0]["lr"], Tensor(rates[epoch, step], ms.float32))
            for seed, value in zip(seeds, seeds_of_epoch[step], strict=True):
                ops.assign(seed, Tensor(value, ms.int32))
            loss, gradients = value_and_gradient(*_batch(now, rows, mixed, step), *masks)
            if replicate.config.clip_norm is not None:
                gradients = ops.clip_by_global_norm(gradients, replicate.config.clip_norm)
            optimizer(gradients)
            losses.append(float(loss.asnumpy()))
        progress.training_loss.append(float(np.mean(losses)))
        yield progress


def initial_cell(replicate: Replicate) -> nn.Cell:
    """The model of a replicate on stock layers with its initial parameters, or the user's cell, made from its seed."""
    if replicate.layers is None:
        ms.set_seed(replicate.random_seed)
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


def _batches(replicate: Replicate, epoch: int) -> Iterator[tuple[np.ndarray, tuple[tuple[Tensor, ...], ...]]]:
    """The rows of each batch, and the dropout masks (B, width) of its layers if there are any."""
    batch_size = replicate.config.batch_size
    drops = replicate.layers is not None and any(isinstance(layer, Dropout) for layer in replicate.layers)
    by_layer = dropout_masks(replicate, epoch) if drops else []
    for step in range(replicate.steps):
        rows = replicate.plan[epoch, step * batch_size : (step + 1) * batch_size]
        masks = tuple(Tensor(np.ascontiguousarray(mask[step][:, : len(rows)].T)) for mask in by_layer)
        yield rows, (masks,) if masks else ()
