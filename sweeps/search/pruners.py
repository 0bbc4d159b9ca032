"""The pruners: Optuna's, asked at each rung. Their steps are epochs."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.study import Study as OptunaStudy
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lossfleet.conf.schema import Budget, Pruner


def make_pruner(pruner: Pruner, budget: Budget) -> BasePruner:
    """The Optuna pruner of a configuration."""
    rungs = budget.rung_epochs()
    warmup = rungs[min(pruner.warmup_rungs, len(rungs) - 1)]
    if pruner.name == "median":
        return MedianPruner(n_startup_trials=pruner.startup_trials, n_warmup_steps=warmup)
    if pruner.name == "percentile":
        return PercentilePruner(
            pruner.percentile, n_startup_trials=pruner.startup_trials, n_warmup_steps=warmup
        )
    if pruner.name == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=rungs[0], reduction_factor=pruner.reduction_factor)
    if pruner.name == "hyperband":
        return HyperbandPruner(
            min_resource=rungs[0], max_resource=budget.epochs, reduction_factor=pruner.reduction_factor
        )
    if pruner.name == "wilcoxon":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return ReplicateWilcoxon(p_threshold=pruner.p_threshold)
    return NopPruner()


def start_pruner(study: OptunaStudy) -> None:
    """Let Hyperband lay out its brackets before the first trial.

    Otherwise it does so at the first report, and the sampler of a continued study would see other trials.
    """
    if isinstance(study.pruner, HyperbandPruner):
        study.pruner.prune(study, create_trial(state=TrialState.RUNNING))


class ReplicateWilcoxon(WilcoxonPruner):
    """Stops a trial whose replicates are worse than the best trial's at the same epoch.

    Optuna's Wilcoxon pruner takes instances one after another, each a step with its final value. Replicates
    train side by side, so their values at the rung are the instances, paired by seed and split.
    """

    def prune(self, study: OptunaStudy, trial: FrozenTrial) -> bool:
        """Whether the signed-rank test at the trial's last epoch says so."""
        try:
            best = study.best_trial
        except ValueError:
            return False
        epoch = trial.last_step
        if epoch is None or epoch not in best.intermediate_values:
            return False
        rung = Rung(at_epoch(best, epoch), study.direction)
        return super().prune(rung, at_epoch(trial, epoch))  # type: ignore[arg-type]


@dataclass
class Rung:
    """What Optuna's Wilcoxon pruner reads of a study."""

    best_trial: FrozenTrial
    direction: StudyDirection


def replicates_key(epoch: int) -> str:
    """The user attribute that holds the values of a trial's replicates at an epoch."""
    return f"replicates:{epoch}"


def at_epoch(trial: FrozenTrial, epoch: int) -> FrozenTrial:
    """A trial whose steps are its replicates at an epoch."""
    view = copy.copy(trial)
    view.intermediate_values = dict(enumerate(trial.user_attrs[replicates_key(epoch)]))
    return view
