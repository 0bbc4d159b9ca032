"""Whether the parts of a sweep work, tried before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.detecting import finds_objects
from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.conf.schema import PART_GROUPS, Config
from lossfleet.sweeps.planning.plan import Plan, Study

if TYPE_CHECKING:
    from lossfleet.runners.data.splits import Split

# Of the outputs that a metric of the user's is tried on, and of the training that a schedule is.
MEMBERS, EXAMPLES, STEPS = 3, 17, 7
# What needs MindSpore to be tried.
COMPILED = frozenset({"loss", "mining", "model", "optimizer"})


def check_parts(plan: Plan) -> None:
    """Tries what Optuna is given, and all parts that are not lossfleet's own.

    Raises:
        UserError: one of them cannot be imported, raises an exception or returns what is of no use; the message has
            the file and the line.
    """
    _try_search(plan)
    _try_references(plan.references)
    check_users_parts(plan.studies)


def check_users_parts(studies: Sequence[Study]) -> None:
    """Tries the parts that are not lossfleet's own or want images; where there are none it costs nothing.

    Raises:
        UserError: see `check_parts`.
    """
    parts = {part: study.config for study in studies for part in tried_parts(study)}
    for part in parts:
        part.load()
    config = studies[0].config
    _try_metrics(config)
    if config.data.has_scenes:
        _try_detectors([study.config for study in studies])
    if not parts:
        return
    # Late: where nothing is tried no data is needed here.
    from lossfleet.runners.training.epoch_rows import try_augmentation
    from lossfleet.runners.training.replicate import ReplicateFactory

    split = ReplicateFactory.of(config).split(config.budget.search_seeds[0], 0)
    for part in parts:
        if part.group == "sampler":
            _try_sampler(part, split, config.budget.search_seeds[0])
        elif part.group == "schedule":
            _try_schedule(part)
        elif part.group == "augmentation":
            try_augmentation(part, split, config.data.label)
    if any(part.group in COMPILED for part in parts):
        _try_compiled(parts, split)


def tried_parts(study: Study) -> Iterator[Part]:
    """The parts that a trial of a study may have and that are not lossfleet's own, or do not take all data."""
    for group in PART_GROUPS:
        options = study.variants.get(group) or {"": getattr(study.config, group)}
        for part in options.values():
            wants_images = "images" in part.inputs() or (group == "model" and "features" not in part.inputs())
            if part.is_users or (wants_images and not finds_objects(part)):
                yield part


def _try_detectors(configs: Sequence[Config]) -> None:
    # Late: MindSpore, as all that trains.
    from lossfleet.runners.training.detectors import loss_of, network_of
    from lossfleet.runners.training.replicate import ReplicateFactory

    dataset = ReplicateFactory.of(configs[0]).dataset
    assert dataset.image_shape is not None
    for config in configs:
        network_of(config, dataset.image_shape, len(dataset.class_names))
        loss_of(config)


def _try_search(plan: Plan) -> None:
    # As lossfleet has them they work: Optuna need not be imported before anything is trained.
    if all(map(is_as_it_comes, (plan.search.sampler, plan.pruner.part))):
        return
    from lossfleet.sweeps.search.study import check_search

    for study in plan.studies:
        check_search(study)


def _try_references(references: Sequence[Part]) -> None:
    # As lossfleet has them they work: scikit-learn need not be imported before anything is trained.
    others = [each for each in references if not is_as_it_comes(each)]
    if not others:
        return
    from lossfleet.runners.training.references import check_estimator

    for reference in others:
        check_estimator(reference)


def is_as_it_comes(part: Part) -> bool:
    """Whether a part is one of lossfleet's own files as it stands."""
    return part.name in part_names(part.group) and part == named_part(part.group, part.name)


def _try_metrics(config: Config) -> None:
    from lossfleet.runners.detection.measuring import check_object_metric
    from lossfleet.runners.metrics.classification import Given

    classes = config.data.classes or 2
    random = np.random.default_rng(0)
    logits = random.normal(size=(MEMBERS, classes, EXAMPLES))
    labels = random.integers(0, classes, (MEMBERS, EXAMPLES))
    for metric in config.search.users_metrics:
        if metric.is_of_objects:
            check_object_metric(metric, classes)
        else:
            Given(logits, labels, rarest_class=classes - 1).value(metric)


def _try_sampler(sampler: Part, split: Split, seed: int) -> None:
    from lossfleet.runners.data.samplers import index_plan, weighted_rows

    features, labels, _ = weighted_rows(sampler, split, seed=seed)
    index_plan(sampler, split.draws, features, labels, seed=seed, epochs=1, class_names=split.class_names)


def _try_schedule(schedule: Part) -> None:
    factors = np.asarray(schedule.call(step=np.arange(1, STEPS + 1), steps=STEPS))
    if factors.shape != (STEPS,) or factors.dtype.kind not in "fiu" or not np.isfinite(factors).all():
        raise UserError(
            what=f"schedule={schedule.name} returned {factors.dtype} of the shape {factors.shape} for {STEPS} steps",
            expected=f"({STEPS},) finite numbers, what the learning rate is multiplied by at each step",
            hint=f"correct {schedule.target} in {schedule.signature.place}",
        )


def _try_compiled(parts: Mapping[Part, Config], split: Split) -> None:
    # Late: MindSpore takes seconds to import.
    from lossfleet.runners.training import check

    features, classes = split.train_features.shape[1], len(split.class_counts)
    for part, config in parts.items():
        if part.group == "loss":
            check.try_loss(part, split.class_counts)
        elif part.group == "mining":
            check.try_mining(part, config.loss, split.class_counts)
        elif part.group == "model":
            check.try_model(part, features, classes, split.image_shape)
        elif part.group == "optimizer":
            check.try_optimizer(part)
