"""The compiled graphs of a fleet, which know no loss, layer or optimizer by name: an epoch, and prediction."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.losses.stacked import adjusted_logits
from lossfleet.runners.models.stacked import StackedModel, trainable
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.shape import FleetShape


def unstack(values: Tensor) -> tuple[Tensor, ...]:
    """The arrays of the first axis."""
    arrays: tuple[Tensor, ...] = ()
    for index in range(values.shape[0]):
        arrays += (values[index],)
    return arrays


def at_step(coefficients: tuple[Tensor, ...], step: Tensor) -> tuple[Tensor, ...]:
    """Coefficients (K, 1) of a step, from those (S, K, 1) of an epoch."""
    found: tuple[Tensor, ...] = ()
    for index in range(len(coefficients)):
        found += (coefficients[index][step],)
    return found


def clipping_factor(square: Tensor, clip_norm: Tensor) -> Tensor:
    """What makes a gradient that is longer than `clip_norm` so long, and 1 for others, from the square of its norm."""
    return clip_norm / ops.maximum(ops.sqrt(square), clip_norm)


class StackedObjective(nn.Cell):
    """What each example of K members adds to its member's loss, (K, B)."""

    def __init__(self, objective: Objective, members: int, batch_size: int) -> None:
        super().__init__()
        self.loss, self.loss_numbers = objective.loss.function, objective.loss.numbers
        self.loss_constants = dict(objective.loss.constants)
        self.given = objective.given
        self.adjusts, self.by_valid = objective.adjusts, objective.by_valid
        self.mines_weighted = objective.times_class_weight or objective.weighs
        self.mines, self.mines_by_label = objective.mining is not None, objective.mines_by_label
        if objective.mining is not None:
            self.mining, self.mining_numbers = objective.mining.function, objective.mining.numbers
            self.mining_constants = dict(objective.mining.constants)
        self.column = Tensor(np.ones((members, batch_size, 1), np.float32))
        self.product = ops.BatchMatMul()

    def construct(
        self,
        logits: Tensor,
        labels: Tensor,
        numbers: tuple[Tensor, ...],
        given: tuple[Tensor, ...],
        share: Tensor,
    ) -> Tensor:
        """Losses, of mined batches n / kept times those of the kept examples and 0 for the others.

        Args:
            logits: (K, C, B).
            labels: (K, B) int32.
            numbers: H times (K, B), the hyperparameters of the loss and then those of the mining.
            given: D times (K, C), what the data knows, and last what an `Adjustment` says.
            share: (K, B), what an example counts in its batch, see TrainEpoch.
        """
        keywords = dict(self.loss_constants)
        for index in range(len(self.loss_numbers)):
            keywords[self.loss_numbers[index]] = numbers[index]
        for index in range(len(self.given)):
            keywords[self.given[index]] = given[index]
        valid = ops.cast(share > 0, ms.float32)
        if self.by_valid:
            keywords["valid"] = valid
        if self.adjusts:
            first = len(self.given)
            logits = adjusted_logits(logits, labels, given[first], given[first + 1], given[first + 2])
        losses = self.loss(logits, labels, **keywords)
        if not self.mines:
            return losses
        keywords = dict(self.mining_constants)
        for index in range(len(self.mining_numbers)):
            # Of each member, not of each example.
            keywords[self.mining_numbers[index]] = numbers[len(self.loss_numbers) + index][:, 0]
        if self.mines_by_label:
            keywords["labels"] = labels
        number = ops.squeeze(self.product(ops.expand_dims(valid, 1), self.column), 1)
        # Hard is what has a high loss, its weights included.
        mined = losses * share * number if self.mines_weighted else losses
        mask = self.mining(ops.stop_gradient(mined), valid=valid, **keywords)
        kept = ops.squeeze(self.product(ops.expand_dims(mask, 1), self.column), 1)
        return losses * mask * (number / kept)


class TrainEpoch(nn.Cell):
    """One epoch of all slots: the loop over the steps and the derivative are inside the graph."""

    def __init__(self, shape: FleetShape, model: StackedModel, slots: int) -> None:
        super().__init__()
        self.steps = shape.steps
        self.mixes, self.clips = shape.mixes, shape.clips
        self.model = model
        self.objective = StackedObjective(shape.objective, slots, shape.batch_size)
        self.update = shape.optimizer.update
        self.column = Tensor(np.ones((slots, shape.batch_size, 1), np.float32))
        self.trainable = Tensor(trainable(shape.layers, shape.features)[None])
        self.product = ops.BatchMatMul()
        self.product_with_row = ops.MatMul(transpose_b=True)

    def losses(
        self,
        parameters: Tensor,
        examples: Tensor,
        masks: Tensor,
        labels: Tensor,
        numbers: tuple[Tensor, ...],
        given: tuple[Tensor, ...],
        share: Tensor,
        partner_labels: Tensor | None,
        partner_share: Tensor | None,
    ) -> Tensor:
        """What each example adds to its member's loss, (K, B); a method, since a closure cannot be derived.

        Times its share, but for mixed examples, where the shares of two labels are in it.
        """
        logits = self.model(parameters, examples, masks)
        losses = self.objective(logits, labels, numbers, given, share)
        if not self.mixes:
            return losses
        of_partners = self.objective(logits, partner_labels, numbers, given, partner_share)
        return losses * share + of_partners * partner_share

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
        numbers: Tensor,
        given: Tensor,
        coefficients: Tensor,
        clip_norm: Tensor,
        *mixing: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The parameters and moments after the epoch and each slot's mean training loss (K, 1, 1).

        Args:
            step: int32 0; a Tensor, so that the loop is compiled as a loop.
            parameters, first_moment, second_moment: (K, P).
            pool: the training rows (rows, features + 1).
            plan, labels: (S, K, B) int32, rows of the pool and their classes.
            shares: (S, K, B), what an example counts in its batch: 1 / (size of the batch), times its own weight,
                times its class weight where the loss leaves that to the fleet; 0 in the empty places of a ragged last
                batch.
            masks: (S, K, rows, B) for dropout, else anything.
            numbers: (H, K, B), given: (D, K, C), as StackedObjective has them.
            coefficients: (N, S, K, 1), from the optimizer.
            clip_norm: (K, 1), the longest gradient that each member takes; where none is clipped anything.
            mixing: where examples are mixed plan, labels and shares of their partners, and (S, K, B), the share that
                an example's own features keep.
        """
        # Taken apart once: in the loop each slice would be a kernel a step.
        numbers, given, coefficients = unstack(numbers), unstack(given), unstack(coefficients)
        total = ops.zeros_like(shares[0])
        while step < self.steps:
            examples = ops.gather(pool, plan[step], 0)
            share = shares[step]
            of_partners, share_of_partners, sensitivity = None, None, share
            if self.mixes:
                own = ops.expand_dims(mixing[3][step], 2)
                examples = examples * own + ops.gather(pool, mixing[0][step], 0) * (1.0 - own)
                of_partners, share_of_partners = mixing[1][step], mixing[2][step]
                sensitivity = ops.ones_like(share)
            # Each example's share of the mean is the sensitivity of its loss.
            losses, gradient = ms.value_and_grad(self.losses, 0, None, False, False, True)(
                parameters,
                examples,
                masks[step],
                labels[step],
                numbers,
                given,
                share,
                of_partners,
                share_of_partners,
                sensitivity,
            )
            if self.clips:
                # What is not trained has no part in the norm.
                square = self.product_with_row(gradient * gradient, self.trainable)
                gradient = gradient * clipping_factor(square, clip_norm)
            parameters, first_moment, second_moment = self.update(
                parameters,
                first_moment,
                second_moment,
                gradient,
                at_step(coefficients, step),
                self.trainable,
            )
            total = total + losses * sensitivity
            step = step + 1
        mean = self.product(ops.expand_dims(total, 1), self.column) / self.steps
        return parameters, first_moment, second_moment, mean


class Predict(nn.Cell):
    """The logits of all slots, each on its own rows."""

    def __init__(self, model: StackedModel) -> None:
        super().__init__()
        self.model = model

    @ms.jit
    def construct(self, parameters: Tensor, pool: Tensor, rows: Tensor) -> Tensor:
        """Logits (K, C, N) of `rows` (K, N) of `pool` (any, features + 1)."""
        return self.model(parameters, ops.gather(pool, rows, 0))
