"""Whether the parts of a sweep work, tried before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lossfleet.conf.parts import Part
from lossfleet.conf.schema import PART_GROUPS
from lossfleet.sweeps.planning.plan import Plan, Study

# Of the outputs that a metric of the user's is tried on.
MEMBERS, EXAMPLES = 3, 17


def check_parts(plan: Plan) -> None:
    """Imports what is not lossfleet's own, and tries samplers, metrics and what Optuna is given.

    Raises:
        UserError: one of them cannot be imported, raises an exception or returns what is of no use; the message has
            the file and the line.
    """
    from lossfleet.sweeps.search.pruners import make_pruner
    from lossfleet.sweeps.search.samplers import make_sampler

    make_pruner(plan.pruner, plan.budget)
    for study in plan.studies:
        make_sampler(study, 0)
        for part in users_parts(study):
            part.load()
    _try_metrics(plan)
    _try_samplers(plan)


def users_parts(study: Study) -> Iterator[Part]:
    """The parts that a trial of a study may have and that are not lossfleet's own."""
    for group in PART_GROUPS:
        options = study.variants.get(group) or {"": getattr(study.config, group)}
        for part in options.values():
            if part.target is not None and not part.target.startswith("lossfleet."):
                yield part


def _try_metrics(plan: Plan) -> None:
    from lossfleet.runners.metrics.classification import Given

    classes = plan.data.classes or 2
    random = np.random.default_rng(0)
    logits = random.normal(size=(MEMBERS, classes, EXAMPLES))
    labels = random.integers(0, classes, (MEMBERS, EXAMPLES))
    for metric in plan.search.users_metrics:
        Given(logits, labels, rarest_class=classes - 1).value(metric)


def _try_samplers(plan: Plan) -> None:
    samplers = [part for study in plan.studies for part in users_parts(study) if part.group == "sampler"]
    if not samplers:
        return
    from lossfleet.runners.data.loading import open_dataset
    from lossfleet.runners.data.samplers import index_plan, training_rows
    from lossfleet.runners.data.splits import make_split

    data, seed = plan.data, plan.budget.search_seeds[0]
    split = make_split(
        open_dataset(data),
        seed=seed,
        split=0,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        long_tail=data.long_tail,
    )
    for sampler in samplers:
        _, labels = training_rows(sampler, split, seed=seed)
        index_plan(sampler, len(split.train_labels), labels, seed=seed, epochs=1)
