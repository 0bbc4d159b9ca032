"""Tables of three classes that overlap, of numbers, categories and missing numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import Split, make_split

COUNTS = (101, 17, 37)


def table(kinds: str = "numbers") -> pd.DataFrame:
    """Rows of overlapping classes, in the order of `classes`."""
    random = np.random.default_rng(3)
    labels = classes()
    size = len(labels)
    columns: dict[str, object] = {}
    if "words" in kinds:
        for name, words in (("colour", "abc"), ("shape", "uvxyz")):
            usual, drawn = np.array(list(words))[labels], random.choice(list(words), size)
            columns[name] = pd.Categorical(np.where(random.random(size) < 0.6, usual, drawn))
    if "numbers" in kinds:
        columns |= {name: random.normal(size=size) + labels / 2 for name in ("length", "width", "depth")}
    if "gaps" in kinds:
        columns["age"] = np.where(random.random(size) < 0.3, np.nan, random.normal(size=size) - labels)
        columns["colour"] = pd.Categorical(np.where(random.random(size) < 0.2, None, columns["colour"]))
    return pd.DataFrame(columns)


def classes() -> np.ndarray:
    return np.random.default_rng(2).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))


def toy_dataset(kinds: str = "numbers") -> Dataset:
    return Dataset("toy", table(kinds), classes(), ("a", "b", "c"), (), "here")


def split_of(kinds: str = "numbers") -> Split:
    return make_split(toy_dataset(kinds), Shares(0.2, 0.2), seed=0, split=0)
