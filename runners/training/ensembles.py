"""Slots of ensembles: the members of each are trained side by side, and answer as one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from lossfleet.runners.models.initial import Parameters, initial_parameters
from lossfleet.runners.portable.layers import log_of_mean
from lossfleet.runners.training.pool import Key
from lossfleet.runners.training.replicate import Replicate, draws_of_member, member_seeds
from lossfleet.runners.training.slots import Engine, Slots


def members_of(replicate: Replicate) -> list[Replicate]:
    """The members of an ensemble, each a replicate with its own part of the draws and its own first parameters."""
    members = replicate.config.members
    config = replace(replicate.config, members=1)
    draws = draws_of_member(replicate.split.draws, members)
    found = []
    for number, seed in enumerate(member_seeds(replicate.seed, members)):
        layers, initial = replicate.layers, replicate.initial
        if layers is not None:
            initial = tuple(initial_parameters(layers, replicate.features.shape[1], seed=seed))
        found.append(
            replace(
                replicate,
                config=config,
                plan=np.ascontiguousarray(replicate.plan[:, number * draws : (number + 1) * draws]),
                initial=initial,
                random_seed=seed,
            )
        )
    return found


class Ensembles(Slots):
    """K slots, each of which has M of the slots of `single`."""

    def __init__(self, single: Slots, members: int) -> None:
        """Args:
        single: slots for a network each, K M of them.
        members: M.
        """
        super().__init__(single.slots // members)
        self.single = single
        self.members = members

    def engine(self, slot: int) -> Engine:
        """See Slots."""
        return self.single.engine(self._own(slot)[0])

    def has_room(self, key: Key) -> bool:
        """See Slots."""
        return self.single.has_room(key)

    def enter(self, slot: int, replicate: Replicate) -> None:
        """See Slots."""
        self.require_free(slot)
        for own, member in zip(self._own(slot), members_of(replicate), strict=True):
            self.single.enter(own, member)
        self.occupants[slot] = replicate
        self.epochs[slot] = 0

    def leave(self, slot: int) -> None:
        """See Slots."""
        for own in self._own(slot):
            if self.single.occupants[own] is not None:
                self.single.leave(own)
        self.occupants[slot] = None

    def train_epoch(self) -> np.ndarray:
        """The mean of the members' losses; see Slots."""
        losses = self.single.train_epoch().reshape(self.slots, self.members).mean(axis=1)
        self.epochs[self.taken_slots()] += 1
        return losses

    def logits(
        self, part: str, slots: Collection[int] | None = None, shuffled: tuple[int, ...] = ()
    ) -> np.ndarray:
        """See Slots."""
        asked = self.taken_slots() if slots is None else list(slots)
        found = self.single.logits(part, [own for slot in asked for own in self._own(slot)], shuffled)
        by_slot = found.reshape(self.slots, self.members, *found.shape[1:])
        logits = np.zeros((self.slots, *found.shape[1:]), np.float32)
        logits[asked] = log_of_mean(by_slot[asked].swapaxes(2, 3)).swapaxes(1, 2)
        return logits

    def remember(self, slots: Collection[int]) -> None:
        """See Slots."""
        self.single.remember([own for slot in slots for own in self._own(slot)])

    def recall(self, slots: Collection[int]) -> None:
        """See Slots."""
        self.single.recall([own for slot in slots for own in self._own(slot)])

    def networks(self, slot: int) -> list[list[Parameters]]:
        """See Slots."""
        return [network for own in self._own(slot) for network in self.single.networks(own)]

    def _own(self, slot: int) -> range:
        return range(slot * self.members, (slot + 1) * self.members)
