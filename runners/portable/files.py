"""The files of a kept model: a description in JSON, and the weights as safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

FORMAT = 6
# Those of the first one say less of their columns; before the third all layers are dense or ReLU, before the fourth
# each pixel of an image is a column of its own, before the fifth there are no shortcuts, and before the sixth there are
# no detectors.
FORMATS = (1, 2, 3, 4, 5, FORMAT)
DESCRIPTION_FILE, WEIGHTS_FILE = "model.json", "weights.safetensors"


class ModelError(ValueError):
    """A model or rows that cannot be used: what it was, what was expected, and a hint at how to mend it."""

    def __init__(self, what: str, expected: str, hint: str) -> None:
        super().__init__(f"{what}; expected {expected}; {hint}")
        self.what, self.expected, self.hint = what, expected, hint


def read_description(folder: Path) -> dict[str, Any]:
    """What a model says of itself.

    Raises:
        ModelError: its file is missing or damaged, or of another version.
    """
    path = folder / DESCRIPTION_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        found = description["format"]
    except FileNotFoundError:
        raise ModelError(
            f"there is no {path}", "the folder of a kept model", "name the folder that has its MLmodel"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path} cannot be read ({type(error).__name__}: {error})", "a whole model", "keep it again"
        ) from error
    if found not in FORMATS:
        raise ModelError(
            f"{path} is of format {found}",
            f"one of the formats {', '.join(map(str, FORMATS))}",
            f"use the version of lossfleet that kept it ({description.get('lossfleet', 'unknown')})",
        )
    return description


def read_weights(folder: Path, description: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The weights of a model, by name.

    Raises:
        ModelError: their file is missing, or other than when it was written.
    """
    path = folder / WEIGHTS_FILE
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise ModelError(f"there is no {path}", "the weights of the model", "keep it again") from None
    if digest != description["weights_sha256"]:
        raise ModelError(
            f"{path} is damaged: its SHA-256 is {digest[:16]}...",
            f"{description['weights_sha256'][:16]}..., as when it was kept",
            "fetch it again, or keep it again",
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "safetensors", "keep it again") from error
