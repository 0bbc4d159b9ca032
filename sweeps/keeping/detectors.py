"""A detector trained on all images of its data: several seeds, for a model that is the mean of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.schema import Config
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.portable.objects.decoding import LIMITS
from lossfleet.runners.portable.objects.network import layer_names
from lossfleet.sweeps.keeping.refit import FIRST_SEED, converged, encoded_rows, whole_replicate, whole_split

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.models.initial import Parameters


@dataclass(frozen=True, eq=False)
class RefitDetectors:
    """What was trained.

    Fields: columns, what is said of the images, as `describe_columns` has it; rows, some of them; detector, what is
    said of the network, as `portable.objects.detector.Detector` takes it; weights, by name; seeds of the members.
    """

    columns: list[dict[str, Any]]
    rows: pd.DataFrame
    detector: dict[str, Any]
    weights: dict[str, np.ndarray]
    seeds: list[int]


def refit_detectors(
    config: Config, dataset: SceneDataset, *, members: int, epochs: int | None = None
) -> RefitDetectors:
    """Train a configuration on all images of its data.

    Args: as `refit.refit` has them.

    Raises:
        Failure: every member diverged.
    """
    from lossfleet.runners.training.detectors import DetectorShape, DetectorSlots, network_of
    from lossfleet.runners.training.native.build import is_chosen
    from lossfleet.runners.training.native.libraries import DETECTORS

    rows = np.arange(len(dataset.scenes))
    table, columns, features = encoded_rows(dataset, rows)
    split = replace(whole_split(features, dataset, rows), class_counts=dataset.class_counts, train_rows=rows)
    native = is_chosen(config.engine.native, DETECTORS)
    slots = DetectorSlots(DetectorShape(native), dataset.scenes, slots=members)
    seeds = list(range(FIRST_SEED, FIRST_SEED + members))
    for slot, seed in enumerate(seeds):
        slots.enter(slot, whole_replicate(config, split, seed))
    for _ in range(epochs or config.budget.epochs):
        losses = slots.train_epoch()
    parameters = [slots.parameters(slot) for slot in range(members)]
    is_finite = converged(config.strategy, losses, [[each] for each in parameters])
    network = network_of(config, dataset.features.image_shape, len(dataset.class_names))
    return RefitDetectors(
        columns=columns,
        rows=table,
        detector=described(
            network, tile=dataset.tile, overlap=config.data.source.settings.get("overlap", 0.0)
        ),
        weights=named_weights(network, list(compress(parameters, is_finite))),
        seeds=list(compress(seeds, is_finite)),
    )


def described(network: RetinaNet | TwoStage, *, tile: int | None, overlap: float) -> dict[str, Any]:
    """What a kept detector must know of its network, of which boxes are finds, and of how photographs were cut."""
    first = network.proposer if isinstance(network, TwoStage) else network
    regions = ("hidden", "cells", "region_size", "proposals")
    return {
        **{name: getattr(first, name) for name in ("body", "width", "depth")},
        "anchors": asdict(first.anchors),
        **(
            {"regions": {name: getattr(network, name) for name in regions}}
            if isinstance(network, TwoStage)
            else {}
        ),
        "limits": asdict(LIMITS),
        "tile": tile,
        "overlap": overlap,
    }


def named_weights(network: RetinaNet | TwoStage, members: list[list[Parameters]]) -> dict[str, np.ndarray]:
    """The parameters of members by the names that `layer_names` gives the layers, each behind the members' axis."""
    first = network.proposer if isinstance(network, TwoStage) else network
    dense = len(network.dense) if isinstance(network, TwoStage) else 0
    names = layer_names(len(first.body), len(first.anchors.strides), first.depth, dense)
    # Safetensors writes the memory as it lies.
    return {
        f"{name}.{kind}": np.ascontiguousarray(np.stack([each[place] for each in of_members]))
        for name, of_members in zip(names, zip(*members, strict=True), strict=True)
        for place, kind in enumerate(("weight", "bias"))
    }
