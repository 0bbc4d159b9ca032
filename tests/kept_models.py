"""Kept models that nothing was trained for, for the tests: a table like a bank's, weights drawn at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossfleet.runners.portable.encoder import Encoder
from lossfleet.runners.portable.model import Model
from lossfleet.runners.prediction.columns import describe_columns
from lossfleet.runners.prediction.stored import read_model, write_model
from lossfleet.runners.tables.reading import MISSING

CLASSES = ["no", "yes", "don't know"]
MEMBERS, WIDTH = 3, 7
SCORES = (
    "balanced_accuracy",
    "macro_f1",
    "mcc",
    "g_mean",
    "accuracy",
    *(f"recall[{name}]" for name in CLASSES),
)


def bank(rows: int = 211, seed: int = 0) -> pd.DataFrame:
    """Numbers with and without gaps, one that does not vary, categories with and without gaps."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows).astype(float),
            "balance": random.normal(1000, 3000, rows),
            "campaign": np.ones(rows),
            "job": random.choice(["admin", "blue-collar", "häusler, retired"], rows),
            "contact": random.choice(["phone", "cellular"], rows),
        }
    )
    table.loc[random.random(rows) < 0.2, "balance"] = np.nan
    table.loc[random.random(rows) < 0.2, "contact"] = None
    return table.astype({"job": "category", "contact": "category"})


def make_model(folder: Path, *, strategy: str = "focal", seed: int = 0, **changes: Any) -> Model:
    """A model of the table, of a network 7 wide, in the folder; of other classes where the changes have them."""
    random = np.random.default_rng([seed, 11])
    table = bank()
    columns = describe_columns(table)
    classes = changes.get("classes", CLASSES)
    features = Encoder(columns, MISSING).features(table).shape[1]
    weights = {
        "0.weight": random.normal(0, 0.5, (MEMBERS, WIDTH, features)),
        "0.bias": random.normal(0, 0.5, (MEMBERS, WIDTH)),
        "2.weight": random.normal(0, 0.5, (MEMBERS, len(classes), WIDTH)),
        "2.bias": random.normal(0, 0.5, (MEMBERS, len(classes))),
    }
    score = {"mean": 0.8, "low": 0.7, "high": 0.9, "error": 0.04, "deviation": 0.05}
    description = {
        "name": "bank",
        "lossfleet": "0.2.0",
        "classes": classes,
        "class_counts": [151, 47, 13][: len(classes)],
        "columns": columns,
        "missing": MISSING,
        "layers": ["dense", "relu", "dense"],
        "temperature": 1.7,
        "decision": "argmax",
        "prior_exponent": 0.6,
        "expected": {f"test_{name}": score for name in SCORES},
        "asked_members": MEMBERS,
        "made": {
            "sweep": "first",
            "started": 1.0,
            "strategy": strategy,
            "trial": 2,
            "splits": 10,
            "hyperparameters": {},
            "config": {"data": {"target": "y"}},
            "seeds": [200, 201, 202],
            "verdict": f"{strategy} is ahead.",
        },
        "data": {"name": "bank", "digest": "0a1b2c3d", "source": "made up", "notes": []},
    }
    arrays = {name: values.astype(np.float32) for name, values in weights.items()}
    write_model(folder, description | changes, arrays, table, "# A card\n")
    return read_model(folder)
