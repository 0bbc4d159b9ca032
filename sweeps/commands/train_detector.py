"""One training run of a detector, its metrics printed as it goes."""

from __future__ import annotations

import math

from lossfleet.conf.metrics import sign_of
from lossfleet.conf.schema import Config
from lossfleet.conf.searching import Search
from lossfleet.runners.detection.average_precision import precision_at_recall
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.detection.measuring import object_metrics
from lossfleet.runners.training.detectors import DetectorShape, DetectorSlots, rows_of
from lossfleet.runners.training.native.libraries import DETECTORS
from lossfleet.runners.training.replicate import Replicate
from lossfleet.sweeps.running.size import has_native

PRINTED = ("ap", "ap50", "ap75")


def run_detector_training(config: Config, replicate: Replicate, dataset: SceneDataset) -> None:
    """Train a detector and print its validation metrics at every rung and once its test metrics.

    Args:
        config: of the replicate.
        replicate: to train; by the native core unless `engine.native` is off or this machine cannot have it.
        dataset: of the replicate.

    Raises:
        UserError: `engine.native` is on and this machine cannot have the core.
    """
    slots = DetectorSlots(DetectorShape(has_native(config.engine.native, DETECTORS)), dataset.scenes, slots=1)
    slots.enter(0, replicate)
    search, takes_best = config.search, config.budget.checkpoint == "best"
    best, best_epoch = -math.inf, 0
    print(f"{'epoch':>10}  {'train_loss':>10}  " + "  ".join(f"{name:>10}" for name in PRINTED))
    for epoch in range(1, config.budget.epochs + 1):
        loss = slots.train_epoch()[0]
        if epoch not in config.budget.rung_epochs():
            continue
        metrics = _measured(slots, "validation", dataset, search)
        _print_row(str(epoch), f"{loss:.6f}", metrics)
        value = sign_of(search.metric) * metrics[search.metric]
        if takes_best and (best_epoch == 0 or value > best):
            # NaN is never best.
            best, best_epoch = -math.inf if math.isnan(value) else value, epoch
            slots.remember([0])
    if takes_best:
        slots.recall([0])
        print(f"tested as it was at epoch {best_epoch}, where {search.metric} is best")
    test = _measured(slots, "test", dataset, search)
    _print_row("test", "", test)
    for name in dataset.class_names:
        print(f"ap of {name}: {test[f'class_ap[{name}]']:.4f}")


def _measured(slots: DetectorSlots, part: str, dataset: SceneDataset, search: Search) -> dict[str, float]:
    scenes = dataset.scenes.take(rows_of(slots.split(0), part))
    precision = precision_at_recall(slots.detections(part, [0])[0], scenes)
    return object_metrics(precision, dataset.class_names, users=search.users_metrics)


def _print_row(label: str, loss: str, metrics: dict[str, float]) -> None:
    print(f"{label:>10}  {loss:>10}  " + "  ".join(f"{metrics[name]:>10.4f}" for name in PRINTED))
