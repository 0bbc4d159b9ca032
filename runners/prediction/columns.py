"""What a model must know of the columns of a table to encode further rows as it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.runners.data.categories import Categories
from lossfleet.runners.data.encoding import TEXT_FEATURES, fit_text
from lossfleet.runners.images.pixels import Images, mean_and_factor

if TYPE_CHECKING:
    import pandas as pd


def describe_columns(features: pd.DataFrame | Images) -> list[dict[str, Any]]:
    """How each column is encoded, learnt from all rows as `encode` learns it from a training part.

    Args:
        features: (N, columns), numeric, categorical or text; or images.

    Returns:
        For each column, in their order, its `name`, `kind` and `has_gaps`, as JSON has it. A number has `median`,
        `mean` and `factor`, 1 / standard deviation, or 0 where the column does not vary; words have those that
        there are, `words`, in alphabetical order; text has what `fit_text` says of it. Images are one entry of the kind
        `pixels`, for all columns of pixels, with their `shape` (channels, height, width), the `dtype` of pixels, and
        `mean` and `factor` of each channel.
    """
    if isinstance(features, Images):
        mean, factor = (each.tolist() for each in mean_and_factor(features))
        described = {
            "name": "pixel",
            "kind": "pixels",
            "has_gaps": False,
            "shape": list(features.image_shape),
            "dtype": str(features.pixels.dtype),
        }
        return [described | {"mean": mean, "factor": factor}]
    return [_described(str(name), cells) for name, cells in features.items()]


def described_categories(columns: Sequence[Mapping[str, Any]]) -> Categories | None:
    """Which of the features that a model's columns give are no quantities; None where all are."""
    of_kind = {
        kind: [each for each in columns if each["kind"] == kind] for kind in ("number", "words", "text")
    }
    return Categories.of(
        [each["has_gaps"] for each in of_kind["number"]],
        [len(each["words"]) + each["has_gaps"] for each in of_kind["words"]],
        TEXT_FEATURES * len(of_kind["text"]),
    )


def _described(name: str, cells: pd.Series) -> dict[str, Any]:
    import pandas as pd

    if cells.dtype == "category":
        return _words(name, cells)
    if pd.api.types.is_numeric_dtype(cells):
        return _number(name, cells.to_numpy(float))
    return {"name": name, "kind": "text", **fit_text(cells.to_numpy(object))}


def _number(name: str, values: np.ndarray) -> dict[str, Any]:
    absent = np.isnan(values)
    present = values[~absent]
    median = float(np.median(present)) if present.size else 0.0
    filled = np.where(absent, median, values)
    varies = present.size > 0 and present.min() < present.max()
    return {
        "name": name,
        "kind": "number",
        "has_gaps": bool(absent.any()),
        "median": median,
        "mean": float(filled.mean()),
        "factor": float(1 / filled.std()) if varies else 0.0,
    }


def _words(name: str, cells: pd.Series) -> dict[str, Any]:
    seen = np.unique(cells.cat.codes)
    words = [str(cells.cat.categories[code]) for code in seen[seen >= 0]]
    return {"name": name, "kind": "words", "has_gaps": bool((seen < 0).any()), "words": words}
