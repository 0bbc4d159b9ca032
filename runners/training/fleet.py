"""The fleet: K replicates trained together as one stacked model in one compiled graph.

What shapes the graph is a FleetShape; all else that differs between slots is data. A replicate that ends or
is pruned leaves its slot and another enters, so the graph never changes.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.conf.schema import Model, Ohem
from lossfleet.losses import hard_example_mask, hard_example_mask_ratio
from lossfleet.runners.data.splits import Split
from lossfleet.runners.models.stacked import StackedMLP, StackedSlope, flatten_parameters, to_tensor
from lossfleet.runners.optimizers.adamw import adamw_coefficients, adamw_update
from lossfleet.runners.training.fusion import compiling
from lossfleet.runners.training.pool import Key, Pool
from lossfleet.runners.training.replicate import Replicate, dropout_masks
from lossfleet.runners.training.shape import FleetShape

PARTS = ("validation", "test")
# A slot is evaluated on so many rows at once; of a large table all would take more memory than training.
EVALUATED_ROWS = 8192


class TrainEpoch(nn.Cell):
    """One epoch of all slots: the loop over the steps is inside the graph."""

    def __init__(self, shape: FleetShape, model: StackedMLP, slots: int) -> None:
        super().__init__()
        self.steps = shape.steps
        self.classes = shape.classes
        self.mining = shape.mining
        self.beta1, self.beta2 = shape.beta1, shape.beta2
        self.model = model
        self.loss = StackedSlope(slots, shape.classes)
        self.column = Tensor(np.ones((slots, shape.batch_size, 1), np.float32))
        self.trainable = Tensor(model.trainable()[None])
        self.product = ops.BatchMatMul()

    def mined_share(self, losses: Tensor, one_hot: Tensor, share: Tensor, mined: Tensor) -> Tensor:
        """The share (K, 1, B) of each example in its slot's mean: n / kept of what it was for the kept, else 0."""
        losses = losses[:, 0]
        present = ops.cast(share[:, 0] > 0, ms.float32)
        if self.mining == "fraction":
            mask = hard_example_mask(losses, keep=mined, valid=present)
        else:
            labels = ops.cast(one_hot[:, 1], ms.int32)
            mask = hard_example_mask_ratio(losses, labels, negatives_per_positive=mined, valid=present)
        mask = ops.expand_dims(mask, 1)
        kept = self.product(mask, self.column)
        number = self.product(ops.expand_dims(present, 1), self.column)
        return share * mask * (number / kept)

    @ms.jit
    def construct(
        self,
        step: Tensor,
        parameters: Tensor,
        first_moment: Tensor,
        second_moment: Tensor,
        pool: Tensor,
        plan: Tensor,
        labels: Tensor,
        shares: Tensor,
        masks: Tensor,
        gamma: Tensor,
        mined: Tensor,
        decay: Tensor,
        step_size: Tensor,
        shifted_epsilon: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The parameters and moments after the epoch and each slot's mean training loss (K, 1, 1).

        Args:
            step: int32 0; a Tensor, so that the loop is compiled as a loop.
            parameters, first_moment, second_moment: (K, P).
            pool: the training rows (rows, features + 1).
            plan, labels: (S, K, B) int32, rows of the pool and their classes.
            shares: (S, K, 1, B), class weight / (size of the batch), 0 in the empty places of a ragged last
                batch.
            masks: (S, K, sum of widths + 1, B) for dropout, else anything.
            gamma: (K, 1, B).
            mined: (K,), the fraction or the ratio to keep.
            decay: (K, 1), lr weight_decay.
            step_size, shifted_epsilon: (S, K, 1), from `adamw_coefficients`.
        """
        decay = 1.0 - decay * self.trainable
        one_hots = ops.one_hot(labels, self.classes, 1.0, 0.0, 2)
        total = ops.zeros_like(gamma)
        while step < self.steps:
            one_hot = one_hots[step]
            share = shares[step]
            examples = ops.gather(pool, plan[step], 0)
            weights = self.model.split(parameters)
            logits, activations = self.model.forward(weights, examples, masks[step])
            losses, coefficient, elsewhere, of_others = self.loss.losses(logits, one_hot, gamma)
            if self.mining != "none":
                share = self.mined_share(losses, one_hot, share, mined)
            slope = self.loss.slope(coefficient * share, elsewhere, of_others, one_hot)
            gradient = self.model.gradient(slope, weights, examples, activations, masks[step])
            parameters, first_moment, second_moment = adamw_update(
                parameters,
                first_moment,
                second_moment,
                self.model.join(gradient),
                step_size=step_size[step] * self.trainable,
                shifted_epsilon=shifted_epsilon[step],
                decay=decay,
                beta1=self.beta1,
                beta2=self.beta2,
            )
            total = total + losses * share
            step = step + 1
        return parameters, first_moment, second_moment, self.product(total, self.column) / self.steps


class Predict(nn.Cell):
    """The logits of all slots, each on its own rows."""

    def __init__(self, model: StackedMLP) -> None:
        super().__init__()
        self.model = model

    @ms.jit
    def construct(self, parameters: Tensor, pool: Tensor, rows: Tensor) -> Tensor:
        """Logits (K, C, N) of `rows` (K, N) of `pool` (any, features + 1)."""
        return self.model.forward(self.model.split(parameters), ops.gather(pool, rows, 0))[0]


class Fleet:
    """K slots that train replicates of one shape, an epoch at a time."""

    def __init__(
        self, shape: FleetShape, *, slots: int, pages: int, page_rows: int, evaluation_rows: int
    ) -> None:
        """Builds the fleet; the graph is compiled at the first epoch.

        Args:
            shape: what all replicates have in common.
            slots: K.
            pages: of how many distinct sets of training rows there may be replicates at a time.
            page_rows: the most rows that such a set has.
            evaluation_rows: the most rows that a validation or test part has.
        """
        model = Model(widths=shape.widths, dropout=0.5 if shape.dropout else 0.0)
        self.shape = shape
        self.slots = slots
        self.model = StackedMLP(model, shape.features, shape.classes, slots)
        self.occupants: list[Replicate | None] = [None] * slots
        self.epochs = np.zeros(slots, np.int64)
        self._train_epoch = TrainEpoch(shape, self.model, slots)
        # Dropout is for training alone.
        self._predict = Predict(StackedMLP(Model(widths=shape.widths), shape.features, shape.classes, slots))
        self._pool = Pool(pages=pages, page_rows=page_rows, features=shape.features)
        self._evaluation_pool = Pool(
            pages=len(PARTS) * pages, page_rows=evaluation_rows, features=shape.features
        )
        self._offsets = np.zeros(slots, np.int64)
        self._state = [to_tensor(np.zeros((slots, self.model.size), np.float32)) for _ in range(3)]
        self._valid = self._make_valid()
        self._class_weight = np.zeros((slots, shape.classes), np.float32)
        self._gamma = np.zeros((slots, 1, shape.batch_size), np.float32)
        self._mined = np.ones(slots, np.float32)
        self._learning_rate = np.zeros(slots)
        self._weight_decay = np.zeros(slots)
        self._entering: dict[int, Replicate] = {}
        self._compiled: set[tuple[object, ...]] = set()

    def free_slots(self) -> list[int]:
        """The slots without a replicate."""
        return [slot for slot, occupant in enumerate(self.occupants) if occupant is None]

    def has_room(self, key: Key) -> bool:
        """Whether a replicate with the `rows_key` of this can enter, a slot being free."""
        return self._pool.has_room(key, self._row_sets())

    def enter(self, slot: int, replicate: Replicate) -> None:
        """Put a replicate into a free slot; it starts with the next epoch."""
        if self.occupants[slot] is not None:
            raise ValueError(f"slot {slot} is taken; expected a free one")
        config = replicate.config
        self._offsets[slot] = self._pool.add(
            replicate.rows_key, replicate.features, replicate.labels, self._row_sets()
        )
        self.occupants[slot] = replicate
        self.epochs[slot] = 0
        self._class_weight[slot] = replicate.class_weight
        self._gamma[slot] = getattr(config.loss, "gamma", 0.0)
        # Without a fraction to keep a replicate keeps all: so it trains in a fleet that mines as in any other.
        self._mined[slot] = 1.0
        if isinstance(config.loss, Ohem):
            ratio = config.loss.negatives_per_positive
            self._mined[slot] = config.loss.keep if ratio is None else ratio
        self._learning_rate[slot] = config.optimizer.lr
        self._weight_decay[slot] = config.optimizer.weight_decay
        self._entering[slot] = replicate

    def split(self, slot: int) -> Split:
        """The split of the replicate in a slot that is taken."""
        occupant = self.occupants[slot]
        if occupant is None:
            raise ValueError(f"slot {slot} is free; expected one with a replicate")
        return occupant.split

    def leave(self, slot: int) -> None:
        """Free a slot; what it trained is lost."""
        self.occupants[slot] = None
        self._entering.pop(slot, None)
        self._learning_rate[slot] = self._weight_decay[slot] = 0.0

    def train_epoch(self) -> np.ndarray:
        """Train every occupied slot for one epoch; returns the mean training loss (K,), NaN in free slots."""
        shape = self.shape
        self._admit()
        step_size, shifted_epsilon = adamw_coefficients(
            self._learning_rate,
            self.epochs * shape.steps + 1,
            shape.steps,
            beta1=shape.beta1,
            beta2=shape.beta2,
            epsilon=shape.epsilon,
        )
        plan = self._plan()
        labels = self._pool.labels[plan]
        weight = self._class_weight[np.arange(self.slots)[:, None], labels]
        *self._state, losses = self._call(
            self._train_epoch,
            Tensor(0, ms.int32),
            *self._state,
            self._pool.tensor,
            to_tensor(plan),
            to_tensor(labels),
            to_tensor((weight * self._valid)[:, :, None]),
            to_tensor(self._masks()),
            to_tensor(self._gamma),
            to_tensor(self._mined),
            to_tensor((self._learning_rate * self._weight_decay)[:, None].astype(np.float32)),
            to_tensor(step_size),
            to_tensor(shifted_epsilon),
        )
        occupied = np.array([occupant is not None for occupant in self.occupants])
        self.epochs[occupied] += 1
        return np.where(occupied, losses.asnumpy().reshape(-1), np.nan)

    def logits(self, part: str) -> np.ndarray:
        """Logits (K, C, N) of each slot on a part of its own split; arbitrary in free slots.

        Args:
            part: `validation` or `test`.
        """
        in_use = {(each.seed, each.split_number, name) for each in self.occupants if each for name in PARTS}
        rows: dict[int, np.ndarray] = {}
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None:
                features = getattr(occupant.split, f"{part}_features")
                labels = getattr(occupant.split, f"{part}_labels")
                key = (occupant.seed, occupant.split_number, part)
                first = self._evaluation_pool.add(key, features, labels, in_use)
                rows[slot] = np.arange(first, first + len(labels), dtype=np.int32)
        count = max(len(each) for each in rows.values())
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

    def parameters(self, slot: int) -> np.ndarray:
        """The parameters (P,) of a slot."""
        return self._state[0].asnumpy()[slot]

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
            parameters[slot] = flatten_parameters(replicate.initial)
            first_moment[slot] = second_moment[slot] = 0.0
        self._state = [to_tensor(parameters), to_tensor(first_moment), to_tensor(second_moment)]
        self._entering = {}

    def _plan(self) -> np.ndarray:
        """The pool rows (S, K, B) of this epoch; free slots and places behind a ragged batch take row 0."""
        shape = self.shape
        plan = np.zeros((self.slots, shape.steps * shape.batch_size), np.int32)
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None:
                plan[slot, : shape.train_rows] = occupant.plan[self.epochs[slot]] + self._offsets[slot]
        return plan.reshape(self.slots, shape.steps, shape.batch_size).transpose(1, 0, 2)

    def _make_valid(self) -> np.ndarray:
        """(S, 1, B): 1 / (size of the batch), 0 in the empty places of a ragged last batch."""
        shape = self.shape
        valid = (np.arange(shape.steps * shape.batch_size) < shape.train_rows).reshape(shape.steps, 1, -1)
        return (valid / valid.sum(2, keepdims=True)).astype(np.float32)

    def _masks(self) -> np.ndarray:
        shape = self.shape
        if not shape.dropout:
            return np.zeros((shape.steps, 1), np.float32)
        rows_of_ones = np.cumsum(shape.widths)
        masks = np.ones(
            (self.slots, shape.steps, sum(shape.widths) + len(shape.widths), shape.batch_size), np.float32
        )
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None:
                of_slot = dropout_masks(occupant, int(self.epochs[slot]))
                masks[slot] = np.insert(of_slot, rows_of_ones, 1.0, axis=1)
        return masks.transpose(1, 0, 2, 3)
