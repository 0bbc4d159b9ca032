"""How much there is to train, whether the native core trains it, and whether kernels of graphs are fused."""

from __future__ import annotations

import sys
from dataclasses import replace

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.samplers import makes_rows
from lossfleet.runners.training.fusion import obstacle
from lossfleet.runners.training.native.build import is_chosen
from lossfleet.runners.training.native.build import obstacle as native_obstacle
from lossfleet.runners.training.native.libraries import DETECTORS, ROWS
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.plan import Plan, Study

# Compiling fused kernels takes 4 s once, and they save 0.01 to 0.02 ms a step of a replicate (AMD EPYC); later
# sweeps of the same shape take them from the cache.
STEPS_WORTH_FUSING = 150_000


def planned_steps(plan: Plan, factory: ReplicateFactory) -> int:
    """The training steps of all replicates of a plan, none of them pruned."""
    budget = plan.budget
    replicates = budget.trials * budget.replicates + budget.final_replicates
    return len(plan.studies) * replicates * budget.epochs * steps_an_epoch(plan, factory)


def steps_an_epoch(plan: Plan, factory: ReplicateFactory) -> int:
    """The training steps of an epoch of a replicate of a plan."""
    rows = factory.split(plan.budget.search_seeds[0], 0).draws
    return -(-rows // plan.studies[0].config.batch_size)


def is_all_native(plan: Plan, factory: ReplicateFactory) -> bool:
    """Whether the native core trains every study of a plan."""
    has_core = is_chosen(plan.engine.native, _library(plan))
    if not has_core or plan.data.has_scenes:
        return has_core
    # Late: MindSpore takes seconds to import.
    from lossfleet.runners.training.native.fleet import trains_natively
    from lossfleet.runners.training.shape import shape_on

    split = factory.split(plan.budget.search_seeds[0], 0)
    return all(trains_natively(shape_on(study.config, split), plan.engine.native) for study in plan.studies)


def fuses_kernels(plan: Plan, factory: ReplicateFactory) -> bool:
    """Whether an engine that trains the plan fuses kernels: as the user says, else where it is worth it.

    Raises:
        UserError: the user wants it and this machine cannot.
    """
    check_fusion(plan, factory)
    if plan.fleet.fused is None:
        return planned_steps(plan, factory) >= STEPS_WORTH_FUSING and unfusible(factory) is None
    return plan.fleet.fused


def check_fusion(plan: Plan, factory: ReplicateFactory) -> None:
    """Raises UserError where the user wants fused kernels and they cannot be compiled here."""
    if plan.fleet.fused and (reason := unfusible(factory)) is not None:
        raise UserError(
            what=f"fleet.fused is true, but {reason}",
            expected="rows of numbers, and a machine that can compile kernels",
            hint="mend that, or leave fleet.fused out: training is slower and otherwise the same",
        )


def unfusible(factory: ReplicateFactory) -> str | None:
    """Why kernels of graphs on this data cannot be fused, or None if they can."""
    if factory.dataset.image_shape is not None:
        return "MindSpore's compiler of fused kernels hangs on layers of images"
    return obstacle()


def choose_native(plan: Plan) -> Plan:
    """The plan with `engine.native` on or off, see `has_native`.

    Raises:
        UserError: the user wants it and this machine cannot.
    """
    native = "on" if has_native(plan.engine.native, _library(plan)) else "off"
    return plan if native == plan.engine.native else _with_native(plan, native)


def has_native(native: str, library: str) -> bool:
    """Whether the core trains, as `engine.native` says: auto is on where this machine can have it, else that is said.

    Args:
        native: on, off or auto.
        library: of the core, ROWS or DETECTORS.

    Raises:
        UserError: the user wants it and this machine cannot.
    """
    if native == "off" or (reason := native_obstacle(library)) is None:
        return native != "off"
    if native == "on":
        raise UserError(
            what=f"engine.native is on, but {reason}",
            expected="a machine that can compile the native core",
            hint="install g++, or write engine.native=off: training is slower and otherwise the same",
        )
    trainer = "stock MindSpore" if library == DETECTORS else "the graph fleet"
    print(f"lossfleet: {trainer} trains, which is slower than the native core: {reason}", file=sys.stderr)
    return False


def _library(plan: Plan) -> str:
    """Which library of the core the plan needs."""
    return DETECTORS if plan.data.has_scenes else ROWS


def _with_native(plan: Plan, native: str) -> Plan:
    engine = replace(plan.engine, native=native)
    studies = [replace(study, config=replace(study.config, engine=engine)) for study in plan.studies]
    return replace(plan, studies=tuple(studies))


def unfused_remark(plan: Plan, factory: ReplicateFactory) -> str | None:
    """What to say where graphs are asked for and not fused though it would be worth it, or None."""
    if (
        plan.engine.native != "off"
        or plan.fleet.fused is not None
        or planned_steps(plan, factory) < STEPS_WORTH_FUSING
    ):
        return None
    reason = unfusible(factory)
    return (
        None if reason is None else f"training takes up to twice as long, as kernels are not fused: {reason}"
    )


def is_mining(study: Study) -> bool:
    """Whether the study trains in a graph that mines hard examples."""
    return study.config.mining.target is not None


def may_make_rows(study: Study) -> bool:
    """Whether a trial of the study can have a sampler that makes rows of its own, such as SMOTE."""
    return any(map(makes_rows, [study.config.sampler, *study.variants.get("sampler", {}).values()]))
