"""What the training of studies costs: in how many processes, in which fleets, with fused kernels or not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.samplers import makes_rows
from lossfleet.runners.training.fusion import obstacle
from lossfleet.runners.training.native.build import DETECTORS, ROWS, is_chosen
from lossfleet.runners.training.native.build import obstacle as native_obstacle
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.plan import Plan, Study

if TYPE_CHECKING:
    from lossfleet.runners.training.shape import CellShape, FleetShape

    GraphShape = FleetShape | CellShape

# Compiling fused kernels takes 4 s once, and they save 0.01 to 0.02 ms a step of a replicate (AMD EPYC); later
# sweeps of the same shape take them from the cache.
STEPS_WORTH_FUSING = 150_000
# In studies, each with its share of slots and its search: what a fleet costs for being there, what mining adds to
# that, and what it adds to each study in the fleet. On the main job, of 15 ms an epoch for a study: 11, 6 and 4.5 ms.
COST_OF_A_FLEET, COST_OF_MINING, COST_OF_BEING_MINED = 0.75, 0.4, 0.3


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
    """The plan with `engine.native` on or off: auto is on where this machine can have the core, else that is said.

    Raises:
        UserError: the user wants it and this machine cannot.
    """
    if plan.engine.native == "off" or (reason := native_obstacle(_library(plan))) is None:
        return plan if plan.engine.native != "auto" else _with_native(plan, "on")
    if plan.engine.native == "on":
        raise UserError(
            what=f"engine.native is on, but {reason}",
            expected="a machine that can compile the native core",
            hint="install g++, or write engine.native=off: training is slower and otherwise the same",
        )
    trainer = "stock MindSpore" if plan.data.has_scenes else "the graph fleet"
    print(f"lossfleet: {trainer} trains, which is slower than the native core: {reason}", file=sys.stderr)
    return _with_native(plan, "off")


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


def share_cost(share: Sequence[Study]) -> float:
    """The cost of an epoch of all fleets of a share, in studies; those that do not mine take the cheaper fleet."""
    mining = sum(is_mining(study) for study in share)
    return len(share) + min(_cost_apart(mining, len(share)), _cost_together(mining, len(share)))


def fleet_shapes(shapes: Sequence[GraphShape]) -> dict[GraphShape, GraphShape]:
    """The shape of the fleet that each shape of a study trains in: its own, or one that mines beside it.

    A study that does not mine keeps all examples there, which gives the same gradients, and spares a fleet.

    Args:
        shapes: one a study.
    """
    homes = {}
    for shape in shapes:
        homes[shape] = shape
        for other in shapes:
            miner = beside_mining(shape, other)
            if miner is None or miner not in shapes:
                continue
            mining, both = shapes.count(miner), shapes.count(miner) + shapes.count(shape)
            if _cost_together(mining, both) < _cost_apart(mining, both):
                homes[shape] = miner
                break
    return homes


def beside_mining(shape: GraphShape, miner: GraphShape) -> GraphShape | None:
    """The shape with the mining of another one, if it has none itself and that one can keep all examples."""
    mining = miner.objective.mining
    if shape.objective.mining is not None or mining is None or not hasattr(mining.function, "keeps_all_at"):
        return None
    objective = replace(shape.objective, mining=mining, mines_by_label=miner.objective.mines_by_label)
    return replace(shape, objective=objective)


def is_mining(study: Study) -> bool:
    """Whether the study trains in a graph that mines hard examples."""
    return study.config.mining.target is not None


def may_make_rows(study: Study) -> bool:
    """Whether a trial of the study can have a sampler that makes rows of its own, such as SMOTE."""
    return any(map(makes_rows, [study.config.sampler, *study.variants.get("sampler", {}).values()]))


def _cost_apart(mining: int, studies: int) -> float:
    fleets = (mining > 0) + (mining < studies)
    return fleets * COST_OF_A_FLEET + (mining > 0) * COST_OF_MINING + mining * COST_OF_BEING_MINED


def _cost_together(mining: int, studies: int) -> float:
    return COST_OF_A_FLEET + (mining > 0) * (COST_OF_MINING + studies * COST_OF_BEING_MINED)
