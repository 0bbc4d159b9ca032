"""Slots in which replicates are trained an epoch at a time: those of a fleet, of cells, or of detectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Literal

import numpy as np

from lossfleet.runners.data.splits import Split
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.streams import Stream, generator
from lossfleet.runners.training.pool import Key
from lossfleet.runners.training.replicate import Replicate

# The native core, a graph of stacked networks, one of a cell of the user's, or stock MindSpore, which trains detectors.
Engine = Literal["native", "graph", "cell", "stock"]


class TrainingSlots(ABC):
    """K slots and the replicates in them; `epochs` (K,) counts how many each has trained."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.occupants: list[Replicate | None] = [None] * slots
        self.epochs = np.zeros(slots, np.int64)

    @abstractmethod
    def engine(self, slot: int) -> Engine:
        """Who trains the replicate in a slot that is taken."""

    @abstractmethod
    def has_room(self, key: Key) -> bool:
        """Whether a replicate with the `rows_key` of this can enter, a slot being free."""

    @abstractmethod
    def enter(self, slot: int, replicate: Replicate) -> None:
        """Put a replicate into a free slot; it starts with the next epoch."""

    @abstractmethod
    def leave(self, slot: int) -> None:
        """Free a slot; what it trained is lost."""

    def begin_epoch(self) -> None:  # noqa: B027
        """Begin to train the next epoch if that can go on beside what else this process does.

        Nothing enters or leaves a slot, or is asked of it, before `train_epoch`, which ends the epoch.
        """

    @abstractmethod
    def train_epoch(self) -> np.ndarray:
        """Train every occupied slot for one epoch; returns the mean training loss (K,), NaN in free slots."""

    @abstractmethod
    def remember(self, slots: Collection[int]) -> None:
        """Keep what slots that are taken have trained so far, in the place of what was kept before."""

    @abstractmethod
    def recall(self, slots: Collection[int]) -> None:
        """Put what was kept back into slots, which train no further."""

    def taken_slots(self) -> list[int]:
        """The slots with a replicate."""
        return [slot for slot, occupant in enumerate(self.occupants) if occupant is not None]

    def free_slots(self) -> list[int]:
        """The slots without a replicate."""
        return [slot for slot, occupant in enumerate(self.occupants) if occupant is None]

    def split(self, slot: int) -> Split:
        """The split of the replicate in a slot that is taken."""
        return self._occupant(slot).split

    def require_free(self, slot: int) -> None:
        """Raises ValueError unless a slot is free."""
        if self.occupants[slot] is not None:
            raise ValueError(f"slot {slot} is taken; expected a free one")

    def _occupant(self, slot: int) -> Replicate:
        occupant = self.occupants[slot]
        if occupant is None:
            raise ValueError(f"slot {slot} is free; expected one with a replicate")
        return occupant


class Slots(TrainingSlots):
    """Slots of classifiers, which have logits for each row."""

    @abstractmethod
    def logits(
        self, part: str, slots: Collection[int] | None = None, shuffled: tuple[int, ...] = ()
    ) -> np.ndarray:
        """Logits (K, C, N) of slots on a part of the own split of each; arbitrary in all other slots.

        Args:
            part: `validation` or `test`.
            slots: that are taken; None for all of these.
            shuffled: the features that are shuffled, see `features`.
        """

    def networks(self, slot: int) -> list[list[Parameters]]:
        """The networks in a slot that is taken, each the parameters of its layers in their stock forms.

        Raises:
            ValueError: the model is no list of layers.
        """
        raise ValueError(f"{type(self).__name__} has no layers; expected a model of layers")

    def features(self, slot: int, part: str, shuffled: tuple[int, ...] = ()) -> np.ndarray:
        """The features (N, F) of a part of the split in a slot.

        Those that are to be shuffled move together from row to row, by the seed and split of the replicate and the
        first of them, so that all strategies have the same rows.
        """
        occupant = self._occupant(slot)
        features: np.ndarray = getattr(occupant.split, f"{part}_features")
        if not shuffled:
            return features
        random = generator(Stream.SHUFFLE, occupant.seed, occupant.split_number, shuffled[0])
        mixed, columns = features.copy(), list(shuffled)
        mixed[:, columns] = features[random.permutation(len(features))][:, columns]
        return mixed
