"""From overrides to plans: studies, spaces, fixed values, conditions, names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import part_names
from lossfleet.conf.schema import Config, choose
from lossfleet.runners.records import flatten
from lossfleet.sweeps.planning.build import build_config
from lossfleet.sweeps.planning.compose import Composer, hydra_session, run_sweeper, split_overrides
from lossfleet.sweeps.planning.plan import Plan, Study, remarks_ahead, total_trials, trial_config
from lossfleet.sweeps.planning.space import grid_points, grid_size

LR = "tag(log,interval(0.0001,0.1))"
WEIGHT_DECAY = "tag(log,interval(1e-06,0.1))"
OPTIMIZER = {"optimizer.lr": LR, "optimizer.weight_decay": WEIGHT_DECAY}


@cache
def plans(*arguments: str) -> list[Plan]:
    found: list[Plan] = []
    run_sweeper(arguments, found.append)
    return found


def plan(*arguments: str) -> Plan:
    (only,) = plans(*arguments)
    return only


def study(*arguments: str) -> Study:
    (only,) = plan(*arguments).studies
    return only


def training(*arguments: str) -> Config:
    hydra_overrides, others = split_overrides(arguments)
    with hydra_session() as config_loader:
        return build_config(Composer(config_loader, hydra_overrides), others)


def texts(study: Study) -> dict[str, str]:
    return {dimension.name: dimension.text() for dimension in study.space}


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("größe.csv", "größe"),
        # As macOS writes it.
        ("gro\u0308ße.csv", "größe"),
        ("数据.csv", "数据"),
        ("हिन्दी.parquet", "हिन्दी"),
        ("a b (1).csv.gz", "a_b_1"),
        ("🐟.csv", "csv"),
        ("é" * 70 + ".csv", "é" * 50),
    ],
)
def test_tables_are_filed_under_the_letters_of_their_files(path, word):
    data = choose("data", "csv", path=path, target="y", digest="d")
    assert data.label.rpartition("-")[0] == word


def test_the_name_of_a_sweep_is_that_of_a_folder():
    assert plan("strategy=ce", "name=größe-1").sweep == "größe-1"
    with pytest.raises(UserError, match="201 bytes"):
        plan("strategy=ce", f"name={'数' * 67}")


def test_mlflows_variable_names_the_experiment(monkeypatch):
    assert plan("strategy=ce", "seed=71").tracking.experiment is None
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "2019")
    assert plan("strategy=ce", "seed=72").tracking.experiment == "2019"
    assert plan("strategy=ce", "seed=73", "tracking.experiment=mine").tracking.experiment == "mine"


def test_the_default_job_is_five_strategies_on_page_blocks():
    main = plan()
    assert [each.strategy for each in main.studies] == ["ce", "weighted_ce", "ohem", "resampling", "focal"]
    assert main.data.name == "page_blocks"
    assert {each.strategy: texts(each) for each in main.studies} == {
        "ce": OPTIMIZER,
        "weighted_ce": OPTIMIZER | {"loss.tau": "interval(0.0,1.5)"},
        "ohem": OPTIMIZER | {"mining.keep": "interval(0.05,1.0)"},
        "resampling": {"sampler": "choice(oversample,undersample,class_balanced,smote)"}
        | OPTIMIZER
        | {"sampler.exponent": "interval(0.0,1.0)"},
        "focal": OPTIMIZER | {"loss.gamma": "interval(0.0,5.0)", "loss.tau": "interval(0.0,1.5)"},
    }
    shared = {
        (each.config.budget, replace(each.config.search, enqueue=()), each.config.pruner)
        for each in main.studies
    }
    assert shared == {(main.budget, replace(main.search, enqueue=()), main.pruner)}


def test_the_grid_of_the_papers_table():
    paper = plan("experiment=paper_grid")
    assert paper.data.name == "page_blocks_binary"
    assert (paper.search.sampler.name, paper.pruner.name) == ("grid", "none")
    (only,) = paper.studies
    grids = {dimension.name: dimension.grid() for dimension in only.space}
    assert grids == {"loss.gamma": (0, 0.1, 0.2, 0.5, 1, 2, 5), "loss.alpha": (0.25, 0.5, 0.75)}
    assert paper.budget.trials == len(grids["loss.gamma"]) * len(grids["loss.alpha"])


def test_the_quick_experiment_is_the_default_job_in_small():
    quick = plan("experiment=quick")
    assert [each.strategy for each in quick.studies] == [each.strategy for each in plan().studies]
    assert quick.budget.trials < 10
    assert plan("experiment=quick", "data=wine", "budget.trials=7").budget.trials == 7


def test_strategies_choose_the_studies_in_their_order():
    assert [each.strategy for each in plan("strategy=focal,ce").studies] == ["focal", "ce"]
    of_rows = [name for name in part_names("strategy") if not re.match("retinanet|two_stage", name)]
    assert len(plan("strategy=glob(*,exclude=[retinanet*,two_stage])").studies) == len(of_rows)
    with pytest.raises(
        UserError,
        match=r"adasyn classifies rows .* write strategy=glob\(\*,exclude=\[retinanet\*,two_stage\]\)",
    ):
        plan("strategy=glob(*)")


@pytest.mark.parametrize(
    ("argument", "focal", "weighted_ce"),
    [
        ("loss.gamma=2", {"loss.tau": "interval(0.0,1.5)"}, {"loss.tau": "interval(0.0,1.5)"}),
        (
            "loss.gamma=interval(1,3)",
            {"loss.gamma": "interval(1.0,3.0)", "loss.tau": "interval(0.0,1.5)"},
            {"loss.tau": "interval(0.0,1.5)"},
        ),
        (
            "loss.gamma=0,1,2",
            {"loss.gamma": "choice(0.0,1.0,2.0)", "loss.tau": "interval(0.0,1.5)"},
            {"loss.tau": "interval(0.0,1.5)"},
        ),
        ("loss.tau=1", {"loss.gamma": "interval(0.0,5.0)"}, {}),
        ("loss.tau=null", {"loss.gamma": "interval(0.0,5.0)"}, {}),
        ("loss.alpha=0.25", {"loss.gamma": "interval(0.0,5.0)"}, {}),
        ("loss.class_weight=[1,9]", {"loss.gamma": "interval(0.0,5.0)"}, {}),
        (
            "loss.beta=interval(0.9,0.999)",
            {"loss.gamma": "interval(0.0,5.0)", "loss.beta": "interval(0.9,0.999)"},
            {"loss.beta": "interval(0.9,0.999)"},
        ),
    ],
)
def test_each_strategy_that_has_the_key_takes_the_value(argument, focal, weighted_ce):
    both = plan("strategy=focal,weighted_ce,ce", "data=breast_cancer", argument).studies
    assert [texts(each) for each in both] == [OPTIMIZER | focal, OPTIMIZER | weighted_ce, OPTIMIZER]


@pytest.mark.parametrize(
    ("arguments", "loss"),
    [
        (["loss.tau=0.5"], choose("loss", "weighted_cross_entropy", tau=0.5)),
        (["loss.alpha=0.25"], choose("loss", "weighted_cross_entropy", alpha=0.25)),
        (["loss.beta=0.99"], choose("loss", "weighted_cross_entropy", beta=0.99)),
        (["loss.class_weight=[1,9]"], choose("loss", "weighted_cross_entropy", class_weight=(1, 9))),
        (["loss.tau=null"], choose("loss", "weighted_cross_entropy")),
        (["loss.tau=null", "loss.alpha=0.25"], choose("loss", "weighted_cross_entropy", alpha=0.25)),
        (["loss.alpha=0.25", "loss.alpha=0.75"], choose("loss", "weighted_cross_entropy", alpha=0.75)),
        ([], choose("loss", "weighted_cross_entropy", tau=1.0)),
    ],
)
def test_a_given_weighting_takes_the_place_of_the_strategys_own(arguments, loss):
    arguments = ["strategy=weighted_ce", "data=breast_cancer", *arguments]
    assert study(*arguments).config.loss == loss
    assert training(*arguments).loss == loss


def test_a_searched_weighting_takes_the_place_of_the_strategys_own():
    found = study("strategy=weighted_ce", "data=breast_cancer", "loss.alpha=interval(0.1,0.9)")
    assert found.config.loss == choose("loss", "weighted_cross_entropy")
    assert trial_config(found, {"loss.alpha": 0.3}).loss == choose(
        "loss", "weighted_cross_entropy", alpha=0.3
    )


def test_a_ratio_of_negatives_takes_the_place_of_the_kept_fraction():
    found = study("strategy=ohem", "data=breast_cancer", "mining=ratio")
    assert texts(found) == OPTIMIZER | {"mining.negatives_per_positive": "interval(1.0,10.0)"}
    mining = trial_config(found, {"mining.negatives_per_positive": 4.0}).mining
    assert mining == choose("mining", "ratio", negatives_per_positive=4)
    narrowed = study(
        "strategy=ohem", "data=breast_cancer", "mining=ratio", "mining.negatives_per_positive=1,2"
    )
    assert texts(narrowed)["mining.negatives_per_positive"] == "choice(1.0,2.0)"


def test_any_loss_can_be_mined():
    found = study("strategy=focal", "mining=fraction", "mining.keep=interval(0.1,1)")
    assert texts(found)["mining.keep"] == "interval(0.1,1.0)"
    assert (found.config.loss.name, found.config.mining.name) == ("focal", "fraction")


def test_schedules_and_optimizers_are_searched_like_the_rest():
    found = study("strategy=ce", "schedule=constant,cosine", "schedule.warmup=0,0.1", "optimizer=sgd")
    assert texts(found)["schedule"] == "choice(constant,cosine)"
    trial = trial_config(found, {"schedule": "cosine", "schedule.warmup": 0.1, "optimizer.lr": 0.05})
    assert trial.schedule == choose("schedule", "cosine", warmup=0.1)
    assert trial.optimizer == choose("optimizer", "sgd", lr=0.05)


def test_the_length_of_a_gradient_is_fixed_or_searched_whatever_the_optimizer():
    found = study("strategy=ce", "clip_norm=tag(log,interval(0.1,10))", "optimizer=adam,sgd")
    assert texts(found)["clip_norm"] == "tag(log,interval(0.1,10.0))"
    assert trial_config(found, {"clip_norm": 0.5, "optimizer": "sgd"}).clip_norm == 0.5
    assert training("clip_norm=2").clip_norm == 2.0
    with pytest.raises(UserError, match=r"clip_norm is 0; expected a number above 0, or null"):
        plans("clip_norm=0")


@pytest.mark.parametrize(
    ("key", "usual", "other"),
    [
        ("clip_norm", "null", "1"),
        ("schedule.warmup", "0.0", "0.1"),
        ("budget.checkpoint", "last", "best"),
    ],
)
def test_a_setting_that_came_later_leaves_the_names_of_sweeps(key, usual, other):
    """Stored is what was there before, and read again it is complete."""
    as_before, set_now = plan("strategy=ce", f"{key}={usual}"), plan("strategy=ce", f"{key}={other}")
    assert as_before.sweep == plan("strategy=ce").sweep != set_now.sweep
    for each, is_stored in ((as_before, False), (set_now, True)):
        (found,) = each.studies
        assert (key in flatten(found.config.to_dict())) == is_stored
        assert Config.from_dict(found.config.to_dict()) == found.config


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("loss.keep=0.5", "write mining.keep=0.5"),
        ("loss=ohem", "did you mean strategy=ohem?"),
        ("loss.gama=1", "did you mean loss.gamma?"),
        (
            "data.path=table.csv",
            "write data=boxes or csv or fashion_mnist or fer2013 or idx or images or npz, or leave",
        ),
        ("pruner.startup_trials=3", "did you mean pruner.n_startup_trials?"),
        ("search.n_startup=3", "did you mean search.n_startup_trials?"),
        ("search.seed=3", "write seed=3"),
        ("search.population_size=20", "write search=nsga2, or leave search.population_size out"),
        ("loss.temperature=0.1", "choose one of them"),
    ],
)
def test_what_is_not_there_is_said_to_be_elsewhere(argument, hint):
    with pytest.raises(UserError) as caught:
        plans("strategy=focal", argument)
    assert caught.value.hint.startswith(hint)


def test_values_for_all_strategies_reach_all():
    found = plan(
        "budget.trials=7", "data=wine", "data.long_tail=5", "batch_size=32", "model=logistic", "seed=3"
    )
    assert len(found.studies) == 5
    for each in found.studies:
        assert each.config.budget.trials == 7
        assert (each.config.data.name, each.config.data.long_tail) == ("wine", 5.0)
        assert (each.config.batch_size, each.config.model["widths"], each.config.seed) == (32, (), 3)


def test_interpolations_are_resolved(monkeypatch):
    monkeypatch.setenv("STORE", "sqlite:///there.db")
    found = plan("strategy=ce", "budget.rungs=${budget.epochs}", "tracking.uri=${oc.env:STORE}")
    assert found.budget.rungs == found.budget.epochs
    assert found.tracking.uri == "sqlite:///there.db"


def test_how_to_resample_is_a_choice_with_settings_of_its_own():
    found = study("strategy=resampling", "sampler.neighbors=int(interval(2,9))")
    conditions = {dimension.name: dimension.when for dimension in found.space}
    assert conditions["sampler.exponent"] == {"sampler": ("class_balanced",)}
    assert conditions["sampler.neighbors"] == {"sampler": ("smote",)}
    assert conditions["sampler"] == conditions["optimizer.lr"] == {}
    names = [dimension.name for dimension in found.space]
    assert names.index("sampler") < min(names.index("sampler.exponent"), names.index("sampler.neighbors"))
    assert found.config.space["sampler.exponent"] == {
        "when": {"sampler": ["class_balanced"]},
        "values": "interval(0.0,1.0)",
    }


@pytest.mark.parametrize(
    ("arguments", "space", "sampler"),
    [
        (["sampler=smote"], {}, choose("sampler", "smote")),
        (
            ["sampler=class_balanced"],
            {"sampler.exponent": "interval(0.0,1.0)"},
            choose("sampler", "class_balanced"),
        ),
        (
            ["sampler=class_balanced", "sampler.exponent=0.5"],
            {},
            choose("sampler", "class_balanced", exponent=0.5),
        ),
        (["sampler=smote,shuffle"], {"sampler": "choice(smote,shuffle)"}, choose("sampler", "smote")),
        (
            ["sampler=shuffle,class_balanced", "sampler.exponent=interval(0.2,0.4)"],
            {"sampler": "choice(shuffle,class_balanced)", "sampler.exponent": "interval(0.2,0.4)"},
            choose("sampler", "shuffle"),
        ),
    ],
)
def test_the_choice_of_a_sampler_can_be_fixed_or_narrowed(arguments, space, sampler):
    found = study("strategy=resampling", *arguments)
    assert texts(found) == OPTIMIZER | space
    assert found.config.sampler == sampler


def test_settings_of_a_searched_group_depend_on_it_without_being_told():
    found = study("strategy=ce", "sampler=shuffle,class_balanced,smote", "sampler.exponent=0.2,0.4")
    (exponent,) = [dimension for dimension in found.space if dimension.name == "sampler.exponent"]
    assert exponent.when == {"sampler": ("class_balanced",)}


def test_a_fixed_setting_of_a_searched_group_reaches_its_variant():
    found = study("strategy=resampling", "sampler.neighbors=3")
    assert trial_config(found, {"sampler": "smote"}).sampler == choose("sampler", "smote", neighbors=3)
    assert trial_config(found, {"sampler": "class_balanced"}).sampler == choose("sampler", "class_balanced")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("strategy=resampling", "sampler=smote,class_balanced", "batch_size=int(interval(16,64))"),
        ("experiment=paper_grid",),
        ("strategy=ce", "model.widths=choice([8],[16,16])", "search.constraint=['rarest_recall >= 0.5']"),
    ],
)
def test_a_study_that_is_stored_for_another_machine_is_the_same_there(arguments):
    for study in plan(*arguments).studies:
        assert Study.from_stored(json.loads(json.dumps(study.to_stored()))) == study


def test_the_points_of_a_grid_are_as_many_as_its_size_each_once_and_each_a_configuration():
    study = plan("strategy=resampling", "search=grid", "optimizer.lr=0.1,0.2", "optimizer.weight_decay=0,1e-3",
                 "sampler=class_balanced,smote,shuffle", "sampler.exponent=range(0,1,0.25)").studies[0]  # fmt: skip
    points = grid_points(study.space)
    assert len(points) == grid_size(study.space) == len({tuple(point.items()) for point in points})
    assert {"class_balanced", "smote", "shuffle"} == {point["sampler"] for point in points}
    for point in points:
        assert ("sampler.exponent" in point) == (point["sampler"] == "class_balanced")
        trial_config(study, point)


def test_params_become_the_configuration_of_a_trial():
    found = study("strategy=focal", "model.widths=choice([],[7,5])", "batch_size=16,32")
    params = {
        "optimizer.lr": 0.03,
        "loss.gamma": 1.5,
        "loss.tau": 0.7,
        "model.widths": "[7,5]",
        "batch_size": 16,
    }
    trial = trial_config(found, params)
    assert trial.loss == choose("loss", "focal", gamma=1.5, tau=0.7)
    assert (trial.optimizer["lr"], trial.model["widths"], trial.batch_size) == (0.03, (7, 5), 16)
    assert trial.optimizer["weight_decay"] == found.config.optimizer["weight_decay"]
    assert trial.space == {}
    assert trial_config(found, {}).loss == found.config.loss


@settings(max_examples=50)
@given(data=st.data())
def test_every_sample_of_every_default_space_is_a_configuration(data):
    for each in plan().studies:
        params: dict[str, object] = {}
        for dimension in each.space:
            if not dimension.is_active(params):
                continue
            if dimension.kind == "categorical":
                params[dimension.name] = data.draw(st.sampled_from(dimension.choices))
            else:
                params[dimension.name] = data.draw(st.floats(dimension.low, dimension.high))
        config = trial_config(each, params)
        for name, value in params.items():
            part, _, setting = name.rpartition(".")
            assert (getattr(config, part)[setting] if part else config.sampler.name) == value
        assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["strategy=focal", "loss.gamma=interval(-1,5)"], "loss.gamma=interval(-1.0,5.0) of strategy focal"),
        (["strategy=ohem", "mining.keep=interval(0,1)"], "reaches 0.0"),
        (
            ["strategy=focal", "data=breast_cancer", "loss.alpha=interval(0,1)"],
            "loss.alpha=interval(0.0,1.0)",
        ),
        (["strategy=focal", "data=wine", "loss.alpha=0.2,0.4"], "loss.alpha is 0.2 on wine"),
        (["strategy=ce", "sampler=class_balanced,smote", "sampler.exponent=range(0,3)"], "reaches 2.0"),
        (["strategy=ce", "batch_size=range(0,64,32)"], "batch_size is 0"),
        (["search=grid"], "search=grid on optimizer.lr="),
        (["strategy=focal", "loss=cross_entropy"], "strategy focal searches loss.gamma"),
        (["strategy=resampling", "sampler=smote", "sampler.exponent=0.5"], "sampler.exponent is set"),
        (["strategy=ce", "loss.gamma=2"], "loss.gamma is set, but strategy ce does not have it"),
        (["strategy=ce", "data=wine,digits", "name=both"], "2 sweeps would have the name both"),
        (["strategy=ce", "data=wine,wine"], "2 sweeps would have the name"),
    ],
)
def test_what_would_fail_later_is_refused_before_anything_runs(arguments, part):
    with pytest.raises(UserError) as caught:
        plans(*arguments)
    assert part in caught.value.what


def test_each_data_set_is_a_sweep_of_its_own():
    found = plans("strategy=ce", "data=wine,digits", "data.long_tail=10,50")
    assert [(each.data.name, each.data.long_tail) for each in found] == [
        ("wine", 10.0),
        ("wine", 50.0),
        ("digits", 10.0),
        ("digits", 50.0),
    ]
    assert len({each.sweep for each in found}) == 4


def test_each_outer_part_is_a_sweep_of_its_own():
    found = plans("strategy=ce,focal", "data=wine,digits", "evaluation=nested", "evaluation.outer_parts=3")
    assert [each.data.name for each in found] == ["wine"] * 3 + ["digits"] * 3
    for each, number in zip(found, [1, 2, 3] * 2, strict=True):
        assert {study.config.evaluation.outer_part for study in each.studies} == {number}
        assert each.sweep.endswith(f"-outer{number}")
    # They are one evaluation, so all else is in one name.
    assert len({each.sweep.rpartition("-outer")[0] for each in found}) == 2
    assert found[1] == plan(
        "strategy=ce,focal",
        *("data=wine", "evaluation=nested", "evaluation.outer_parts=3", "evaluation.outer_part=2"),
    )
    assert plans("evaluation=nested", "name=mine")[4].sweep == "mine-outer5"


def test_several_models_are_sweeps_of_their_own_unless_they_are_to_be_searched():
    found = plans("strategy=ce,focal", "model.widths=[16],[64,64]", "loss.gamma=0,1")
    assert [each.studies[0].config.model["widths"] for each in found] == [(16,), (64, 64)]
    assert len({each.sweep for each in found}) == 2
    for each in found:
        assert not any("model" in name for study in each.studies for name in texts(study))
        assert "loss.gamma" in texts(each.studies[1])
    assert [each.studies[0].config.model.name for each in plans("strategy=ce", "model=mlp,logistic")] == [
        "mlp",
        "logistic",
    ]
    searched = study("strategy=ce", "model.widths=choice([16],[64,64])")
    assert texts(searched)["model.widths"] == "choice([16],[64,64])"


@pytest.mark.parametrize(
    "argument",
    ["budget.trials=80", "tracking.enabled=false", "fleet.slots=3", "loss.gamma=interval( 0 , 5.0 )"],
)
def test_more_trials_and_other_records_continue_the_same_sweep(argument):
    assert plan("strategy=focal", argument).sweep == plan("strategy=focal").sweep


@pytest.mark.parametrize(
    ("strategy", "argument"),
    [
        ("focal", "strategy=ce"),
        ("focal", "budget.epochs=31"),
        ("focal", "budget.replicates=2"),
        ("focal", "loss.gamma=2"),
        ("focal", "loss.gamma=interval(0,4)"),
        ("focal", "seed=1"),
        ("focal", "search=random"),
        ("focal", "pruner=none"),
        ("focal", "data.long_tail=9"),
        ("focal", "model=logistic"),
        ("focal", "batch_size=32"),
        ("resampling", "sampler.neighbors=4"),
        ("resampling", "sampler=smote"),
    ],
)
def test_anything_that_decides_results_makes_another_sweep(strategy, argument):
    before, after = plan(f"strategy={strategy}"), plan(f"strategy={strategy}", argument)
    assert after.sweep != before.sweep
    assert after.sweep.startswith("page_blocks-")
    assert after.to_dict()["studies"] != before.to_dict()["studies"]


def test_what_counts_as_equal_does_not_make_another_sweep():
    assert plan("evaluation.rope=0.05").sweep == plan().sweep
    assert plan("evaluation.diverged=drop").sweep != plan().sweep


def test_a_name_is_the_sweeps_name():
    assert plan("strategy=ce", "name=my_sweep").sweep == "my_sweep"


def test_the_files_of_a_user_are_found(tmp_path):
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: focal\nstrategy: mine\n"
        "space:\n  loss.gamma: choice(1, 3)\n"
    )
    found = study(f"hydra.searchpath=[file://{tmp_path}]", "strategy=mine")
    assert (found.strategy, texts(found), found.config.loss) == (
        "mine",
        {"loss.gamma": "choice(1.0,3.0)"},
        choose("loss", "focal"),
    )


def test_a_condition_stays_when_the_values_are_replaced(tmp_path):
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: focal\nstrategy: mine\nspace:\n"
        "  loss.gamma: {values: 'interval(0,5)', when: {sampler: [shuffle, smote]}}\n"
        "  sampler: choice(shuffle, smote, oversample)\n"
    )
    arguments = [f"hydra.searchpath=[file://{tmp_path}]", "strategy=mine", "loss.gamma=interval(1,2)"]
    sampler, gamma = study(*arguments).space
    assert (sampler.name, gamma.text()) == ("sampler", "interval(1.0,2.0)")
    assert gamma.when == {"sampler": ("shuffle", "smote")}
    (gamma,) = study(*arguments, "sampler=smote").space
    assert gamma.when == {}
    assert study(*arguments[:2], "sampler=oversample").space == ()


@pytest.mark.parametrize(
    ("space", "part"),
    [
        ("loss.gamma: 2", "space.loss.gamma of strategy mine is 2"),
        ("loss.gama: interval(0,1)", "strategy mine searches loss.gama"),
        ("loss.keep: interval(0.1,1)", "strategy mine searches loss.keep"),
        ("loss.gamma: interval(-1,1)", "loss.gamma=interval(-1.0,1.0) of strategy mine"),
        ("sampler: choice(smote, smot)", "there is no sampler smot"),
        ("sampler: interval(0,1)", "names no files"),
        ("loss.gamma: {values: 'interval(0,1)', when: {smapler: smote}}", "depends on smapler"),
        ("loss.gamma: {values: 'interval(0,1)', when: {sampler: smot}}", "there is no sampler smot"),
        ("loss.gamma: {when: {sampler: smote}}", "space.loss.gamma of strategy mine"),
        ("loss.tau: interval(0,1)\n  loss.beta: interval(0,0.9)", "both weigh the classes"),
        (
            "sampler: {values: 'choice(shuffle,smote)', when: {loss: focal}}\n"
            "  loss: {values: 'choice(focal,cross_entropy)', when: {sampler: smote}}",
            "lead in a circle",
        ),
        ("loss.gamma: interval(0,1", "cannot be read"),
        ("[1, 2", "cannot be composed"),
    ],
)
def test_a_wrong_space_in_a_users_file_is_refused(tmp_path, space, part):
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text(
        f"# @package _global_\ndefaults:\n  - override /loss: focal\nstrategy: mine\nspace:\n  {space}\n"
    )
    with pytest.raises(UserError) as caught:
        plans(f"hydra.searchpath=[file://{tmp_path}]", "strategy=mine")
    assert part in caught.value.what


def test_one_training_has_one_value_for_everything():
    config = training("strategy=focal", "loss.gamma=1", "sampler=smote", "sampler.neighbors=3", "data=wine")
    assert (config.strategy, config.loss, config.sampler) == (
        "focal",
        choose("loss", "focal", gamma=1.0),
        choose("sampler", "smote", neighbors=3),
    )
    assert config.space == {}
    assert training().strategy == "ce"
    with pytest.raises(UserError, match="has several values"):
        training("loss.gamma=1,2")


def points(*arguments: str) -> dict[str, tuple]:
    return {each.strategy: each.config.search.enqueue for each in plan(*arguments).studies}


def test_each_strategy_tries_its_known_point_first():
    default = {"optimizer.lr": 0.01, "optimizer.weight_decay": 0.0001}
    assert points() == {
        "ce": (default,),
        "weighted_ce": (default | {"loss.tau": 1.0},),
        "ohem": (default | {"mining.keep": 0.5},),
        "resampling": (default | {"sampler": "oversample"},),
        "focal": (default | {"loss.gamma": 2.0, "loss.tau": 0.0},),
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["search.enqueue=[]"], ()),
        # Two classes: the paper's alpha takes the place of tau.
        (
            ["data=breast_cancer", "loss.alpha=interval(0.1,0.9)", "optimizer.lr=0.1"],
            ({"optimizer.weight_decay": 0.0001, "loss.gamma": 2.0, "loss.alpha": 0.25},),
        ),
        # What the user narrows is sampled, what the user fixes is no part of a point.
        (
            ["loss.gamma=interval(3,5)", "loss.tau=0.5", "optimizer.lr=0.1"],
            ({"optimizer.weight_decay": 0.0001},),
        ),
        (["search.enqueue=[{loss.gamma:1},{loss.gamma:1.0},{loss.tau:1,mining.keep:1}]", "strategy=focal,ohem"],
         ({"loss.gamma": 1.0}, {"loss.tau": 1.0})),
    ],
)  # fmt: skip
def test_points_follow_the_space(arguments, expected):
    assert points("strategy=focal", *arguments)["focal"] == expected


def test_a_group_may_depend_on_a_group(tmp_path):
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: focal\nstrategy: mine\nspace:\n"
        "  sampler.exponent: {values: 'interval(0,1)', when: {sampler: class_balanced}}\n"
        "  sampler: {values: 'choice(shuffle, class_balanced)', when: {loss: cross_entropy}}\n"
        "  loss: choice(focal, cross_entropy)\n"
        "  loss.gamma: {values: 'interval(0,5)', when: {loss: focal}}\n"
    )
    found = study(f"hydra.searchpath=[file://{tmp_path}]", "strategy=mine")
    assert [each.name for each in found.space] == ["loss", "sampler", "sampler.exponent", "loss.gamma"]
    by_name = {each.name: each for each in found.space}
    assert by_name["sampler"].when == {"loss": ("cross_entropy",)}
    assert not by_name["sampler.exponent"].is_active({"loss": "focal"})
    config = trial_config(
        found, {"loss": "cross_entropy", "sampler": "class_balanced", "sampler.exponent": 0.5}
    )
    assert config.sampler == choose("sampler", "class_balanced", exponent=0.5)
    assert trial_config(found, {"loss": "focal", "loss.gamma": 3.0}).loss == choose(
        "loss", "focal", gamma=3.0
    )


@pytest.mark.parametrize(
    ("setting", "said", "mend"),
    [
        (
            "budget:\n  trials: 80\n",
            "budget.trials is 40 for strategy ce and 80 for mine",
            "budget.trials=40",
        ),
        (
            "budget:\n  epochs: 60\n",
            "budget.epochs is 30 for strategy ce and 60 for mine",
            "budget.epochs=30",
        ),
        (
            "search:\n  metric: mcc\n",
            "search.metric is 'balanced_accuracy' for",
            "search.metric='balanced_accuracy'",
        ),
        ("data:\n  test_fraction: 0.3\n", "data.test_fraction is 0.2 for", "data.test_fraction=0.2"),
        ("fleet:\n  slots: 7\n", "fleet.slots is null for", "fleet.slots=null"),
        (
            "evaluation:\n  diverged: drop\n",
            "evaluation.diverged is 'chance' for",
            "evaluation.diverged='chance'",
        ),
        ("defaults:\n  - override /pruner: none\n", "pruner.name is 'median' for", "pruner='median'"),
    ],
)
def test_a_strategy_with_a_budget_of_its_own_is_refused(tmp_path, setting, said, mend):
    (tmp_path / "strategy").mkdir()
    text = f"# @package _global_\nstrategy: mine\n{setting}"
    (tmp_path / "strategy" / "mine.yaml").write_text(text)
    arguments = [f"hydra.searchpath=[file://{tmp_path}]", "strategy=ce,mine"]
    with pytest.raises(UserError, match=re.escape(said)) as error:
        plans(*arguments)
    assert "the same for all strategies" in error.value.expected
    assert f"write {mend}, which goes to all" in error.value.hint
    assert len(plan(*arguments, mend).studies) == 2
    # Alone it has nothing to be equal to.
    assert len(plan(arguments[0], "strategy=mine").studies) == 1


@pytest.mark.parametrize(
    ("arguments", "total", "said"),
    [
        (
            ("loss.gamma=2", "loss.tau=0", "optimizer.lr=0.01", "optimizer.weight_decay=0"),
            1,
            "has one point to try",
        ),
        (
            ("loss.gamma=0,1,2", "loss.tau=0", "optimizer.lr=0.01", "optimizer.weight_decay=0"),
            3,
            "focal has 3 points to try, so 3 of 40 trials",
        ),
        (
            (
                "loss.gamma=0,1,2",
                "loss.tau=0,0.5,1",
                "optimizer.lr=0.1,0.01,0.001",
                "optimizer.weight_decay=0,0.1",
            ),
            40,
            None,
        ),
        (
            (
                "loss.gamma=0,1,2",
                "loss.tau=0,0.5,1",
                "optimizer.lr=0.1,0.01,0.001",
                "optimizer.weight_decay=0,0.1",
                "search=grid",
            ),
            40,
            "focal tries 40 of the 54 points of its grid; budget.trials=54 tries all",
        ),
        (("loss.gamma=interval(0,3)",), 40, None),
    ],
)
def test_no_point_of_a_small_space_is_tried_twice(arguments, total, said):
    found = plan("strategy=focal", *arguments)
    assert total_trials(found.studies[0]) == total
    remarks = remarks_ahead(found.studies)
    assert len(remarks) == (said is not None)
    assert said is None or said in remarks[0]
    if "budget.trials=54" in (said or ""):
        assert total_trials(plan("strategy=focal", *arguments, "budget.trials=54").studies[0]) == 54
