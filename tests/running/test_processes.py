"""The sharing of studies among processes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.running.processes import process_count, share_studies, train_studies, usable_cores


def plan(*arguments: str) -> Plan:
    found: list[Plan] = []
    run_sweeper(arguments, found.append)
    return found[0]


@pytest.mark.parametrize(
    ("strategies", "count", "shares"),
    [
        ("ce,weighted_ce,ohem,resampling,focal", 1, [["ce", "weighted_ce", "resampling", "focal", "ohem"]]),
        (
            "ce,weighted_ce,ohem,resampling,focal",
            2,
            [["ce", "weighted_ce", "resampling"], ["focal", "ohem"]],
        ),
        (
            "ce,weighted_ce,ohem,resampling,focal",
            3,
            [["ce", "weighted_ce"], ["resampling", "focal"], ["ohem"]],
        ),
        ("ce,weighted_ce,resampling,focal", 2, [["ce", "weighted_ce"], ["resampling", "focal"]]),
        ("ce,focal", 4, [["ce"], ["focal"]]),
    ],
)
def test_shares_are_even_and_hold_every_study_once(strategies, count, shares):
    studies = plan(f"strategy={strategies}").studies
    assert [[study.strategy for study in share] for share in share_studies(studies, count)] == shares


@pytest.mark.parametrize(
    ("arguments", "processes"),
    [
        (("fleet.processes=1",), 1),
        (("fleet.processes=3",), 3),
        (("fleet.processes=9",), 5),
        ((), 1),
        (("engine.native=off",), min(5, len(usable_cores()))),
        (("strategy=ce,gradient_density",), min(2, len(usable_cores()))),
        # Epochs of two steps.
        (("data=wine", "strategy=ce,focal", "budget.trials=1500"), min(2, len(usable_cores()))),
        (("data=wine", "budget.trials=2", "budget.epochs=3", "budget.rungs=3"), 1),
    ],
)
def test_a_process_a_core_where_graphs_have_enough_to_train(arguments, processes):
    main = plan(*arguments)
    assert process_count(main, ReplicateFactory(main.data)) == processes


def test_a_plan_reaches_another_process_whole():
    main = plan("strategy=ce,ohem,resampling")
    assert pickle.loads(pickle.dumps(main)).to_dict() == main.to_dict()


def test_the_disk_has_what_was_asked_before_the_records_that_answer_it(workdir, monkeypatch):
    written, fsync = [], os.fsync

    def noting(descriptor: int) -> None:
        written.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    small = ("budget.trials=3", "budget.replicates=2", "budget.epochs=2", "budget.rungs=2")
    few = plan("data=wine", "strategy=ce", "budget.final_replicates=2", *small)
    train_studies(few, ReplicateFactory(few.data), workdir)
    *trained, profile = written
    assert profile == "records.jsonl"
    # Once an epoch in which something ended, however much did, and not for what was asked or reported.
    assert trained == ["optuna.journal", "records.jsonl"] * (len(trained) // 2)
    assert 2 <= len(trained) <= 2 * 3
