"""What is measured of the replicates that are at a rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lossfleet.conf.metrics import sign_of, split_class
from lossfleet.conf.schema import Config
from lossfleet.runners.data.splits import Split, row_counts
from lossfleet.runners.metrics.classification import Outputs, classification_metrics, metric_names
from lossfleet.runners.metrics.evaluation import (
    MOST_CONFUSION_CLASSES,
    confusion_counts,
    evaluate,
    mistakes,
)
from lossfleet.runners.training.slots import Slots
from lossfleet.sweeps.running.jobs import Job, ReplicateState, Stage

Member = tuple[Job, ReplicateState]
OF_EACH_CLASS = ("recall", "precision")


def measure(
    fleet: Slots,
    at_rung: dict[int, Member],
    losses: np.ndarray,
    class_names: Sequence[str],
    columns: Mapping[str, tuple[int, ...]],
) -> None:
    """Metrics on the validation parts: the searched ones at every rung, those of `trial_metrics` at the last epoch.

    A final evaluation has all at its last epoch, and is measured on the test part too, then only. What has diverged is
    measured as if all of its logits were 0, or not at all, as `evaluation.diverged` says. With
    `budget.checkpoint=best` a replicate at its last epoch is measured as it was at its best rung, as far as it has not
    diverged.

    Args:
        fleet: in whose slots the replicates are.
        at_rung: the replicates at a rung, by slot; what was measured is kept in them.
        losses: (K,), the mean training loss of each slot's epoch.
        class_names: of the data.
        columns: of the user's, with the features that are made of each: what a final evaluation depends on is asked
            of these.
    """
    at_rung = counted(at_rung)
    diverged = [slot for slot, (_, run) in at_rung.items() if run.failure]
    last = {slot: job.has_ended(run) for slot, (job, run) in at_rung.items()}
    logits = fleet.logits("validation")
    logits[diverged] = 0
    chosen = {slot: (job, run) for slot, (job, run) in at_rung.items() if job.takes_best(run)}
    rungs = [slot for slot in at_rung if slot in chosen or not last[slot]]
    for at_end, measured in ((False, rungs), (True, [slot for slot in at_rung if last[slot]])):
        for slots in _of_equal_size(fleet, measured):
            splits = [fleet.split(slot) for slot in slots]
            _validate(logits[slots], splits, [at_rung[slot] for slot in slots], class_names, at_end)
        if not at_end:
            _keep_best(fleet, chosen, logits)
    final = [slot for slot in at_rung if last[slot] and at_rung[slot][0].stage == "final"]
    if final:
        test_logits = fleet.logits("test")
        test_logits[diverged] = 0
        for slots in _of_equal_size(fleet, final):
            splits = [fleet.split(slot) for slot in slots]
            members = [at_rung[slot] for slot in slots]
            _evaluate(logits[slots], test_logits[slots], splits, members, class_names)
            asked = [slot for slot in slots if at_rung[slot][1].mistakes is not None]
            if asked:
                _shuffle(fleet, {slot: at_rung[slot] for slot in asked}, class_names, columns)
    keep_losses(at_rung, losses)


def counted(at_rung: Mapping[int, Member]) -> dict[int, Member]:
    """The replicates at a rung that are measured: what has diverged only where `evaluation.diverged` says so."""
    return {
        slot: (job, run)
        for slot, (job, run) in at_rung.items()
        if run.failure is None or job.config.evaluation.diverged == "chance"
    }


def keep_losses(at_rung: Mapping[int, Member], losses: np.ndarray) -> None:
    """Keep the training losses (K,) of replicates at a rung; at the end of one that takes its best rung, that one's."""
    for slot, (job, run) in at_rung.items():
        if run.failure is None:
            run.measure({"train_loss": float(losses[slot])}, rung=True)
        if job.has_ended(run) and job.takes_best(run):
            epoch = job.best_epoch(run)
            of_best = {"best_epoch": epoch, "train_loss": dict(run.curves["train_loss"])[epoch]}
            run.measure(of_best, rung=False)


def rung_metrics(config: Config) -> tuple[str, ...]:
    """The metrics that are measured at every rung."""
    return tuple(dict.fromkeys((config.search.metric, "balanced_accuracy", "macro_f1", "rarest_recall")))


def trial_metrics(config: Config, class_names: Sequence[str]) -> tuple[str, ...]:
    """What is measured of a trial of the search at its end: of what each class has, two metrics and those searched.

    There are many such trials, and a hundred classes may have a thousand metrics.
    """
    search = config.search
    searched = (*rung_metrics(config), *search.objectives, *(each.metric for each in search.constraints))
    return tuple(
        name
        for name in metric_names(class_names, search.users_metrics)
        if split_class(name)[1] is None or split_class(name)[0] in OF_EACH_CLASS or name in searched
    )


def _keep_best(fleet: Slots, chosen: Mapping[int, Member], logits: np.ndarray) -> None:
    """Remember replicates that are at their best rung, and recall it where others are at their last epoch.

    Args:
        fleet: in whose slots the replicates are.
        chosen: those that count as they were at their best rung, by slot.
        logits: (K, C, N) on the validation parts; those of the slots that are recalled become what they were.
    """
    at_best = {slot: job.best_epoch(run) == run.epochs for slot, (job, run) in chosen.items()}
    if any(at_best.values()):
        fleet.remember([slot for slot in chosen if at_best[slot]])
    passed = [slot for slot, (job, run) in chosen.items() if job.has_ended(run) and not at_best[slot]]
    if passed:
        fleet.recall(passed)
        found = fleet.logits("validation", passed)
        logits[passed, :, : found.shape[2]] = found[passed]


def _of_equal_size(fleet: Slots, slots: Sequence[int]) -> list[list[int]]:
    """The slots whose splits are as large in every class and part; all together, but for parts of whole groups."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for slot in slots:
        split = fleet.split(slot)
        size = (len(split.validation_labels), len(split.test_labels), *split.class_counts.tolist())
        alike.setdefault(size, []).append(slot)
    return list(alike.values())


def _outputs(logits: np.ndarray, splits: Sequence[Split], part: str) -> Outputs:
    """What K replicates say of a part of their splits, of N rows each, from logits (K, C, N or more)."""
    labels = np.stack([getattr(split, f"{part}_labels") for split in splits])
    weights = [getattr(split, f"{part}_weights") for split in splits]
    return Outputs(logits[:, :, : labels.shape[1]], labels, None if weights[0] is None else np.stack(weights))


def _validate(
    logits: np.ndarray,
    splits: Sequence[Split],
    members: Sequence[Member],
    class_names: Sequence[str],
    at_end: bool,
) -> None:
    """Metrics of logits (K, C, N or more) on the validation parts of K replicates, each of N rows."""
    config = members[0][0].config
    names: dict[Stage, tuple[str, ...]] = dict.fromkeys(("search", "final"), rung_metrics(config))
    if at_end:
        names = {
            "search": trial_metrics(config, class_names),
            "final": metric_names(class_names, config.search.users_metrics),
        }
    metrics = classification_metrics(
        *_outputs(logits, splits, "validation"),
        rarest_class=splits[0].rarest_class,
        names=max((names[job.stage] for job, _ in members), key=len),
        users=config.search.users_metrics,
        class_names=class_names,
    )
    for index, (job, run) in enumerate(members):
        # Its curve has the last rung already, and what is measured at the end may be an earlier one.
        curves = () if at_end and job.takes_best(run) else rung_metrics(job.config)
        for name in names[job.stage]:
            run.measure({f"validation_{name}": float(metrics[name][index])}, rung=name in curves)


def _evaluate(
    validation: np.ndarray,
    test: np.ndarray,
    splits: Sequence[Split],
    members: Sequence[Member],
    class_names: Sequence[str],
) -> None:
    """Metrics and diagrams of K replicates on their test parts, from the logits (K, C, N or more) of both parts."""
    config = members[0][0].config
    tested = _outputs(test, splits, "test")
    metrics, diagrams = evaluate(
        _outputs(validation, splits, "validation"),
        tested,
        class_counts=np.stack([split.weighted_counts for split in splits]),
        rarest_class=splits[0].rarest_class,
        metric=config.search.metric,
        decision=config.decision,
        users=config.search.users_metrics,
        class_names=class_names,
    )
    if len(class_names) > MOST_CONFUSION_CLASSES:
        for counts, (_, run) in zip(confusion_counts(tested), members, strict=True):
            run.confusion = counts.tolist()
    for index, ((_, run), split) in enumerate(zip(members, splits, strict=True)):
        run.measure({name: float(values[index]) for name, values in metrics.items()}, rung=False)
        run.curves |= {name: curves[index] for name, curves in diagrams.items()}
        # The corrected t-test of the comparison needs them.
        run.measure(row_counts(split), rung=False)
        if run.failure is None:
            run.mistakes = mistakes(tested.logits[index], split.test_labels, split.test_rows)


def _shuffle(
    fleet: Slots,
    asked: Mapping[int, Member],
    class_names: Sequence[str],
    columns: Mapping[str, tuple[int, ...]],
) -> None:
    """How much of the searched metric replicates lose on their test parts when the cells of a column are shuffled.

    It is scikit-learn's permutation_importance with one repeat a split. That one moves single columns of what a model
    takes, of which a category has several, and asks one model at a time.

    Args:
        fleet: in whose slots the replicates are.
        asked: those whose logits are finite, by slot, with parts of one size; their test metrics are measured.
        class_names: of the data.
        columns: with the features that are made of each.

    Reference: Breiman 2001, Random forests.
    """
    slots = list(asked)
    splits = [fleet.split(slot) for slot in slots]
    search = asked[slots[0]][0].config.search
    importances: list[dict[str, float]] = [{} for _ in slots]
    for column, features in columns.items():
        metrics = classification_metrics(
            *_outputs(fleet.logits("test", slots, features)[slots], splits, "test"),
            rarest_class=splits[0].rarest_class,
            names=(search.metric,),
            users=search.users_metrics,
            class_names=class_names,
        )
        for (_, run), importance, score in zip(
            asked.values(), importances, metrics[search.metric], strict=True
        ):
            lost = sign_of(search.metric) * (run.metrics[f"test_{search.metric}"] - float(score))
            importance[column] = round(lost, 6)
    for (_, run), importance in zip(asked.values(), importances, strict=True):
        run.importance = importance
