"""What is measured of the detectors that are at a rung."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lossfleet.conf.metrics import split_class
from lossfleet.conf.schema import Config
from lossfleet.runners.data.splits import row_counts
from lossfleet.runners.detection.anchor_losses import CROSS_ENTROPY, OWN, mapped, shares_by_gamma
from lossfleet.runners.detection.average_precision import precision_at_recall
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.detection.measuring import object_metric_names, object_metrics
from lossfleet.runners.detection.objective import DetectionLoss
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.metrics.evaluation import LOSS_SHARES, PRECISION_AT_RECALL
from lossfleet.runners.portable.objects.detections import NOTHING, Detections
from lossfleet.runners.training.detectors import DetectorSlots, rows_of
from lossfleet.sweeps.running.jobs import ReplicateState
from lossfleet.sweeps.running.measuring import Member, counted, keep_losses

# Of a replicate, so that a journal stays small however many images are tested on.
MOST_SHOWN = 12
MOST_MAPPED = 3
# And as many images are enough for a curve of thousands of anchors in each.
MOST_SORTED = 500


def measure_objects(
    slots: DetectorSlots, at_rung: Mapping[int, Member], losses: np.ndarray, dataset: SceneDataset
) -> None:
    """Metrics on the validation parts: some at every rung, those of `trial_metrics` at the last epoch of a trial.

    A final evaluation has all at its last epoch, on the test part too, with precision at each recall at an IoU of .5 as
    a curve and what it finds in some images; its first replicate has where its loss falls, and how fast it is. What has
    diverged finds nothing, or is not measured, as `evaluation.diverged` says; `budget.checkpoint=best` is as in
    `measuring.measure`.

    Args:
        slots: that the detectors are in.
        at_rung: the replicates at a rung, by slot; what was measured is kept in them.
        losses: (K,), the mean training loss of each slot's epoch.
        dataset: that they are trained on.
    """
    at_rung = counted(at_rung)
    members = _Members(slots, at_rung, dataset)
    last = [slot for slot, (job, run) in at_rung.items() if job.has_ended(run)]
    chosen = [slot for slot, (job, run) in at_rung.items() if job.takes_best(run)]
    precision = members.precision("validation", at_rung)
    for slot in at_rung:
        if slot in chosen or slot not in last:
            _validate(at_rung[slot], precision[slot], dataset.class_names, is_rung=True)
    precision |= members.precision("validation", _recalled(slots, at_rung, chosen))
    for slot in last:
        _validate(
            at_rung[slot], precision[slot], dataset.class_names, is_rung=slot not in chosen, at_end=True
        )
    final = [slot for slot in last if at_rung[slot][0].stage == "final"]
    found = members.found("test", final)
    for slot in final:
        run, split = at_rung[slot][1], slots.split(slot)
        _test(at_rung[slot], found[slot], rows_of(split, "test"), dataset)
        run.measure(row_counts(split), rung=False)
        if run.number == 0 and run.failure is None:
            _keep_anchor_losses(slots, slot, run, dataset)
            # No thread trains meanwhile.
            run.speed = slots.speed(slot)
    keep_losses(at_rung, losses)


def rung_metrics(config: Config) -> tuple[str, ...]:
    """The metrics that are measured at every rung."""
    return tuple(dict.fromkeys((config.search.metric, "ap", "ap50")))


def trial_metrics(config: Config, class_names: Sequence[str]) -> tuple[str, ...]:
    """What is measured of a trial of the search at its end: of single classes what is searched alone."""
    search = config.search
    searched = (*search.objectives, *(each.metric for each in search.constraints))
    names = object_metric_names(class_names, search.users_metrics)
    return tuple(name for name in names if split_class(name)[1] is None or name in searched)


class _Members:
    """What the detectors in some slots find in parts of their splits; those that have diverged find nothing."""

    def __init__(self, slots: DetectorSlots, members: Mapping[int, Member], dataset: SceneDataset) -> None:
        self._slots, self._dataset = slots, dataset
        self._diverged = {slot for slot, (_, run) in members.items() if run.failure}

    def found(self, part: str, slots: Collection[int]) -> dict[int, list[Detections]]:
        """The detections in each image of a part."""
        found = self._slots.detections(part, [slot for slot in slots if slot not in self._diverged])
        nothing = {
            slot: [NOTHING] * len(rows_of(self._slots.split(slot), part))
            for slot in self._diverged & {*slots}
        }
        return found | nothing

    def precision(self, part: str, slots: Collection[int]) -> dict[int, np.ndarray]:
        """What `precision_at_recall` gives of each."""
        return {
            slot: precision_at_recall(
                found, self._dataset.scenes.take(rows_of(self._slots.split(slot), part))
            )
            for slot, found in self.found(part, slots).items()
        }


def _recalled(slots: DetectorSlots, at_rung: Mapping[int, Member], chosen: Sequence[int]) -> list[int]:
    """The slots at their last epoch that are put back to their best rung; those that are at theirs are remembered."""
    at_best = {
        slot for slot in chosen if at_rung[slot][0].best_epoch(at_rung[slot][1]) == at_rung[slot][1].epochs
    }
    slots.remember(at_best)
    passed = [slot for slot in chosen if slot not in at_best and at_rung[slot][0].has_ended(at_rung[slot][1])]
    slots.recall(passed)
    return passed


def _validate(
    member: Member, precision: np.ndarray, class_names: Sequence[str], *, is_rung: bool, at_end: bool = False
) -> None:
    job, run = member
    users = job.config.search.users_metrics
    names = of_curves = rung_metrics(job.config)
    if at_end:
        is_final = job.stage == "final"
        names = (
            object_metric_names(class_names, users) if is_final else trial_metrics(job.config, class_names)
        )
    for name, value in object_metrics(precision, class_names, names=names, users=users).items():
        run.measure({f"validation_{name}": value}, rung=is_rung and name in of_curves)


def _test(member: Member, found: Sequence[Detections], rows: np.ndarray, dataset: SceneDataset) -> None:
    job, run = member
    scenes = dataset.scenes.take(rows)
    precision = precision_at_recall(found, scenes)
    values = object_metrics(precision, dataset.class_names, users=job.config.search.users_metrics)
    run.measure({f"test_{name}": value for name, value in values.items()}, rung=False)
    of_half = precision[0][:, ~np.isnan(precision[0, 0])].mean(axis=1)
    run.curves[PRECISION_AT_RECALL] = [(step, float(value)) for step, value in enumerate(of_half)]
    if run.failure is None:
        run.found = [
            [int(row), *each.to_lists()] for row, each in zip(rows[:MOST_SHOWN], found, strict=False)
        ]


def _keep_anchor_losses(slots: DetectorSlots, slot: int, run: ReplicateState, dataset: SceneDataset) -> None:
    """Where the loss of a detector falls in test images, if all anchors count: maps of some, with cross-entropy beside
    focal loss, and of focal loss how unevenly it falls."""
    training = slots.training(slot)
    loss, network = training.loss, training.network
    if not isinstance(loss, DetectionLoss) or loss.mining is not None:
        return
    assert isinstance(network, RetinaNet)
    rows = rows_of(slots.split(slot), "test")[:MOST_SORTED]
    labels, _ = training.targets.dense(rows, network.anchor_count)
    logits = slots.logits(slot, rows)
    shown = [place for place, row in enumerate(rows) if len(dataset.scenes.labels[row])][:MOST_MAPPED]
    losses = {OWN: loss}
    if loss.gamma > 0:
        losses[CROSS_ENTROPY] = replace(loss, gamma=0.0)
        for key, shares in shares_by_gamma(loss, logits, labels).items():
            run.curves[LOSS_SHARES[key]] = [(step, float(share)) for step, share in enumerate(shares)]
    run.anchor_losses = {
        name: [
            [int(rows[place]), *mapped(network, each.of_anchors(logits[place], labels[place]), labels[place])]
            for place in shown
        ]
        for name, each in losses.items()
    }
