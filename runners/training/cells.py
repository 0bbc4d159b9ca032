"""Any nn.Cell as a model: replicates trained one by one, an epoch of each in turn, a whole epoch in one graph.

It takes the place of a fleet for a model that has no layers: the same slots, plans, learning rates and objective, so
that search, pruning and records are the same. All slots share one cell and its graph; each has parameters and moments
of its own, which are put into the cell for an epoch and taken out again.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from lossfleet.runners.models.dropout import dropout_seeds
from lossfleet.runners.models.stacked import to_tensor
from lossfleet.runners.training.epoch_rows import at_epoch
from lossfleet.runners.training.fleet import EVALUATED_ROWS
from lossfleet.runners.training.fusion import compiling
from lossfleet.runners.training.graphs import StackedObjective, at_step, clipping_factor, unstack
from lossfleet.runners.training.pool import Key
from lossfleet.runners.training.replicate import Replicate, learning_rates, mixture, seeds_of_dropouts
from lossfleet.runners.training.shape import CellShape
from lossfleet.runners.training.slots import Engine, Slots
from lossfleet.runners.training.solo import initial_cell


class CellEpoch(nn.Cell):
    """One epoch of one cell, the loop over the steps, the derivative and the optimizer included."""

    def __init__(self, shape: CellShape, cell: nn.Cell) -> None:
        super().__init__()
        self.cell = cell
        self.steps = shape.steps
        self.mixes, self.clips = shape.mixes, shape.clips
        self.objective = StackedObjective(shape.objective, 1, shape.batch_size)
        self.update = shape.optimizer.update
        self.weights = ParameterTuple(cell.trainable_params())
        self.first_moments = _zeros_like(self.weights, "first_moment")
        self.second_moments = _zeros_like(self.weights, "second_moment")
        self.seeds = dropout_seeds(cell)
        self.trainable = Tensor(np.ones((1, 1), np.float32))

    def loss(
        self,
        examples: Tensor,
        labels: Tensor,
        numbers: tuple[Tensor, ...],
        given: tuple[Tensor, ...],
        share: Tensor,
        partner_labels: Tensor | None,
        partner_share: Tensor | None,
    ) -> Tensor:
        """The loss of a batch; a method, since a closure cannot be derived."""
        logits = ops.expand_dims(ops.transpose(self.cell(examples), (1, 0)), 0)
        loss = (self.objective(logits, labels, numbers, given, share) * share).sum()
        if not self.mixes:
            return loss
        return (
            loss
            + (self.objective(logits, partner_labels, numbers, given, partner_share) * partner_share).sum()
        )

    def construct(
        self,
        step: Tensor,
        features: Tensor,
        plan: Tensor,
        labels: Tensor,
        shares: Tensor,
        numbers: Tensor,
        given: Tensor,
        coefficients: Tensor,
        clip_norm: Tensor,
        seeds: Tensor,
        *mixing: Tensor,
    ) -> Tensor:
        """The mean training loss; parameters and moments are changed in place.

        Args:
            step: int32 0; a Tensor, so that the loop is compiled as a loop.
            features: the training rows (rows, F).
            plan: (S, B) int32; labels, shares: (S, 1, B).
            numbers, given, coefficients, clip_norm: as in TrainEpoch.
            seeds: (S, D) int32, of the dropouts.
            mixing: where examples are mixed (S, B) int32, (S, 1, B) int32, (S, 1, B) and (S, B), as in TrainEpoch.
        """
        numbers, given, coefficients = unstack(numbers), unstack(given), unstack(coefficients)
        total = ops.zeros((), ms.float32)
        while step < self.steps:
            for index in range(len(self.seeds)):
                ops.assign(self.seeds[index], seeds[step][index])
            examples = ops.gather(features, plan[step], 0)
            of_partners, share_of_partners = None, None
            if self.mixes:
                own = ops.expand_dims(mixing[3][step], 1)
                examples = examples * own + ops.gather(features, mixing[0][step], 0) * (1.0 - own)
                of_partners, share_of_partners = mixing[1][step], mixing[2][step]
            loss, gradients = ms.value_and_grad(self.loss, None, self.weights)(
                examples, labels[step], numbers, given, shares[step], of_partners, share_of_partners
            )
            if self.clips:
                gradients = clipped(gradients, clip_norm)
            of_step = at_step(coefficients, step)
            for index in range(len(self.weights)):
                weight = self.weights[index]
                changed, first, second = self.update(
                    weight.reshape(1, -1),
                    self.first_moments[index].reshape(1, -1),
                    self.second_moments[index].reshape(1, -1),
                    gradients[index].reshape(1, -1),
                    of_step,
                    self.trainable,
                )
                ops.assign(weight, changed.reshape(weight.shape))
                ops.assign(self.first_moments[index], first.reshape(weight.shape))
                ops.assign(self.second_moments[index], second.reshape(weight.shape))
            total = total + loss
            step = step + 1
        return total / self.steps


class Cells(Slots):
    """Slots that train replicates of one cell, an epoch at a time."""

    def __init__(self, shape: CellShape, *, slots: int) -> None:
        """Args:
        shape: what all replicates have in common.
        slots: how many replicates are in training.
        """
        super().__init__(slots)
        self.shape = shape
        self._epoch: CellEpoch | None = None
        self._run: Any = None
        self._states: dict[int, list[np.ndarray]] = {}
        self._remembered: dict[int, list[np.ndarray]] = {}
        self._rates: dict[int, np.ndarray] = {}

    def engine(self, slot: int) -> Engine:
        """See Slots."""
        return "cell"

    def has_room(self, key: Key) -> bool:
        """True: replicates keep their own rows."""
        return True

    def enter(self, slot: int, replicate: Replicate) -> None:
        """See Slots."""
        self.require_free(slot)
        cell = initial_cell(replicate)
        if self._epoch is None:
            self._epoch = CellEpoch(self.shape, cell)
            self._run = ms.jit(self._epoch.construct)
        moments = 2 * len(self._epoch.weights)
        values = [each.asnumpy().copy() for each in cell.get_parameters()]
        zeros = [np.zeros(each.shape, np.float32) for each in self._all_parameters()[-moments:]]
        self._states[slot] = [*values, *zeros]
        self._rates[slot] = learning_rates(replicate)
        self.occupants[slot] = replicate
        self.epochs[slot] = 0

    def leave(self, slot: int) -> None:
        """See Slots."""
        self.occupants[slot] = None
        self._states.pop(slot, None)
        self._remembered.pop(slot, None)

    def train_epoch(self) -> np.ndarray:
        """See Slots."""
        losses = np.full(self.slots, np.nan)
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None:
                self._put_in(slot)
                losses[slot] = self._train(slot, occupant)
                self._states[slot] = [each.asnumpy().copy() for each in self._all_parameters()]
                self.epochs[slot] += 1
        return losses

    def logits(
        self, part: str, slots: Collection[int] | None = None, shuffled: tuple[int, ...] = ()
    ) -> np.ndarray:
        """See Slots."""
        assert self._epoch is not None
        cell = self._epoch.cell
        asked = self.taken_slots() if slots is None else slots
        rows = max(len(self.features(slot, part)) for slot in asked)
        logits = np.zeros((self.slots, self.shape.classes, rows), np.float32)
        cell.set_train(False)
        for slot in asked:
            self._put_in(slot)
            features = self.features(slot, part, shuffled)
            for first in range(0, len(features), EVALUATED_ROWS):
                piece = cell(Tensor(features[first : first + EVALUATED_ROWS])).asnumpy().T
                logits[slot, :, first : first + piece.shape[1]] = piece
        cell.set_train(True)
        return logits

    def remember(self, slots: Collection[int]) -> None:
        """See Slots."""
        # An epoch puts other arrays in their place.
        self._remembered |= {slot: self._states[slot] for slot in slots}

    def recall(self, slots: Collection[int]) -> None:
        """See Slots."""
        self._states |= {slot: self._remembered[slot] for slot in slots}

    def _all_parameters(self) -> list[Parameter]:
        """The cell's parameters, those of running statistics too, and the moments."""
        assert self._epoch is not None
        moments = [*self._epoch.first_moments, *self._epoch.second_moments]
        return [*self._epoch.cell.get_parameters(), *moments]

    def _put_in(self, slot: int) -> None:
        for parameter, values in zip(self._all_parameters(), self._states[slot], strict=True):
            # In place: the compiled graph does not see the memory that `set_data` gives a parameter.
            ops.assign(parameter, Tensor(values))

    def _train(self, slot: int, replicate: Replicate) -> float:
        """One epoch of what is in the cell; compiled, or step by step where the cell does not compile."""
        assert self._epoch is not None
        inputs = self._inputs(slot, replicate)
        self._epoch.cell.set_train(True)
        try:
            with compiling():
                return float(self._run(*inputs).asnumpy())
        except (RuntimeError, TypeError, ValueError, AttributeError, SyntaxError) as error:
            if self._run == self._epoch.construct:
                raise
            reason = str(error).strip().splitlines()[0]
            print(
                f"lossfleet: {replicate.config.model.target} does not compile and trains step by step, which is "
                f"slower: {reason}",
                file=sys.stderr,
                flush=True,
            )
            self._run = self._epoch.construct
            self._put_in(slot)
            return float(self._run(*inputs).asnumpy())

    def _inputs(self, slot: int, replicate: Replicate) -> tuple[Tensor, ...]:
        shape, epoch = self.shape, int(self.epochs[slot])
        replicate = at_epoch(replicate, epoch)
        order = replicate.plan[epoch]
        places = np.arange(shape.steps * shape.batch_size)
        # A ragged last batch is filled with examples that count nothing: batch normalisation sees real rows.
        plan = order[places % len(order)].reshape(shape.steps, -1).astype(np.int32)
        present = (places < len(order)).reshape(shape.steps, 1, -1)
        labels = replicate.labels[plan][:, None]
        weight = np.ones(labels.shape, np.float32)
        known = replicate.given_at(epoch)
        if shape.objective.times_class_weight:
            weight = known["class_weight"][labels]
        if replicate.weights is not None:
            weight = weight * replicate.weights[plan][:, None]
        count = present / present.sum(2, keepdims=True)
        shares = weight * count
        mixing: tuple[np.ndarray, ...] = ()
        if shape.mixes:
            mixed = mixture(replicate, epoch)
            turn = places % len(order)
            partners = mixed.partners[turn].reshape(shape.steps, -1)
            kept, of_label = mixed.shares[:, turn].reshape(2, shape.steps, 1, -1)
            of_partners = replicate.labels[partners][:, None]
            share = count * (1 - of_label)
            if shape.objective.times_class_weight:
                share = share * known["class_weight"][of_partners]
            if replicate.weights is not None:
                share = share * replicate.weights[partners][:, None]
            mixing = (partners, of_partners, share, kept[:, 0])
            shares = shares * of_label
        config = replicate.config
        numbers, given = shape.objective.packed(config.loss, config.mining, known, shape.batch_size)
        step = np.arange(1, shape.steps + 1)[:, None] + epoch * shape.steps
        assert self._epoch is not None
        dropouts = len(self._epoch.seeds)
        decay = np.array([config.optimizer["weight_decay"]])
        return (
            Tensor(0, ms.int32),
            to_tensor(np.asarray(replicate.features)),
            to_tensor(plan),
            to_tensor(labels),
            to_tensor(shares.astype(np.float32)),
            to_tensor(numbers[:, None]),
            to_tensor(given[:, None]),
            to_tensor(shape.optimizer.packed(self._rates[slot][epoch][:, None], decay, step)),
            to_tensor(np.full((1, 1), config.clip_norm or 1.0, np.float32)),
            # One column at least: a graph takes no empty array.
            to_tensor(seeds_of_dropouts(replicate, epoch, max(1, dropouts))),
            *map(to_tensor, mixing),
        )


def clipped(gradients: tuple[Tensor, ...], clip_norm: Tensor) -> tuple[Tensor, ...]:
    """The gradients of all parameters, together no longer than `clip_norm` (1, 1)."""
    square = ops.zeros_like(clip_norm)
    for index in range(len(gradients)):
        square = square + (gradients[index] * gradients[index]).sum()
    factor = clipping_factor(square, clip_norm)
    found: tuple[Tensor, ...] = ()
    for index in range(len(gradients)):
        found += (gradients[index] * factor,)
    return found


def _zeros_like(parameters: ParameterTuple, prefix: str) -> ParameterTuple:
    return ParameterTuple(
        [
            Parameter(ops.zeros_like(each), name=f"{prefix}.{each.name}", requires_grad=False)
            for each in parameters
        ]
    )
