"""Whether the parts of a sweep work, tried before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.conf.schema import PART_GROUPS
from lossfleet.sweeps.planning.plan import Plan, Study

if TYPE_CHECKING:
    from lossfleet.runners.data.splits import Split

# Of the outputs that a metric of the user's is tried on.
MEMBERS, EXAMPLES = 3, 17


def check_parts(plan: Plan) -> None:
    """Imports what is not lossfleet's own, and tries samplers, metrics and what Optuna is given.

    Raises:
        UserError: one of them cannot be imported, raises an exception or returns what is of no use; the message has
            the file and the line.
    """
    _try_search(plan)
    for study in plan.studies:
        for part in users_parts(study):
            part.load()
    _try_metrics(plan)
    split = _split_for_users_parts(plan)
    if split is not None:
        _try_samplers(plan, split)
        _try_losses_and_models(plan, split)


def users_parts(study: Study) -> Iterator[Part]:
    """The parts that a trial of a study may have and that are not lossfleet's own."""
    for group in PART_GROUPS:
        options = study.variants.get(group) or {"": getattr(study.config, group)}
        for part in options.values():
            if part.is_users:
                yield part


def _try_search(plan: Plan) -> None:
    # As lossfleet has them they work: Optuna need not be imported before anything is trained.
    if all(map(is_as_it_comes, (plan.search.sampler, plan.pruner.part))):
        return
    from lossfleet.sweeps.search.study import check_search

    for study in plan.studies:
        check_search(study)


def is_as_it_comes(part: Part) -> bool:
    """Whether a part is one of lossfleet's own files as it stands."""
    return part.name in part_names(part.group) and part == named_part(part.group, part.name)


def _try_metrics(plan: Plan) -> None:
    from lossfleet.runners.metrics.classification import Given

    classes = plan.data.classes or 2
    random = np.random.default_rng(0)
    logits = random.normal(size=(MEMBERS, classes, EXAMPLES))
    labels = random.integers(0, classes, (MEMBERS, EXAMPLES))
    for metric in plan.search.users_metrics:
        Given(logits, labels, rarest_class=classes - 1).value(metric)


def _split_for_users_parts(plan: Plan) -> Split | None:
    """A split to try parts on, or None where all are lossfleet's own."""
    if not any(True for study in plan.studies for _ in users_parts(study)):
        return None
    from lossfleet.runners.training.replicate import ReplicateFactory

    return ReplicateFactory(plan.data).split(plan.budget.search_seeds[0], 0)


def _try_samplers(plan: Plan, split: Split) -> None:
    from lossfleet.runners.data.samplers import index_plan, training_rows

    seed = plan.budget.search_seeds[0]
    samplers = {part for study in plan.studies for part in users_parts(study) if part.group == "sampler"}
    for sampler in sorted(samplers, key=str):
        _, labels = training_rows(sampler, split, seed=seed)
        index_plan(sampler, len(split.train_labels), labels, seed=seed, epochs=1)


def _try_losses_and_models(plan: Plan, split: Split) -> None:
    groups = {part.group for study in plan.studies for part in users_parts(study)}
    if not groups & {"loss", "mining", "model"}:
        return
    # Late: MindSpore takes seconds to import.
    from lossfleet.runners.training.check import try_model, try_objective

    features, classes = split.train_features.shape[1], len(split.class_counts)
    for study in plan.studies:
        for part in users_parts(study):
            if part.group == "loss":
                try_objective(part, study.config.mining, split.class_counts)
            elif part.group == "mining":
                try_objective(study.config.loss, part, split.class_counts)
            elif part.group == "model":
                try_model(part, features, classes)
