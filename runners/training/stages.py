"""Slots in which a second stage follows on the first, see second_stages.py."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.training.pool import Key
from lossfleet.runners.training.replicate import Replicate
from lossfleet.runners.training.second_stages import (
    first_replicate,
    outputs,
    rescaling_of,
    retraining_of,
    second_replicate,
)
from lossfleet.runners.training.slots import Engine, Slots


class RescaledSlots(Slots):
    """Slots whose logits are divided, class by class, as the `Rescaling` of each replicate says."""

    def __init__(self, plain: Slots) -> None:
        super().__init__(plain.slots)
        self.plain = plain
        self.occupants, self.epochs = plain.occupants, plain.epochs

    def engine(self, slot: int) -> Engine:
        """See Slots."""
        return self.plain.engine(slot)

    def has_room(self, key: Key) -> bool:
        """See Slots."""
        return self.plain.has_room(key)

    def enter(self, slot: int, replicate: Replicate) -> None:
        """See Slots."""
        self.plain.enter(slot, replicate)

    def leave(self, slot: int) -> None:
        """See Slots."""
        self.plain.leave(slot)

    def train_epoch(self) -> np.ndarray:
        """See Slots."""
        return self.plain.train_epoch()

    def logits(
        self, part: str, slots: Collection[int] | None = None, shuffled: tuple[int, ...] = ()
    ) -> np.ndarray:
        """See Slots."""
        logits = self.plain.logits(part, slots, shuffled)
        for slot in self.taken_slots() if slots is None else slots:
            (network,) = self.plain.networks(slot)
            logits[slot] /= rescaling_of(self._occupant(slot)).divisors(network[-1])[:, None]
        return logits

    def remember(self, slots: Collection[int]) -> None:
        """See Slots."""
        self.plain.remember(slots)

    def recall(self, slots: Collection[int]) -> None:
        """See Slots."""
        self.plain.recall(slots)

    def networks(self, slot: int) -> list[list[Parameters]]:
        """See Slots."""
        (network,) = self.plain.networks(slot)
        return [rescaling_of(self._occupant(slot)).joined(network)]


class TwoStages(Slots):
    """Slots whose replicates are trained in those of `first`, and from some epoch on in those of `second`."""

    def __init__(self, first: Slots, second: Slots) -> None:
        """Args:
        first: of the model.
        second: of the layers that the second stage trains, as many.
        """
        super().__init__(first.slots)
        self.first = first
        self.second = second
        # What the first stage made of the replicates that are in their second.
        self._networks: dict[int, list[Parameters]] = {}
        # Of either stage.
        self._remembered: dict[int, list[Parameters]] = {}
        self._recalled: dict[int, list[Parameters]] = {}

    def engine(self, slot: int) -> Engine:
        """See Slots; that of both stages."""
        return self.first.engine(slot)

    def has_room(self, key: Key) -> bool:
        """See Slots."""
        return self.first.has_room(key)

    def enter(self, slot: int, replicate: Replicate) -> None:
        """See Slots."""
        self.require_free(slot)
        self.first.enter(slot, first_replicate(replicate, retraining_of(replicate)))
        self.occupants[slot] = replicate
        self.epochs[slot] = 0

    def leave(self, slot: int) -> None:
        """See Slots."""
        (self.second if slot in self._networks else self.first).leave(slot)
        for kept in (self._networks, self._remembered, self._recalled):
            kept.pop(slot, None)
        self.occupants[slot] = None

    def train_epoch(self) -> np.ndarray:
        """See Slots."""
        losses = np.full(self.slots, np.nan)
        for slot in self.taken_slots():
            replicate = self._occupant(slot)
            if self.epochs[slot] == retraining_of(replicate).first_epochs(replicate.config.budget.epochs):
                self._begin_second(slot, replicate)
        for stage in (self.first, self.second):
            taken = stage.taken_slots()
            if taken:
                losses[taken] = stage.train_epoch()[taken]
                self.epochs[taken] += 1
        return losses

    def _begin_second(self, slot: int, replicate: Replicate) -> None:
        """Move a replicate to its second stage: its rows are what its first one makes of the training rows."""
        stage, layers = retraining_of(replicate), replicate.layers
        assert layers is not None
        (network,) = self.first.networks(slot)
        self.first.leave(slot)
        kept = stage.kept(layers)
        features = outputs(layers[:kept], network[:kept], replicate.split.train_features)
        self.second.enter(slot, second_replicate(replicate, stage, features))
        self._networks[slot] = network

    def logits(
        self, part: str, slots: Collection[int] | None = None, shuffled: tuple[int, ...] = ()
    ) -> np.ndarray:
        """See Slots."""
        asked = self.taken_slots() if slots is None else list(slots)
        rows = max(len(self.features(slot, part)) for slot in asked)
        classes = self._occupant(asked[0]).classes
        logits = np.zeros((self.slots, classes, rows), np.float32)
        in_first = [slot for slot in asked if slot not in self._networks and slot not in self._recalled]
        if in_first:
            found = self.first.logits(part, in_first, shuffled)
            logits[in_first, :, : found.shape[2]] = found[in_first]
        for slot in set(asked) - set(in_first):
            layers = self._occupant(slot).layers
            assert layers is not None
            (network,) = self.networks(slot)
            found = outputs(layers, network, self.features(slot, part, shuffled))
            logits[slot, :, : len(found)] = found.T
        return logits

    def remember(self, slots: Collection[int]) -> None:
        """See Slots."""
        for slot in slots:
            (network,) = self.networks(slot)
            self._remembered[slot] = [tuple(map(np.copy, arrays)) for arrays in network]

    def recall(self, slots: Collection[int]) -> None:
        """See Slots."""
        self._recalled |= {slot: self._remembered[slot] for slot in slots}

    def networks(self, slot: int) -> list[list[Parameters]]:
        """See Slots."""
        if slot in self._recalled:
            return [self._recalled[slot]]
        if slot not in self._networks:
            return self.first.networks(slot)
        (trained,) = self.second.networks(slot)
        return [retraining_of(self._occupant(slot)).joined(self._networks[slot], trained)]
