"""Independent random streams of one seed, so that no two uses of a seed draw the same numbers."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are for. The numbers are part of every published result: never renumber."""

    SPLIT = 1
    RESAMPLE = 2
    PLAN = 3
    INITIAL = 4
    DROPOUT = 5
    HELD_OUT = 6
    SHUFFLE = 7
    MIXING = 8
    MEMBERS = 9
    AUGMENTATION = 10
    SCENES = 11
    REGIONS = 12


def seed_sequence(stream: Stream, *key: int) -> np.random.SeedSequence:
    """The seed sequence of a stream; `key` (integers of at least 0) tells its members apart."""
    return np.random.SeedSequence(key, spawn_key=(stream,))


def generator(stream: Stream, *key: int) -> np.random.Generator:
    """NumPy's default generator on `seed_sequence(stream, *key)`."""
    return np.random.default_rng(seed_sequence(stream, *key))


def random_state(stream: Stream, *key: int) -> int:
    """A 32-bit seed for libraries that take an integer `random_state`."""
    return int(seed_sequence(stream, *key).generate_state(1)[0])
