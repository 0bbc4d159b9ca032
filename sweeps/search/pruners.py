"""The pruners: Optuna's, asked at each rung. Their steps are epochs."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, WilcoxonPruner
from optuna.study import Study as OptunaStudy
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lossfleet.conf.schema import Budget, Pruner


def make_pruner(pruner: Pruner, budget: Budget) -> BasePruner:
    """The Optuna pruner of a configuration.

    Raises:
        UserError: Optuna does not take its settings.
    """
    rungs = budget.rung_epochs()
    warmup = rungs[min(pruner.warmup_rungs, len(rungs) - 1)] if pruner.warmup_rungs is not None else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if issubclass(pruner.part.load(), WilcoxonPruner):
            with pruner.part.explained():
                return ReplicateWilcoxon(**pruner.part.arguments)
        return pruner.part.call(n_warmup_steps=warmup, min_resource=rungs[0], max_resource=budget.epochs)


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
