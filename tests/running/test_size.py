"""How much there is to train, by the native core or in graphs with fused kernels or without."""

from __future__ import annotations

import pytest

from lossfleet.conf.errors import UserError
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.running import size
from lossfleet.sweeps.running.size import (
    choose_native,
    fuses_kernels,
    may_make_rows,
    planned_steps,
    unfused_remark,
)

SMALL = ("data=wine", "budget.trials=2", "budget.epochs=3", "budget.rungs=3")


def plan(*arguments: str) -> Plan:
    found: list[Plan] = []
    run_sweeper(arguments, found.append)
    return found[0]


def test_planned_steps_are_those_of_every_replicate_if_none_is_pruned():
    small = plan(*SMALL, "strategy=ce,focal", "budget.replicates=2", "budget.final_replicates=5")
    rows = len(ReplicateFactory(small.data).split(0, 0).train_labels)
    assert planned_steps(small, ReplicateFactory(small.data)) == 2 * (2 * 2 + 5) * 3 * -(-rows // 64)


def test_kernels_are_fused_where_there_is_much_to_train_and_the_machine_can(monkeypatch):
    main, small = plan(), plan(*SMALL)
    monkeypatch.setattr(size, "obstacle", lambda: None)
    assert fuses_kernels(main, ReplicateFactory(main.data))
    assert not fuses_kernels(small, ReplicateFactory(small.data))
    forced = plan(*SMALL, "fleet.fused=true")
    assert fuses_kernels(forced, ReplicateFactory(forced.data))
    # MindSpore's compiler would not come to an end.
    images = plan("data=digits", "model=cnn", "engine.native=off")
    assert not fuses_kernels(images, ReplicateFactory(images.data))
    forced_images = plan("data=digits", "model=cnn", "fleet.fused=true")
    with pytest.raises(UserError, match=r"fleet.fused is true, but .* hangs on layers of images"):
        fuses_kernels(forced_images, ReplicateFactory(forced_images.data))
    kept = plan("fleet.fused=false")
    assert not fuses_kernels(kept, ReplicateFactory(kept.data))
    graphs = plan("engine.native=off")
    assert unfused_remark(graphs, ReplicateFactory(graphs.data)) is None
    monkeypatch.setattr(size, "obstacle", lambda: "g++ is not on the path")
    # Where the native core was to train, it is said why it cannot.
    assert unfused_remark(main, ReplicateFactory(main.data)) is None
    remark = unfused_remark(graphs, ReplicateFactory(graphs.data))
    assert remark == "training takes up to twice as long, as kernels are not fused: g++ is not on the path"
    assert unfused_remark(small, ReplicateFactory(small.data)) is None
    assert unfused_remark(kept, ReplicateFactory(kept.data)) is None
    assert not fuses_kernels(main, ReplicateFactory(main.data))
    with pytest.raises(UserError, match=r"fleet.fused is true, but g\+\+ is not on the path"):
        fuses_kernels(forced, ReplicateFactory(forced.data))


def test_the_native_core_trains_as_the_user_says_and_with_auto_where_it_can(monkeypatch, capsys):
    plans = {native: plan(*SMALL, f"engine.native={native}") for native in ("off", "on", "auto")}
    assert plan(*SMALL).engine.native == "auto"
    monkeypatch.setattr(size, "native_obstacle", lambda source: None)
    assert {native: choose_native(each).engine.native for native, each in plans.items()} == {
        "off": "off",
        "on": "on",
        "auto": "on",
    }
    monkeypatch.setattr(size, "native_obstacle", lambda source: "g++ is not on the path")
    assert choose_native(plans["off"]).engine.native == "off"
    assert capsys.readouterr().err == ""
    chosen = choose_native(plans["auto"])
    assert {study.config.engine.native for study in chosen.studies} == {"off"}
    # Asked again, by the engine, it says no more.
    assert choose_native(chosen) == chosen
    assert capsys.readouterr().err.count("g++ is not on the path") == 1
    with pytest.raises(UserError, match=r"engine.native is on, but g\+\+ is not on the path"):
        choose_native(plans["on"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("strategy=resampling", True), ("strategy=ce sampler=smote", True), ("strategy=ce", False)],
)
def test_only_studies_that_may_make_rows_have_room_for_its_rows(arguments, expected):
    (study,) = plan(*SMALL, *arguments.split()).studies
    assert may_make_rows(study) == expected
