"""How much a sweep trains, and whether that is worth the compilation of fused kernels."""

from __future__ import annotations

from conf.errors import UserError
from runners.fusion import obstacle
from runners.replicate import Workshop
from sweeps.plan import Plan

# Compiling fused kernels takes 4 s once, and they save 0.01 to 0.02 ms a step of a replicate (AMD EPYC); later
# sweeps of the same shape take them from the cache.
STEPS_WORTH_FUSING = 150_000


def planned_steps(plan: Plan, workshop: Workshop) -> int:
    """The training steps of all replicates of a plan, none of them pruned."""
    budget = plan.budget
    rows = len(workshop.split(budget.search_seeds[0], 0).train_labels)
    batches = -(-rows // plan.studies[0].config.batch_size)
    replicates = budget.trials * budget.replicates + budget.final_replicates
    return len(plan.studies) * replicates * budget.epochs * batches


def fuses_kernels(plan: Plan, workshop: Workshop) -> bool:
    """Whether an engine that trains the plan fuses kernels: as the user says, else where it is worth it.

    Raises:
        UserError: the user wants it and this machine cannot.
    """
    wanted = plan.fleet.fused
    if wanted is None:
        return planned_steps(plan, workshop) >= STEPS_WORTH_FUSING and obstacle() is None
    if wanted and (reason := obstacle()) is not None:
        raise UserError(
            what=f"fleet.fused is true, but {reason}",
            expected="a machine that can compile kernels",
            mend="mend that, or leave fleet.fused out: training is slower and otherwise the same",
        )
    return wanted
