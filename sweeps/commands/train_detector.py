"""One training run of a detector, its metrics printed as it goes."""

from __future__ import annotations

from lossfleet.conf.schema import Config
from lossfleet.runners.detection.average_precision import precision_at_recall
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.detection.measuring import object_metrics
from lossfleet.runners.training.detectors import DetectorShape, DetectorSlots, rows_of
from lossfleet.runners.training.native.build import is_chosen
from lossfleet.runners.training.native.libraries import DETECTORS
from lossfleet.runners.training.replicate import Replicate

PRINTED = ("ap", "ap50", "ap75")


def run_detector_training(config: Config, replicate: Replicate, dataset: SceneDataset) -> None:
    """Train a detector and print its validation metrics at every rung and once its test metrics.

    Args:
        config: of the replicate.
        replicate: to train; by the native core unless `engine.native` is off or this machine cannot have it.
        dataset: of the replicate.
    """
    slots = DetectorSlots(DetectorShape(is_chosen(config.engine.native, DETECTORS)), dataset.scenes, slots=1)
    slots.enter(0, replicate)
    print(f"{'epoch':>10}  {'train_loss':>10}  " + "  ".join(f"{name:>10}" for name in PRINTED))
    for epoch in range(1, config.budget.epochs + 1):
        loss = slots.train_epoch()[0]
        if epoch in config.budget.rung_epochs() or epoch == config.budget.epochs:
            _print_row(str(epoch), f"{loss:.6f}", _measured(slots, "validation", dataset))
    test = _measured(slots, "test", dataset)
    _print_row("test", "", test)
    for name in dataset.class_names:
        print(f"ap of {name}: {test[f'class_ap[{name}]']:.4f}")


def _measured(slots: DetectorSlots, part: str, dataset: SceneDataset) -> dict[str, float]:
    scenes = dataset.scenes.take(rows_of(slots.split(0), part))
    return object_metrics(precision_at_recall(slots.detections(part, [0])[0], scenes), dataset.class_names)


def _print_row(label: str, loss: str, metrics: dict[str, float]) -> None:
    print(f"{label:>10}  {loss:>10}  " + "  ".join(f"{metrics[name]:>10.4f}" for name in PRINTED))
