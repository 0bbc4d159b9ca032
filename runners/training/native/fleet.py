"""The native fleet: the same slots as a fleet's, whose replicates the core trains, one at a time in each thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeGuard

import numpy as np

from lossfleet.runners.images.pixels import Features
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.training.epoch_rows import at_epoch
from lossfleet.runners.training.native import translation
from lossfleet.runners.training.native.build import is_chosen
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.examples import Examples
from lossfleet.runners.training.pool import Key
from lossfleet.runners.training.replicate import Replicate, mixture
from lossfleet.runners.training.shape import CellShape, FleetShape
from lossfleet.runners.training.slots import Engine, Slots

# The places of the arguments that change from epoch to epoch.
FEATURES, LABELS, PLAN, MASKS, CLASS_WEIGHT, WEIGHT = 4, 5, 6, 7, 8, 9
PARTNERS, MIXING, COEFFICIENTS, STANDARDISATION = 11, 12, 15, 16
# As many as the core evaluates at once, EVALUATED_ROWS in core.cpp, and a multiple that it is given at once.
CORE_ROWS, PREDICTED_ROWS = 64, 4096
# In the place of what is not there.
NO_PARTNERS, NO_MIXING = np.zeros(1, np.int32), np.ones((2, 1), np.float32)


def trains_natively(shape: FleetShape | CellShape, native: str) -> TypeGuard[FleetShape]:
    """Whether the native core trains a shape.

    Args:
        shape: of a fleet or of cells.
        native: what `engine.native` says.
    """
    if isinstance(shape, CellShape) or translation.unknown(shape) is not None:
        return False
    return is_chosen(native)


class Member:
    """A replicate in training: its parameters and moments, and the call that trains them for an epoch."""

    def __init__(self, shape: FleetShape, layers: np.ndarray, replicate: Replicate) -> None:
        self.shape = shape
        self.layers = layers
        self.replicate = replicate
        self.parameters = translation.flat_parameters(replicate.initial)
        self.remembered = self.parameters
        self.loss = np.zeros(1, np.float32)
        self._coefficients = translation.coefficients(shape, replicate)
        self._examples = Examples.of(replicate)
        state = (self.parameters, np.zeros_like(self.parameters), np.zeros_like(self.parameters))
        self._call = Call("train_epoch", *self._inputs(state), *state, self.loss)

    def _inputs(self, state: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        examples = self._examples
        return [
            self.layers,
            *state,
            examples.features,
            examples.labels,
            examples.places(self.replicate.plan[0]),
            translation.NO_MASKS,
            self.replicate.given["class_weight"],
            examples.weights,
            translation.adjustment(self.shape, self.replicate),
            NO_PARTNERS,
            NO_MIXING,
            translation.choices(self.shape),
            translation.numbers(self.shape, self.replicate),
            self._coefficients[0],
            examples.standardisation,
        ]

    def train_epoch(self, epoch: int) -> float:
        """Train for an epoch, counted from 0; returns the mean training loss."""
        now, examples = at_epoch(self.replicate, epoch), self._examples
        if self.shape.augments:
            examples = Examples.of(now)
            self._give(examples)
        self._call.set(PLAN, examples.places(now.plan[epoch]))
        self._call.set(MASKS, translation.masks(self.shape, self.replicate, epoch))
        self._call.set(CLASS_WEIGHT, self.replicate.given_at(epoch)["class_weight"])
        if self.shape.mixes:
            mixed = mixture(now, epoch)
            self._call.set(PARTNERS, examples.places(mixed.partners))
            self._call.set(MIXING, mixed.shares)
        self._call.set(COEFFICIENTS, self._coefficients[epoch])
        self._call()
        if self.shape.augments:
            # Else the images of this epoch would stay until the next.
            self._give(self._examples)
        return float(self.loss[0])

    def _give(self, examples: Examples) -> None:
        """Puts other examples in the place of those that the core is given."""
        self._call.set(FEATURES, examples.features)
        self._call.set(LABELS, examples.labels)
        self._call.set(WEIGHT, examples.weights)
        self._call.set(STANDARDISATION, examples.standardisation)

    def logits(self, features: Features) -> np.ndarray:
        """Logits (C, N) of features (N, F)."""
        pieces = []
        # Of images so many are float32 at a time.
        for first in range(0, len(features), PREDICTED_ROWS):
            rows = np.ascontiguousarray(features[first : first + PREDICTED_ROWS])
            pieces.append(np.empty((self.shape.classes, len(rows)), np.float32))
            Call("predict_logits", self.layers, self.parameters, rows, pieces[-1])()
        return np.concatenate(pieces, axis=1)

    def stock_parameters(self) -> list[Parameters]:
        """The parameters of each layer, in its stock form."""
        return translation.stock_parameters(self.parameters, self.replicate.initial)


class NativeFleet(Slots):
    """K slots that train replicates of one shape, an epoch at a time; see Slots."""

    def __init__(
        self, shape: FleetShape, *, slots: int, row_sets: int | None = None, threads: int | None = None
    ) -> None:
        """Args:
        shape: what all replicates have in common; the core must know it.
        slots: how many replicates are in training.
        row_sets: of how many distinct sets of training rows there may be replicates at a time; None is any number.
        threads: that train replicates side by side; None is one a core of this process. Results are the same.

        Raises:
            ValueError: the core does not know the shape.
            NoCore: this machine cannot have the core.
        """
        if (reason := translation.unknown(shape)) is not None:
            raise ValueError(f"the native core does not know {reason}; expected a shape that it knows")
        super().__init__(slots)
        self.shape = shape
        self._layers = translation.layer_rows(shape.layers, shape.features)
        self._row_sets = row_sets
        self._members: dict[int, Member] = {}
        self._threads = threads or len(os.sched_getaffinity(0))
        self._executor = ThreadPoolExecutor(self._threads)
        self._losses = np.full(slots, np.nan)
        self._epoch: list[Future[None]] = []

    def engine(self, slot: int) -> Engine:
        """See Slots."""
        return "native"

    def has_room(self, key: Key) -> bool:
        """See Slots."""
        in_use = {each.replicate.rows_key for each in self._members.values()}
        return self._row_sets is None or key in in_use or len(in_use) < self._row_sets

    def enter(self, slot: int, replicate: Replicate) -> None:
        """See Slots."""
        self.require_free(slot)
        self._members[slot] = Member(self.shape, self._layers, replicate)
        self.occupants[slot] = replicate
        self.epochs[slot] = 0

    def leave(self, slot: int) -> None:
        """See Slots."""
        self.occupants[slot] = None
        self._members.pop(slot, None)

    def begin_epoch(self) -> None:
        """See Slots."""
        self._losses = np.full(self.slots, np.nan)
        self._epoch = self._in_threads(self._train, self._members, trainers(self._threads))

    def train_epoch(self) -> np.ndarray:
        """See Slots."""
        if not self._epoch:
            self.begin_epoch()
        wait_for(self._epoch)
        self._epoch = []
        self.epochs[list(self._members)] += 1
        return self._losses

    def _train(self, slot: int) -> None:
        self._losses[slot] = self._members[slot].train_epoch(int(self.epochs[slot]))

    def logits(
        self, part: str, slots: Collection[int] | None = None, shuffled: tuple[int, ...] = ()
    ) -> np.ndarray:
        """See Slots."""
        features = {
            slot: self.features(slot, part, shuffled) for slot in (self._members if slots is None else slots)
        }
        rows = max(map(len, features.values()))
        logits = np.zeros((self.slots, self.shape.classes, rows), np.float32)

        def predict(slot: int) -> None:
            logits[slot, :, : len(features[slot])] = self._members[slot].logits(features[slot])

        wait_for(self._in_threads(predict, features, self._executor))
        return logits

    def remember(self, slots: Collection[int]) -> None:
        """See Slots."""
        for slot in slots:
            self._members[slot].remembered = self._members[slot].parameters.copy()

    def recall(self, slots: Collection[int]) -> None:
        """See Slots."""
        for slot in slots:
            self._members[slot].parameters = self._members[slot].remembered

    def networks(self, slot: int) -> list[list[Parameters]]:
        """See Slots."""
        return [self._members[slot].stock_parameters()]

    def _in_threads(
        self, function: Callable[[int], None], slots: Iterable[int], executor: ThreadPoolExecutor
    ) -> list[Future[None]]:
        """Calls a function for each slot; a thread takes the next one as soon as it is free."""
        left = iter(list(slots))

        def work() -> None:
            for slot in left:
                function(slot)

        # A task a thread and not one a slot, which costs a tenth of what a small member does.
        return [executor.submit(work) for _ in range(self._threads)]


@cache
def trainers(threads: int) -> ThreadPoolExecutor:
    """The threads that train for all fleets of this process, one epoch of a fleet after the other."""
    return ThreadPoolExecutor(threads, thread_name_prefix="lossfleet-train")


def wait_for(tasks: Iterable[Future[None]]) -> None:
    """Wait until all tasks have ended; an exception of one is raised then."""
    for task in wait(tasks).done:
        task.result()
