"""One training run on the solo engine: any cell, stock MindSpore layers, metrics printed as it goes."""

from __future__ import annotations

import math

from lossfleet.conf.metrics import of_class, sign_of
from lossfleet.conf.schema import Config
from lossfleet.runners.data.loading import tell_notes, tell_small_classes
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.metrics.classification import classification_metrics
from lossfleet.runners.training.replicate import ReplicateFactory

# The split of `lossfleet train`; the seed is the configuration's.
TRAIN_SPLIT = 0
PRINTED = ("balanced_accuracy", "macro_f1", "macro_average_precision", "rarest_recall")


def run_training(config: Config) -> None:
    """Train one replicate and print its validation metrics at every rung and once its test metrics.

    Raises:
        UserError: the data cannot be split as asked.
    """
    factory = ReplicateFactory.of(config)
    replicate = factory.replicate(config, seed=config.seed, split=TRAIN_SPLIT)
    tell_notes(config.data, factory.dataset, replicate.split)
    split = replicate.split
    tell_small_classes(factory.dataset, split)
    print(f"{config.strategy} on {config.data.label}, seed {config.seed}, split {TRAIN_SPLIT}")
    # Late: both need MindSpore.
    if isinstance(factory.dataset, SceneDataset):
        from lossfleet.sweeps.commands.train_detector import run_detector_training

        run_detector_training(config, replicate, factory.dataset)
        return
    from lossfleet.runners.training.solo import train_solo

    print(f"{'epoch':>10}  {'train_loss':>23}  " + "  ".join(f"{name:>23}" for name in PRINTED))
    search, takes_best = config.search, config.budget.checkpoint == "best"
    best, best_epoch = -math.inf, 0
    for epoch, progress in enumerate(train_solo(replicate), start=1):
        if epoch not in config.budget.rung_epochs():
            continue
        metrics = classification_metrics(
            progress.logits(split.validation_features),
            split.validation_labels,
            split.validation_weights,
            rarest_class=split.rarest_class,
            names=tuple(dict.fromkeys((*PRINTED, search.metric))),
            users=search.users_metrics,
            class_names=factory.dataset.class_names,
        )
        _print_row(str(epoch), progress.training_loss[-1], metrics)
        value = sign_of(search.metric) * float(metrics[search.metric])
        if takes_best and (best_epoch == 0 or value > best):
            # NaN is never best.
            best, best_epoch = -math.inf if math.isnan(value) else value, epoch
            test_logits = progress.logits(split.test_features)
    if takes_best:
        print(f"tested as it was at epoch {best_epoch}, where {search.metric} is best")
    else:
        test_logits = progress.logits(split.test_features)
    metrics = classification_metrics(
        test_logits,
        split.test_labels,
        split.test_weights,
        rarest_class=split.rarest_class,
        class_names=factory.dataset.class_names,
    )
    _print_row("test", None, metrics)
    for name in factory.dataset.class_names:
        print(f"recall of {name}: {metrics[of_class('recall', name)]:.4f}")


def _print_row(label: str, loss: float | None, metrics: dict) -> None:
    cells = ["" if loss is None else f"{loss:.6f}", *(f"{float(metrics[name]):.4f}" for name in PRINTED)]
    print(f"{label:>10}  " + "  ".join(f"{cell:>23}" for cell in cells))
