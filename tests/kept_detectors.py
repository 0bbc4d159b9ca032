"""Kept detectors that nothing was trained for, for the tests: small networks with awkward sizes, weights at random."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from small_detectors import LOSSES, training

from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.training import Training
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.portable.objects.anchors import Anchors
from lossfleet.runners.portable.objects.decoding import LIMITS
from lossfleet.runners.portable.objects.detector import Detector
from lossfleet.runners.prediction.columns import describe_columns
from lossfleet.runners.prediction.stored import read_model, write_model
from lossfleet.sweeps.keeping.detector_card import detector_card
from lossfleet.sweeps.keeping.detectors import described, named_weights

SQUARE = RetinaNet((3, 24, 24), 2, Anchors((4, 8), (6.0, 12.0)), body=(5, 6, 7), width=5, prior=0.2)


def square_training() -> Training:
    """A training of square images in colour whose boxes are near their anchors."""
    made = training(LOSSES["focal"], SQUARE)
    made.initial[-1] = tuple(each / 20 for each in made.initial[-1])
    return made


def make_detector(folder: Path, *trainings: Training, tile: int | None = None, **changes: Any) -> Detector:
    """The detector whose members are trainings before their first step, of images like those of the first."""
    images, network = Images.of(trainings[0].images), trainings[0].network
    score = {"mean": 0.4, "low": 0.3, "high": 0.5, "error": 0.04, "deviation": 0.05}
    description = {
        "name": "trees",
        "lossfleet": "0.2.0",
        "classes": list("abcdefgh"[: network.classes]),
        "class_counts": list(range(7, 7 + network.classes)),
        "columns": describe_columns(images),
        "detector": described(network, tile=tile, overlap=0.25) | {"limits": asdict(LIMITS) | changes},
        "expected": {f"test_{name}": score for name in ("ap", "ap50", "ap75")},
        "asked_members": len(trainings),
        "made": {
            "sweep": "first",
            "started": 1.0,
            "strategy": "retinanet_focal",
            "trial": 2,
            "splits": 10,
            "hyperparameters": {},
            "config": {"data": {}},
            "seeds": list(range(200, 200 + len(trainings))),
            "verdict": "retinanet_focal is ahead.",
        },
        "data": {"name": "trees", "digest": "0a1b2c3d", "source": "made up", "notes": []},
    }
    weights = named_weights(network, [each.initial for each in trainings])
    example = pd.DataFrame(np.asarray(images)[:2]).add_prefix("pixel_")
    write_model(folder, description, weights, example, detector_card(description))
    found = read_model(folder)
    assert isinstance(found, Detector)
    return found
