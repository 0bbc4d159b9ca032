"""Where MLflow begins with a kept model: it is read, and answers in tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .files import read_description
from .model import Model
from .objects.detector import Detector


def load_model(folder: Path) -> Model | Detector:
    """The classifier or the detector in a folder.

    Raises:
        ModelError: a file is missing or damaged, or of another version.
    """
    return Detector(folder) if "detector" in read_description(folder) else Model(folder)


class _Classifier:
    """What MLflow calls of a classifier."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(
        self, rows: pd.DataFrame | np.ndarray, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Class and probabilities of rows of a table, or of images (N, channels, height, width).

        The parameter `decision` takes another rule than the model's.
        """
        decision = (params or {}).get("decision") or None
        if isinstance(rows, np.ndarray):
            table = self.model.predict_images(rows.reshape(len(rows), -1), decision=decision)
        else:
            table = self.model.predict(rows, decision=decision)
        # As text: a category says less to who reads the answer.
        return table.assign(**{"class": table["class"].astype(str)})


class _Finder:
    """What MLflow calls of a detector."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def predict(self, images: np.ndarray, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The objects found in images (N, channels, height, width), as `Detector.predict` has them."""
        return self.detector.predict(images)


def _load_pyfunc(path: str) -> _Classifier | _Finder:
    model = load_model(Path(path))
    return _Finder(model) if isinstance(model, Detector) else _Classifier(model)
