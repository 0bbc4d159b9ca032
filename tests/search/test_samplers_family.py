"""All samplers on all kinds of spaces, and all pruners: what each of them must hold."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import warnings
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage
from scipy.stats import qmc, wilcoxon
from study_runs import (
    BATCH,
    CHOICE,
    DECAY,
    EXPONENT,
    EXPONENTS,
    LR,
    STEPS,
    make_study,
    quality,
    run,
)

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.conf.schema import Budget, Pruner, Search, choose
from lossfleet.sweeps.planning import plan as planning
from lossfleet.sweeps.planning.plan import check_installed, total_trials
from lossfleet.sweeps.planning.space import Dimension
from lossfleet.sweeps.search.pruners import make_pruner
from lossfleet.sweeps.search.samplers import derived_seed, make_sampler
from lossfleet.sweeps.search.study import StudySearch

SAMPLERS, PRUNERS = part_names("search"), part_names("pruner")
SPACES = {
    "plain": ((LR, DECAY), (BATCH, STEPS)),
    "conditional": ((CHOICE, EXPONENT, LR, DECAY), (CHOICE, EXPONENTS, STEPS)),
    "categorical": ((CHOICE, BATCH), (CHOICE, BATCH)),
}
# A trial of these depends on nothing but its number.
NUMBERED = ("random", "qmc")
OPTIMISERS = ("tpe", "cmaes", "gp", "nsga2")
# The Gaussian process takes seconds a trial from its eleventh on.
TRIALS = dict.fromkeys(SAMPLERS, 13) | {"gp": 11}


def needs(sampler: str) -> None:
    _, package = planning.EXTRAS.get(named_part("search", sampler).target, ("", ""))
    if package:
        pytest.importorskip(package)


def space_for(sampler: str, kind: str) -> tuple:
    return SPACES[kind][sampler == "grid"]


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_fills_the_study_with_points_of_its_space_in_silence(sampler, kind, caplog):
    needs(sampler)
    space = space_for(sampler, kind)
    study = make_study(*space, sampler=sampler, trials=TRIALS[sampler])
    optuna.logging.enable_propagation()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        story = run(study)
    optuna.logging.disable_propagation()
    assert caplog.text == ""
    assert sorted(number for number, _, _ in story) == list(range(total_trials(study)))
    for _, params, state in story:
        assert state == "COMPLETE"
        assert params.keys() == {each.name for each in space if each.is_active(params)}
        for each in space:
            if each.name in params:
                value, grid = params[each.name], each.grid()
                assert value in grid if grid else each.low <= value <= each.high
    if sampler == "grid":
        assert len({tuple(params.items()) for _, params, _ in story}) == len(story)
    else:
        assert len({tuple(params.items()) for _, params, _ in story}) > len(story) / 3
    assert run(study) == story
    assert run(make_study(*space, sampler=sampler, trials=5, seed=1)) != story[:5]


# The first digits of SHA-256 of each sampler's story, as it was published: never change them.
PUBLISHED = {
    ("tpe", "plain"): "163c2cd1b38b657a",
    ("tpe", "conditional"): "5ac1cb1d130b9f52",
    ("random", "plain"): "9c9bc950d1755266",
    ("random", "conditional"): "ab0c7ff2ccfa0651",
    ("grid", "plain"): "28523fd3226dbc7c",
    ("grid", "conditional"): "27b556194a7e2c1f",
    ("qmc", "plain"): "18395fd43b7db0ee",
    ("qmc", "conditional"): "51efbdaf23c23fd3",
    ("cmaes", "plain"): "d3b7e6c04b554f47",
    ("cmaes", "conditional"): "9213df3a4d58f55b",
    ("gp", "plain"): "8668885aec96c1e2",
    ("gp", "conditional"): "4beb2832a4431a66",
    ("nsga2", "plain"): "4571895f552034e5",
    ("nsga2", "conditional"): "93a5ada8f2a35f9d",
}
PUBLISHED_PRUNERS = {
    "median": "53a7851935480e46",
    "percentile": "f46ac6e14c47fa65",
    "successive_halving": "640e8faad541b117",
    "hyperband": "a494ac54a33e2ab6",
    "wilcoxon": "0472db97c4c20851",
    "none": "7424123d652be119",
}


def digest(story: list) -> str:
    return hashlib.sha256(json.dumps(story, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize(("sampler", "kind"), PUBLISHED)
def test_a_sampler_proposes_the_trials_that_were_published(sampler, kind):
    needs(sampler)
    story = run(make_study(*space_for(sampler, kind), sampler=sampler, trials=TRIALS[sampler]))
    assert digest(story) == PUBLISHED[sampler, kind]


def test_every_sampler_and_pruner_is_published():
    assert {sampler for sampler, _ in PUBLISHED} == set(SAMPLERS)
    assert set(PUBLISHED_PRUNERS) == set(PRUNERS)


def test_what_mining_keeps_is_sampled_as_it_was_when_it_belonged_to_the_loss():
    """The value that TPE proposes for `loss.keep` with this seed at the commit before."""
    keep = Dimension("mining.keep", "float", 0.05, 1.0)
    study = make_study(LR, keep, sampler="tpe", trials=3)
    as_loss = make_sampler(study, 2, "loss.keep")._rng.rng.random()
    assert make_sampler(study, 2, "mining.keep")._rng.rng.random() == as_loss
    assert make_sampler(study, 2, "mining.other")._rng.rng.random() != as_loss


def test_a_samplers_options_reach_optuna():
    study = make_study(LR, DECAY, sampler="tpe", trials=8, n_startup_trials=3, multivariate=True, group=True)
    sampler = make_sampler(study, 5)
    assert (sampler._n_startup_trials, sampler._multivariate, sampler._group) == (3, True, True)
    early = run(make_study(LR, DECAY, sampler="tpe", trials=8, n_startup_trials=3))
    assert early[:3] == run(make_study(LR, DECAY, sampler="tpe", trials=8))[:3]
    assert early != run(make_study(LR, DECAY, sampler="tpe", trials=8))
    assert make_sampler(make_study(LR, sampler="qmc", qmc_type="halton"), 0)._qmc_type == "halton"


def test_options_that_optuna_refuses_are_the_users_errors():
    study = make_study(LR, sampler="nsga2", population_size=1)
    with pytest.raises(UserError, match=r"search=nsga2 fails: .*population_size"):
        make_sampler(study, 0)
    with pytest.raises(UserError, match=r"pruner=percentile fails: .*[Pp]ercentile"):
        make_pruner(choose("pruner", "percentile", percentile=130), Budget())


def test_a_users_sampler_and_pruner_are_optunas_classes_by_their_dotted_name():
    """Any class of Optuna's that takes plain values, here ones that lossfleet has no file for."""
    search = Search(Part("search", "nsga3", "optuna.samplers.NSGAIIISampler", (("population_size", 7),)))
    pruner = Pruner(Part("pruner", "threshold", "optuna.pruners.ThresholdPruner", (("lower", -3.0),)))
    study = make_study(LR, DECAY)
    study = replace(study, config=replace(study.config, search=search, pruner=pruner))
    assert isinstance(make_sampler(study, 0), optuna.samplers.NSGAIIISampler)
    late = make_pruner(replace(pruner, warmup_rungs=1), Budget(epochs=9, rungs=3))
    assert late._n_warmup_steps == 6
    assert {state for _, _, state in run(study)} == {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("kind", ["plain", "conditional"])
@pytest.mark.parametrize("sampler", [*NUMBERED, "grid"])
def test_what_is_killed_and_continued_ends_as_what_was_not(sampler, kind):
    study = make_study(*space_for(sampler, kind), sampler=sampler, trials=TRIALS[sampler])
    whole = {number: params for number, params, _ in run(study)}
    storage = InMemoryStorage()
    parts = run(study, storage, stop_after=5)
    parts += run(study, storage)
    assert len(parts) == len(whole)
    if sampler in NUMBERED:
        assert {number: params for number, params, _ in parts} == whole
    else:
        assert len({tuple(params.items()) for _, params, _ in parts}) == len(parts)


@pytest.mark.parametrize("sampler", OPTIMISERS)
def test_what_is_killed_keeps_its_finished_trials(sampler):
    needs(sampler)
    study = make_study(LR, DECAY, sampler=sampler, trials=TRIALS[sampler])
    storage = InMemoryStorage()
    first = run(study, storage, stop_after=7)
    rest = run(study, storage)
    assert first == run(study)[:7]
    assert sorted(number for number, _, _ in first + rest) == list(range(TRIALS[sampler]))


@pytest.mark.parametrize("sampler", NUMBERED)
def test_a_trial_left_with_half_of_its_values_gets_the_other_half_as_it_would_have(sampler):
    study = make_study(CHOICE, LR, DECAY, sampler=sampler, trials=3)
    whole = {number: params for number, params, _ in run(study)}
    storage = InMemoryStorage()
    killed = StudySearch(study, storage)._optuna
    killed.ask().suggest_categorical("sampler", CHOICE.choices)
    assert {number: params for number, params, _ in run(study, storage)} == whole


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_what_learns_beats_random_draws(sampler):
    needs(sampler)

    def mean_of_last(name: str) -> float:
        studies = [make_study(LR, DECAY, sampler=name, trials=40, seed=seed) for seed in range(3)]
        ends = [params for study in studies for _, params, _ in run(study, slots=1)[-12:]]
        return float(np.mean([quality(params) for params in ends]))

    assert mean_of_last(sampler) > mean_of_last("random") + 0.15


def test_qmc_is_scipys_sobol_sequence():
    space = (Dimension("model.dropout", "float", 0.0, 1.0), DECAY)
    study = make_study(*space, sampler="qmc", trials=16)
    story = sorted(run(study, value=lambda *_: [0.0]), key=lambda entry: entry[0])
    points = np.array([[params[each.name] for each in space] for _, params, _ in story])
    expected = qmc.Sobol(2, scramble=True, seed=derived_seed(study)).random(16)
    np.testing.assert_allclose(points, expected, atol=1e-12)
    # Sobol's own property: of 16 points one in every sixteenth.
    assert sorted((points[:, 0] * 16).astype(int)) == list(range(16))


@pytest.mark.parametrize(("metric", "sign"), [("balanced_accuracy", -1), ("brier_score", 1)])
def test_cma_es_stores_no_pickle_and_replays_what_cmaes_does(metric, sign):
    cmaes = pytest.importorskip("cmaes")
    study = make_study(LR, DECAY, sampler="cmaes", trials=30, metric=metric)
    storage = InMemoryStorage()
    assert len(run(study, storage, slots=1)) == 30
    assert not any("optimizer" in key for t in storage.get_all_trials(0) for key in t.system_attrs)
    trials = [t for t in storage.get_all_trials(0) if "cma:generation" in t.system_attrs]
    assert {t.system_attrs["cma:generation"] for t in trials} >= {0, 1, 2}
    sampler = make_sampler(study, 30)
    state = sampler._restore_optimizer(storage.get_all_trials(0))
    oracle = cmaes.CMA(
        mean=np.full(2, 0.5), sigma=1 / 6, bounds=np.array([[0, 1], [0, 1]]), n_max_resampling=20
    )
    while True:
        own = [t for t in trials if t.system_attrs["cma:generation"] == oracle.generation]
        if len(own) < oracle.population_size:
            break
        oracle.tell(
            [
                (
                    np.array([
                        (math.log(t.params["optimizer.lr"]) - math.log(1e-4)) / math.log(1e3),
                        t.params["optimizer.weight_decay"],
                    ]),
                    sign * t.value,
                )
                for t in own[: oracle.population_size]
            ]
        )  # fmt: skip
    assert state.generation == oracle.generation >= 2
    np.testing.assert_allclose(state.mean, oracle.mean, atol=1e-9)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "cmaes"])
def test_several_metrics_and_constraints(sampler):
    needs(sampler)
    study = make_study(
        *space_for(sampler, "plain"),
        sampler=sampler,
        trials=TRIALS[sampler],
        metrics=["balanced_accuracy", "brier_score"],
        constraint="rarest_recall >= 0.5",
    )
    storage = InMemoryStorage()
    assert len(run(study, storage)) == total_trials(study)
    stored = optuna.load_study(study_name="ce", storage=storage)
    assert [each.name for each in stored.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(set(trial.constraints) == {"rarest_recall >= 0.5"} for trial in stored.trials)


@pytest.mark.parametrize(("sampler", "package"), [("cmaes", "cmaes"), ("gp", "torch")])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(sampler, package, monkeypatch):
    monkeypatch.setattr(planning, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(UserError) as caught:
        check_installed(named_part("search", sampler))
    assert package in caught.value.what
    assert f"pip install 'lossfleet[{sampler}]'" in caught.value.hint
    assert sys.executable in caught.value.hint
    check_installed(named_part("search", "tpe"))


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_stops_what_is_behind_and_is_the_same_again(pruner):
    budget = Budget(trials=24, replicates=5, epochs=12, rungs=6)
    study = make_study(LR, DECAY, sampler="tpe", pruner=pruner, budget=budget)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        story = run(study)
    assert sorted(number for number, _, _ in story) == list(range(24))
    pruned = [quality(params) for _, params, state in story if state == "PRUNED"]
    complete = [quality(params) for _, params, state in story if state == "COMPLETE"]
    assert bool(pruned) == (pruner != "none")
    assert max(pruned, default=-math.inf) < max(complete)
    assert run(study) == story
    assert digest(story) == PUBLISHED_PRUNERS[pruner]


def test_hyperband_has_its_brackets_before_the_first_trial():
    study = make_study(LR, pruner="hyperband", budget=Budget(epochs=27, rungs=9))
    search = StudySearch(study, InMemoryStorage())
    # log_3 (27 / 3) + 1 brackets; before they are laid out Optuna has none.
    assert search._optuna.pruner._n_brackets == 3
    assert not search.report(search.ask(), 3, 0.5)


@pytest.mark.parametrize("worse", [0, 1, 2, 3, 4, 5])
def test_wilcoxon_is_scipys_test_over_the_replicates_of_a_rung(worse):
    budget = Budget(trials=4, replicates=5, epochs=4, rungs=2)
    study = make_study(LR, pruner="wilcoxon", budget=budget)
    search = StudySearch(study, InMemoryStorage())
    best = [0.5, 0.6, 0.7, 0.8, 0.9]
    asked = search.ask()
    for epoch in budget.rung_epochs():
        assert not search.report(asked, epoch, float(np.mean(best)), best)
    search.tell(asked.number, "COMPLETE", 0.7)
    gaps = [-0.01 * (index + 1) if index < worse else 0.004 * (index + 1) for index in range(5)]
    values = [value + gap for value, gap in zip(best, gaps, strict=True)]
    p = wilcoxon(gaps, alternative="less", zero_method="zsplit").pvalue
    behind = np.mean(values) < np.mean(best)
    assert search.report(search.ask(), 2, float(np.mean(values)), values) == (p < 0.1 and behind)
    assert (worse == 5) == (p < 0.04)


def test_every_pruner_has_its_optuna_class():
    kinds = {
        "median": optuna.pruners.MedianPruner,
        "percentile": optuna.pruners.PercentilePruner,
        "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "wilcoxon": optuna.pruners.WilcoxonPruner,
        "none": optuna.pruners.NopPruner,
    }
    assert set(kinds) == set(PRUNERS)
    for name, kind in kinds.items():
        study = make_study(LR, pruner=name, budget=Budget(replicates=5))
        assert isinstance(make_pruner(study.config.pruner, study.config.budget), kind)
