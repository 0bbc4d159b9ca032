"""The fleet: K replicates trained together as one stacked model in one compiled graph.

What shapes the graph is a FleetShape; all else that differs between slots is data. A replicate that ends or
is pruned leaves its slot and another enters, so the graph never changes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.models.stacked import (
    StackedModel,
    flatten_parameters,
    mask_slices,
    stacked_masks,
    stock_parameters,
    to_tensor,
)
from lossfleet.runners.training.epoch_rows import at_epoch
from lossfleet.runners.training.fusion import compiling
from lossfleet.runners.training.graphs import Predict, TrainEpoch
from lossfleet.runners.training.pool import Key, Pool
from lossfleet.runners.training.replicate import (
    Replicate,
    deferred_epochs,
    dropout_masks,
    learning_rates,
    mixture,
)
from lossfleet.runners.training.shape import FleetShape
from lossfleet.runners.training.slots import Engine, Slots

PARTS = ("validation", "test")
# A slot is evaluated on so many rows at once; of a large table all would take more memory than training.
EVALUATED_ROWS = 8192


class Fleet(Slots):
    """K slots that train replicates of one shape, an epoch at a time."""

    def __init__(
        self,
        shape: FleetShape,
        *,
        slots: int,
        pages: int,
        page_rows: int,
        evaluation_rows: int,
        evaluation_step: int = 1,
    ) -> None:
        """Builds the fleet; the graph is compiled at the first epoch.

        Args:
            shape: what all replicates have in common.
            slots: K.
            pages: of how many distinct sets of training rows there may be replicates at a time; where every epoch has
                rows of its own there is one a slot.
            page_rows: the most rows that such a set has.
            evaluation_rows: the most rows that a validation or test part has.
            evaluation_step: parts of up to so many rows more or less are evaluated in one graph.
        """
        super().__init__(slots)
        self.shape = shape
        self.model = StackedModel(shape.layers, shape.features, slots)
        self._train_epoch = TrainEpoch(shape, self.model, slots)
        self._predict = Predict(StackedModel(shape.layers, shape.features, slots, trains=False))
        self._pool = Pool(
            pages=slots if shape.augments else pages,
            page_rows=shape.train_rows if shape.augments else page_rows,
            features=shape.features,
        )
        self._evaluation_pool = Pool(
            pages=len(PARTS) * pages, page_rows=evaluation_rows, features=shape.features
        )
        self._evaluation_step = evaluation_step
        self._offsets = np.zeros(slots, np.int64)
        self._state = [to_tensor(np.zeros((slots, self.model.size), np.float32)) for _ in range(3)]
        self._valid = self._make_valid()
        objective = shape.objective
        self._numbers = np.ones((max(1, objective.count), slots, shape.batch_size), np.float32)
        self._given = np.ones((objective.rows, slots, shape.classes), np.float32)
        self._class_weight = np.zeros((slots, shape.classes), np.float32)
        self._learning_rates: list[np.ndarray] = [np.zeros((1, shape.steps))] * slots
        self._weight_decay = np.zeros(slots)
        self._clip_norm = np.ones((slots, 1), np.float32)
        self._entering: dict[int, Replicate] = {}
        self._remembered: dict[int, np.ndarray] = {}
        self._compiled: set[tuple[object, ...]] = set()

    def engine(self, slot: int) -> Engine:
        """See Slots."""
        return "graph"

    def has_room(self, key: Key) -> bool:
        """See Slots."""
        return self._pool.has_room(key, self._row_sets())

    def enter(self, slot: int, replicate: Replicate) -> None:
        """See Slots."""
        self.require_free(slot)
        if not self.shape.augments:
            self._offsets[slot] = self._pool.add(
                replicate.rows_key, np.asarray(replicate.features), replicate.labels, self._row_sets()
            )
        self.occupants[slot] = replicate
        self.epochs[slot] = 0
        self._give(slot, replicate, 0)
        self._learning_rates[slot] = learning_rates(replicate)
        self._weight_decay[slot] = replicate.config.optimizer["weight_decay"]
        self._clip_norm[slot] = replicate.config.clip_norm or 1.0
        self._entering[slot] = replicate

    def _give(self, slot: int, replicate: Replicate, epoch: int) -> None:
        """Put what the loss of a replicate is given in an epoch where the graph takes it from."""
        config, objective, given = replicate.config, self.shape.objective, replicate.given_at(epoch)
        self._numbers[:, slot], self._given[:, slot] = objective.packed(
            config.loss, config.mining, given, self.shape.batch_size
        )
        self._class_weight[slot] = given["class_weight"] if objective.times_class_weight else 1.0

    def leave(self, slot: int) -> None:
        """See Slots."""
        self.occupants[slot] = None
        self._entering.pop(slot, None)
        self._remembered.pop(slot, None)
        self._weight_decay[slot] = 0.0

    def train_epoch(self) -> np.ndarray:
        """See Slots."""
        self._admit()
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None and 0 < self.epochs[slot] == deferred_epochs(occupant.config):
                self._give(slot, occupant, int(self.epochs[slot]))
        now = self._rows_now()
        plan = self._plan(now)
        labels = self._pool.labels[plan]
        weight = self._class_weight[np.arange(self.slots)[:, None], labels] * self._valid
        if self.shape.objective.weighs:
            weight = weight * self._weights()
        mixing = self._mixing(now, weight) if self.shape.mixes else ()
        *self._state, losses = self._call(
            self._train_epoch,
            Tensor(0, ms.int32),
            *self._state,
            self._pool.tensor,
            to_tensor(plan),
            to_tensor(labels),
            to_tensor(weight),
            to_tensor(self._masks()),
            to_tensor(self._numbers),
            to_tensor(self._given),
            to_tensor(self._coefficients()),
            to_tensor(self._clip_norm),
            *map(to_tensor, mixing),
        )
        occupied = np.array([occupant is not None for occupant in self.occupants])
        self.epochs[occupied] += 1
        return np.where(occupied, losses.asnumpy().reshape(-1), np.nan)

    def logits(
        self, part: str, slots: Collection[int] | None = None, shuffled: tuple[int, ...] = ()
    ) -> np.ndarray:
        """See Slots."""
        in_use = {
            (each.seed, each.split_number, name, shuffled)
            for each in self.occupants
            if each
            for name in PARTS
        }
        rows: dict[int, np.ndarray] = {}
        for slot in self.taken_slots() if slots is None else slots:
            replicate = self._occupant(slot)
            key = (replicate.seed, replicate.split_number, part, shuffled)
            labels = getattr(replicate.split, f"{part}_labels")
            first = self._evaluation_pool.add(key, self.features(slot, part, shuffled), labels, in_use)
            rows[slot] = np.arange(first, first + len(labels), dtype=np.int32)
        count = max(len(each) for each in rows.values())
        count += -count % self._evaluation_step
        at_once = min(count, EVALUATED_ROWS)
        table = np.zeros((self.slots, -(-count // at_once) * at_once), np.int32)
        for slot, each in rows.items():
            table[slot, : len(each)] = each
        logits = [
            self._call(
                self._predict, self._state[0], self._evaluation_pool.tensor, to_tensor(columns)
            ).asnumpy()
            for columns in np.split(table, table.shape[1] // at_once, axis=1)
        ]
        return np.concatenate(logits, axis=2)[:, :, :count]

    def remember(self, slots: Collection[int]) -> None:
        """See Slots."""
        parameters = self._state[0].asnumpy()
        self._remembered |= {slot: parameters[slot].copy() for slot in slots}

    def recall(self, slots: Collection[int]) -> None:
        """See Slots."""
        parameters = self._state[0].asnumpy().copy()
        for slot in slots:
            parameters[slot] = self._remembered[slot]
        self._state[0] = to_tensor(parameters)

    def networks(self, slot: int) -> list[list[Parameters]]:
        """See Slots."""
        row = self._state[0].asnumpy()[slot]
        return [stock_parameters(self.shape.layers, self.shape.features, row)]

    def _row_sets(self) -> set[Key]:
        """The sets of training rows that the replicates in the slots are trained on."""
        return {each.rows_key for each in self.occupants if each is not None}

    def _call(self, graph: nn.Cell, *inputs: Tensor) -> Any:
        """What the graph makes of the inputs; it is compiled for every new shape of them."""
        shapes = (id(graph), *(each.shape for each in inputs))
        if shapes in self._compiled:
            return graph(*inputs)
        with compiling():
            outputs = graph(*inputs)
        self._compiled.add(shapes)
        return outputs

    def _admit(self) -> None:
        """Write the initial parameters and empty moments of the replicates that entered."""
        if not self._entering:
            return
        parameters, first_moment, second_moment = (each.asnumpy().copy() for each in self._state)
        for slot, replicate in self._entering.items():
            parameters[slot] = flatten_parameters(self.shape.layers, replicate.initial)
            first_moment[slot] = second_moment[slot] = 0.0
        self._state = [to_tensor(parameters), to_tensor(first_moment), to_tensor(second_moment)]
        self._entering = {}

    def _coefficients(self) -> np.ndarray:
        """What the optimizer needs at each step (N, S, K, 1), 0 for the learning rate of free slots."""
        steps = self.shape.steps
        step = self.epochs * steps + np.arange(1, steps + 1)[:, None]
        learning_rate = np.zeros(step.shape)
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None:
                learning_rate[:, slot] = self._learning_rates[slot][self.epochs[slot]]
        return self.shape.optimizer.packed(learning_rate, self._weight_decay, step)

    def _rows_now(self) -> list[Replicate | None]:
        """The replicate in each slot with the rows of this epoch; augmented ones are put where the slot has its own."""
        now: list[Replicate | None] = [None] * self.slots
        for slot in self.taken_slots():
            now[slot] = found = at_epoch(self._occupant(slot), int(self.epochs[slot]))
            if self.shape.augments:
                self._offsets[slot] = self._pool.write(slot, np.asarray(found.features), found.labels)
        return now

    def _plan(self, now: list[Replicate | None]) -> np.ndarray:
        """The pool rows (S, K, B) of this epoch; free slots and places behind a ragged batch take row 0."""
        shape = self.shape
        plan = np.zeros((self.slots, shape.steps * shape.batch_size), np.int32)
        for slot, occupant in enumerate(now):
            if occupant is not None:
                plan[slot, : shape.train_rows] = occupant.plan[self.epochs[slot]] + self._offsets[slot]
        return plan.reshape(self.slots, shape.steps, shape.batch_size).transpose(1, 0, 2)

    def _mixing(self, now: list[Replicate | None], weight: np.ndarray) -> tuple[np.ndarray, ...]:
        """The partners of this epoch's draws, their labels and shares, and what the draws keep, each (S, K, B).

        Args:
            now: the replicates with the rows of this epoch.
            weight: (S, K, B), what the draws count in their batches, of which their own shares are left.
        """
        shape = self.shape
        partners = np.zeros((self.slots, shape.steps * shape.batch_size), np.int32)
        shares, weights = np.ones((2, *partners.shape), np.float32), np.ones(partners.shape, np.float32)
        for slot, occupant in enumerate(now):
            if occupant is not None:
                mixed = mixture(occupant, int(self.epochs[slot]))
                partners[slot, : shape.train_rows] = mixed.partners + self._offsets[slot]
                shares[:, slot, : shape.train_rows] = mixed.shares
                if occupant.weights is not None:
                    weights[slot, : shape.train_rows] = occupant.weights[mixed.partners]
        partners, weights, of_features, of_label = (
            each.reshape(self.slots, shape.steps, -1).transpose(1, 0, 2)
            for each in (partners, weights, *shares)
        )
        labels = self._pool.labels[partners]
        weights = weights * self._class_weight[np.arange(self.slots)[:, None], labels] * self._valid
        weight *= of_label
        return partners, labels, weights * (1 - of_label), of_features

    def _weights(self) -> np.ndarray:
        """The weight (S, K, B) of each example of this epoch, 1 in free slots."""
        shape = self.shape
        weights = np.ones((self.slots, shape.steps * shape.batch_size), np.float32)
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None and occupant.weights is not None:
                weights[slot, : shape.train_rows] = occupant.weights[occupant.plan[self.epochs[slot]]]
        return weights.reshape(self.slots, shape.steps, shape.batch_size).transpose(1, 0, 2)

    def _make_valid(self) -> np.ndarray:
        """(S, 1, B): 1 / (size of the batch), 0 in the empty places of a ragged last batch."""
        shape = self.shape
        valid = (np.arange(shape.steps * shape.batch_size) < shape.train_rows).reshape(shape.steps, 1, -1)
        return (valid / valid.sum(2, keepdims=True)).astype(np.float32)

    def _masks(self) -> np.ndarray:
        shape = self.shape
        slices = mask_slices(shape.layers, shape.features)
        if not slices:
            return np.zeros((shape.steps, 1), np.float32)
        masks = np.ones((self.slots, shape.steps, slices[-1][1], shape.batch_size), np.float32)
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None:
                masks[slot] = stacked_masks(dropout_masks(occupant, int(self.epochs[slot])))
        return masks.transpose(1, 0, 2, 3)
