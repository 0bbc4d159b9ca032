"""The main job as a plain PyTorch script with Optuna, MLflow and joblib: the peer of `lossfleet sweep`.

Five strategies, each searched with TPE, then its best trial evaluated on ten fresh pairs of seed and split.
The last line printed is JSON with the seconds of the search and of the final evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import mean, pstdev

import optuna
from joblib import Parallel, delayed
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from lossfleet.conf.schema import Config
from lossfleet.runners.environment import environment
from lossfleet.runners.tracking.rows import mlflow_name
from lossfleet.runners.tracking.runs import SWEEP_SETTINGS, as_params
from tests.benchmarks.torch_training import Trained, train
from tests.benchmarks.work import STRATEGIES, configuration, with_settings

SAMPLERS = ("oversample", "undersample", "class_balanced", "smote")
TRIALS_IN_FLIGHT = 4
VALUE = "validation_balanced_accuracy"
FIRST_FINAL_SPLIT = 1000

Run = Callable[[list[tuple[Config, int, int, bool]]], list[Trained]]


def suggest(trial: optuna.Trial, strategy: str, overrides: tuple[str, ...]) -> Config:
    """The configuration of a trial, from the same spaces as lossfleet's strategies."""
    settings = {
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-4, 1e-1, log=True),
        "optimizer.weight_decay": trial.suggest_float("optimizer.weight_decay", 1e-6, 1e-1, log=True),
    }
    chosen: tuple[str, ...] = (f"strategy={strategy}",)
    if strategy == "focal":
        settings["loss.gamma"] = trial.suggest_float("loss.gamma", 0, 5)
    if strategy in ("focal", "weighted_ce"):
        settings["loss.tau"] = trial.suggest_float("loss.tau", 0, 1.5)
    elif strategy == "ohem":
        settings["mining.keep"] = trial.suggest_float("mining.keep", 0.05, 1)
    elif strategy == "resampling":
        sampler = trial.suggest_categorical("sampler", SAMPLERS)
        chosen += (f"sampler={sampler}",)
        if sampler == "class_balanced":
            settings["sampler.exponent"] = trial.suggest_float("sampler.exponent", 0, 1)
    return with_settings(configuration(*chosen, *overrides), settings)


class Tracker:
    """The sweep as a parent run, the trials under it, the replicates under them."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.client = MlflowClient(uri)
        self.experiment = self.client.create_experiment(experiment)
        tags = {f"environment.{name}": value for name, value in environment().items()}
        self.sweep = self.client.create_run(self.experiment, run_name="torch sweep", tags=tags).info.run_id

    def log(self, config: Config, stage: str, number: int, replicates: list[Trained]) -> None:
        """A trial and its replicates."""
        settings = {name: part for name, part in config.to_dict().items() if name not in SWEEP_SETTINGS}
        params = as_params(settings)
        tags = {"strategy": config.strategy, "stage": stage, "trial": str(number), "data": config.data.name}
        tags |= {"loss": config.loss.name, "sampler": config.sampler.name}
        name = f"{config.strategy} {stage} {number}"
        names = replicates[0].metrics
        columns = {each: [replicate.metrics[each] for replicate in replicates] for each in names}
        last = {each: mean(column) for each, column in columns.items()}
        last |= {f"{each}_std": pstdev(column) for each, column in columns.items()}
        last["value"] = last[VALUE]
        curves = {
            each: [
                (points[0][0], mean(value for _, value in points))
                for points in zip(*(replicate.curves[each] for replicate in replicates), strict=True)
            ]
            for each in replicates[0].curves
        }
        whole = Trained(-1, -1, last, curves, replicates[0].started, replicates[-1].ended)
        parent = self._run(self.sweep, name, whole, config.budget.epochs, params, tags)
        for index, replicate in enumerate(replicates):
            own = {"replicate": str(index), "seed": str(replicate.seed), "split": str(replicate.split)}
            self._run(parent, f"{name} r{index}", replicate, config.budget.epochs, params, tags | own)

    def _run(
        self,
        parent: str,
        name: str,
        trained: Trained,
        epochs: int,
        params: dict[str, str],
        tags: dict[str, str],
    ) -> str:
        started, ended = round(1000 * trained.started), round(1000 * trained.ended)
        run = self.client.create_run(self.experiment, start_time=started, run_name=name)
        values = {(key, epoch): value for key, curve in trained.curves.items() for epoch, value in curve}
        values |= {(key, epochs): value for key, value in trained.metrics.items()}
        self.client.log_batch(
            run.info.run_id,
            metrics=[Metric(mlflow_name(key), value, ended, epoch) for (key, epoch), value in values.items()],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in {**tags, "mlflow.parentRunId": parent}.items()],
        )
        self.client.set_terminated(run.info.run_id, end_time=ended)
        return str(run.info.run_id)


def search(
    study: optuna.Study, strategy: str, overrides: tuple[str, ...], run: Run, tracker: Tracker
) -> Config:
    """Search a strategy, some trials at a time; returns the configuration of the best trial."""
    configs: dict[int, Config] = {}
    budget = configuration(f"strategy={strategy}", *overrides).budget
    pairs = list(zip(budget.search_seeds, range(budget.replicates), strict=False))
    while len(configs) < budget.trials:
        count = min(TRIALS_IN_FLIGHT, budget.trials - len(configs))
        asked = [study.ask() for _ in range(count)]
        batch = [suggest(trial, strategy, overrides) for trial in asked]
        results = run([(config, seed, split, False) for config in batch for seed, split in pairs])
        for index, (trial, config) in enumerate(zip(asked, batch, strict=True)):
            replicates = results[index * len(pairs) : (index + 1) * len(pairs)]
            for points in zip(*(replicate.curves[VALUE] for replicate in replicates), strict=True):
                trial.report(mean(value for _, value in points), points[0][0])
            study.tell(trial, mean(replicate.metrics[VALUE] for replicate in replicates))
            configs[trial.number] = config
            tracker.log(config, "search", trial.number, replicates)
    return configs[study.best_trial.number]


def main() -> None:
    """Run the sweep in the working directory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("overrides", nargs="*", help="as of `lossfleet sweep`: data, budget")
    options = parser.parse_args()
    overrides = tuple(options.overrides)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tracker = Tracker("sqlite:///mlflow.db", "torch")
    storage = JournalStorage(JournalFileBackend("optuna.journal"))
    with Parallel(n_jobs=options.jobs) as parallel:

        def run(trainings: list[tuple[Config, int, int, bool]]) -> list[Trained]:
            return list(parallel(delayed(train)(*training) for training in trainings))

        start = time.perf_counter()
        best = {}
        for strategy in STRATEGIES:
            study = optuna.create_study(
                study_name=strategy,
                storage=storage,
                sampler=optuna.samplers.TPESampler(seed=0),
                direction="maximize",
            )
            best[strategy] = search(study, strategy, overrides, run, tracker)
        searched = time.perf_counter()
        for strategy, config in best.items():
            seeds = config.budget.final_seeds[: config.budget.final_replicates]
            pairs = [(seed, FIRST_FINAL_SPLIT + number) for number, seed in enumerate(seeds)]
            replicates = run([(config, seed, split, True) for seed, split in pairs])
            tracker.log(config, "final", 0, replicates)
            values = [replicate.metrics["test_balanced_accuracy"] for replicate in replicates]
            print(f"{strategy:12} test balanced accuracy {mean(values):.4f} ± {pstdev(values):.4f}")
        tracker.client.set_terminated(tracker.sweep)
        finished = time.perf_counter()
    # Its import would count.
    assert "mindspore" not in sys.modules
    print(json.dumps({"search": searched - start, "final": finished - searched}))


if __name__ == "__main__":
    main()
