"""What training costs: fleets apart or together, fused kernels or not."""

from __future__ import annotations

from typing import Any

import pytest
from replicate_runs import config, mlp

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import named_part
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.runners.training.shape import FleetShape, shape_of
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.running import size
from lossfleet.sweeps.running.size import (
    choose_native,
    fleet_shapes,
    fuses_kernels,
    may_make_rows,
    planned_steps,
    share_cost,
    unfused_remark,
)


def shape(mining: str = "none", **more: Any) -> FleetShape:
    made = shape_of(
        config(mining=named_part("mining", mining), data="breast_cancer", **more),
        features=2,
        classes=2,
        train_rows=100,
    )
    assert isinstance(made, FleetShape)
    return made


PLAIN, MINING, BY_RATIO = shape(), shape("fraction"), shape("ratio")
SMALL = ("data=wine", "budget.trials=2", "budget.epochs=3", "budget.rungs=3")


def plan(*arguments: str) -> Plan:
    found: list[Plan] = []
    run_sweeper(arguments, found.append)
    return found[0]


@pytest.mark.parametrize(
    ("shapes", "home_of_plain"),
    [
        ([PLAIN], PLAIN),
        ([PLAIN, MINING], MINING),
        ([PLAIN, MINING, PLAIN], MINING),
        ([PLAIN, MINING, PLAIN, PLAIN], PLAIN),
        ([PLAIN, shape("fraction", model=mlp(5))], PLAIN),
        ([PLAIN, BY_RATIO], PLAIN),
    ],
    ids=["alone", "one beside mining", "two", "three", "another model", "mining by ratio"],
)
def test_few_studies_that_do_not_mine_join_a_fleet_that_does(shapes, home_of_plain):
    homes = fleet_shapes(shapes)
    assert homes[PLAIN] == home_of_plain
    assert {shape: home for shape, home in homes.items() if shape != PLAIN} == {
        shape: shape for shape in set(shapes) - {PLAIN}
    }


def test_mining_by_ratio_stays_by_itself():
    assert fleet_shapes([BY_RATIO, MINING]) == {BY_RATIO: BY_RATIO, MINING: MINING}


def test_a_share_costs_more_with_each_study_and_most_with_the_first_that_mines():
    studies = {study.strategy: study for study in plan("strategy=ce,focal,ohem").studies}
    ce, focal, ohem = (share_cost([studies[name]]) for name in ("ce", "focal", "ohem"))
    assert ce == focal < ohem < ce + share_cost([studies["ohem"]])
    assert share_cost([studies["ce"], studies["focal"]]) < ce + focal
    assert share_cost([studies["ce"], studies["ohem"]]) < ce + ohem


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
