"""budget.checkpoint=best: a replicate counts as it was at its best rung, for the search, in the end, and when kept."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from statistics import median_low
from types import SimpleNamespace

import numpy as np
import pytest
from replicate_runs import adamw, config, factory, fill, make_native_fleet, replicate
from sweeps_here import sweep_here
from whole_sweeps import journal, results

from lossfleet.conf.schema import Budget, Config, choose
from lossfleet.runners.records import ReplicateRecord, TrialRecord
from lossfleet.sweeps.commands.train import run_training
from lossfleet.sweeps.keeping.refit import refit
from lossfleet.sweeps.running.jobs import Job, ReplicateState
from lossfleet.sweeps.running.measuring import measure

NAMES = tuple(factory("wine").dataset.class_names)
SEEDS, EPOCHS = (0, 1, 2), 8


def chosen(metric: str, checkpoint: str = "best") -> Config:
    budget = Budget(epochs=EPOCHS, rungs=4, checkpoint=checkpoint)
    search = choose("search", "tpe", metric=metric)
    return replace(config(optimizer=adamw(0.1)), budget=budget, search=search)


def job_of(made: Config) -> Job:
    return Job("ce", "final", 0, {}, made, [ReplicateState(each, seed, 0) for each, seed in enumerate(SEEDS)])


def run(job: Job, epochs: int, measured: int | None = None, diverges: int | None = None) -> Job:
    """Train a job for some epochs, measured at rungs, or where that is said only at the end, as if it were an epoch."""
    members = [replicate(job.config, seed=seed) for seed in SEEDS]
    fleet = fill(make_native_fleet(members), members)
    for epoch in range(1, epochs + 1):
        losses = fleet.train_epoch()
        for each in job.replicates:
            each.epochs = epoch if measured is None else measured
        if epoch == epochs and diverges is not None:
            job.diverge(job.replicates[diverges], np.inf)
        if (measured is None and epoch in job.config.budget.rung_epochs()) or epoch == epochs:
            at_rung = {slot: (job, each) for slot, each in enumerate(job.replicates)}
            measure(fleet, at_rung, losses, NAMES, {"alcohol": (0,)})
    return job


@cache
def of_last_epoch(metric: str, epochs: int) -> Job:
    """Trained for so many epochs, and measured as one that has ended."""
    return run(job_of(chosen(metric, "last")), epochs, measured=EPOCHS)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss"])
def test_all_is_measured_as_it_was_at_the_best_rung(metric):
    job = run(job_of(chosen(metric)), EPOCHS)
    best = []
    for place, each in enumerate(job.replicates):
        by_rung = [
            of_last_epoch(metric, epoch).replicates[place].metrics[f"validation_{metric}"]
            for epoch in (2, 4, 6, 8)
        ]
        assert each.curves[f"validation_{metric}"] == list(zip((2, 4, 6, 8), by_rung, strict=True))
        best.append(2 + 2 * int(np.argmin(by_rung) if metric == "log_loss" else np.argmax(by_rung)))
        expected = of_last_epoch(metric, best[-1]).replicates[place]
        assert each.metrics == {**expected.metrics, "best_epoch": best[-1]}
        assert (each.mistakes, each.importance) == (expected.mistakes, expected.importance)
    # Else nothing would be shown.
    assert len(set(best)) > 1
    assert min(best) < EPOCHS
    assert job.finish().value == np.mean([each.metrics[f"validation_{metric}"] for each in job.replicates])


def test_what_diverges_is_chance_and_not_what_it_was_before():
    job = run(job_of(chosen("log_loss")), EPOCHS, diverges=1)
    healthy = run(job_of(chosen("log_loss")), EPOCHS)
    assert job.replicates[1].metrics["validation_log_loss"] == pytest.approx(np.log(3))
    assert "best_epoch" not in job.replicates[1].metrics
    for place in (0, 2):
        assert job.replicates[place].metrics == healthy.replicates[place].metrics


@pytest.mark.parametrize(
    ("metric", "values", "epoch"),
    [
        ("balanced_accuracy", [0.5, 0.7, 0.7, 0.6], 4),
        ("log_loss", [0.5, 0.7, 0.4, 0.4], 6),
        ("log_loss", [np.nan, 0.7, np.nan, 0.9], 4),
        ("log_loss", [np.nan] * 4, 2),
    ],
)
def test_the_best_rung_is_the_first_of_equal_ones_and_none_without_a_number(metric, values, epoch):
    job = job_of(chosen(metric))
    job.replicates[0].curves = {f"validation_{metric}": list(zip((2, 4, 6, 8), values, strict=True))}
    assert job.best_epoch(job.replicates[0]) == epoch


ARGUMENTS = (
    *("data=wine", "strategy=ce", "search=random", "pruner=none", "budget.trials=2", "budget.replicates=2"),
    *("budget.epochs=8", "budget.rungs=4", "budget.final_replicates=3", "budget.checkpoint=best"),
    *("optimizer.lr=0.1", "references=[]", "keep.members=1", "name=best"),
)


def test_the_search_is_told_the_best_rung_and_the_model_is_trained_as_long(workdir, capsys, monkeypatch):
    refitted = []

    def refit_here(*arguments, **settings):
        refitted.append(settings["epochs"])
        return refit(*arguments, **settings)

    monkeypatch.setattr("lossfleet.sweeps.keeping.keep.refit", refit_here)
    sweep_here(monkeypatch, *ARGUMENTS)
    records = journal(workdir).read()
    replicates = [each for each in records if isinstance(each, ReplicateRecord)]
    for trial in (each for each in records if isinstance(each, TrialRecord)):
        own = [each for each in replicates if (each.stage, each.trial) == (trial.stage, trial.trial)]
        best = [max(value for _, value in each.curves["validation_balanced_accuracy"]) for each in own]
        assert trial.value == pytest.approx(np.mean(best))
    epochs = int(median_low(each.metrics["best_epoch"] for each in replicates if each.stage == "final"))
    assert epochs < 8
    assert refitted == [epochs]
    assert f"ce is trained on all rows for {epochs} of 8 epochs, the median" in capsys.readouterr().err
    kept = workdir / "studies/best/models/ce"
    (description,) = (json.loads(file.read_text()) for file in kept.rglob("model.json"))
    assert description["epochs"] == epochs
    (card,) = (file.read_text() for file in kept.rglob("*.md"))
    assert f"for {epochs} of 8 epochs" in card

    # Interrupted after its first replicate, the final evaluation trains the others anew, to the same numbers.
    expected, file = results(workdir), workdir / "studies/best/records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    finals = [number for number, line in enumerate(lines) if b'"final"' in line]
    file.write_bytes(b"".join(lines[: finals[0] + 1]))
    sweep_here(monkeypatch, *ARGUMENTS)
    assert results(workdir) == expected


def test_one_training_is_tested_as_it_was_at_its_best_rung(capsys, monkeypatch):
    made = chosen("balanced_accuracy")
    split = factory("wine").split(made.seed, 0)
    labels = {len(part): part for part in (split.validation_labels, split.test_labels)}

    def progress(epoch: int) -> SimpleNamespace:
        # All are right at epoch 4, and at any other one none of a class.
        def logits(features: np.ndarray) -> np.ndarray:
            return np.eye(3)[labels[len(features)]].T * (1 if epoch == 4 else [[1], [1], [-9]])

        return SimpleNamespace(training_loss=[0.5], logits=logits)

    monkeypatch.setattr(
        "lossfleet.runners.training.solo.train_solo", lambda _: map(progress, range(1, EPOCHS + 1))
    )
    run_training(made)
    printed = capsys.readouterr().out
    assert "tested as it was at epoch 4, where balanced_accuracy is best" in printed
    assert f"recall of {NAMES[2]}: 1.0000" in printed
    run_training(chosen("balanced_accuracy", "last"))
    assert f"recall of {NAMES[2]}: 0.0000" in capsys.readouterr().out
