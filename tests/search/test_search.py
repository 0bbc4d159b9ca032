"""The search of a strategy: Optuna asks, is told, prunes, and continues where it was left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from lossfleet.conf.schema import Budget, Config, choose
from lossfleet.sweeps.planning.plan import Study
from lossfleet.sweeps.planning.space import Dimension, grid_size
from lossfleet.sweeps.search.study import StudySearch, open_storage

LR = Dimension("optimizer.lr", "float", 1e-4, 1e-1, log=True)
CHOICE = Dimension("sampler", "categorical", choices=("shuffle", "class_balanced"))
EXPONENT = Dimension(
    "sampler.exponent", "categorical", choices=(0.0, 0.5, 1.0), when={"sampler": ("class_balanced",)}
)
NEIGHBORS = Dimension("batch_size", "int", 16, 64, step=16)


def make_study(*space: Dimension, sampler: str = "tpe", trials: int = 12, seed: int = 0, **parts) -> Study:
    config = Config(
        strategy="ce",
        data=choose("data", "wine"),
        loss=choose("loss", "cross_entropy"),
        search=choose("search", sampler),
        budget=parts.pop("budget", Budget(trials=trials)),
        seed=seed,
        **parts,
    )
    return Study("ce", config, space)


def value_of(params: dict) -> float:
    return -((params.get("optimizer.lr", 0.0) - 0.01) ** 2) + 0.1 * params.get("sampler.exponent", 0.0)


def finish(search: StudySearch) -> list[dict]:
    found = []
    while (asked := search.ask()) is not None:
        found.append(asked.params)
        search.tell(asked.number, "COMPLETE", value_of(asked.params))
    return found


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_same_seed_same_trials_and_another_seed_others(sampler, tmp_path):
    def trials(name: str, seed: int) -> list[dict]:
        return finish(
            StudySearch(
                make_study(LR, CHOICE, EXPONENT, sampler=sampler, seed=seed), open_storage(tmp_path / name)
            )
        )

    first = trials("a", 0)
    assert first == trials("b", 0)
    assert first != trials("c", 1)
    assert len(first) == 12


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_continued_study_makes_the_trials_it_would_have_made(sampler, tmp_path):
    space = (CHOICE, EXPONENT, NEIGHBORS) if sampler == "grid" else (LR, CHOICE, EXPONENT)
    study = make_study(*space, sampler=sampler, trials=14)
    whole = finish(StudySearch(study, open_storage(tmp_path / "whole")))
    stopped = StudySearch(study, open_storage(tmp_path / "stopped"))
    parts = []
    for _ in range(5):
        asked = stopped.ask()
        parts.append(asked.params)
        stopped.tell(asked.number, "COMPLETE", value_of(asked.params))
    parts += finish(StudySearch(study, open_storage(tmp_path / "stopped")))
    assert parts == whole


def test_a_trial_left_running_is_asked_again_under_its_number_with_its_params(tmp_path):
    study = make_study(LR, CHOICE, EXPONENT)
    killed = StudySearch(study, open_storage(tmp_path / "journal"))
    left = [killed.ask() for _ in range(3)]
    killed.tell(left[1].number, "COMPLETE", 0.5)
    killed.report(left[0], 3, 0.25)
    again = StudySearch(study, open_storage(tmp_path / "journal"))
    assert again.unfinished() == [0, 2]
    asked = [again.ask(), again.ask()]
    assert [each.number for each in asked] == [0, 2]
    assert [each.params for each in asked] == [left[0].params, left[2].params]
    assert asked[0].reported == {3}
    again.report(asked[0], 3, 0.25)
    for each in asked:
        again.tell(each.number, "COMPLETE", 0.1)
    finish(again)
    assert len(open_storage(tmp_path / "journal").get_all_trials(0)) == 12


def test_an_unfinished_trial_whose_end_is_on_record_is_not_asked_again(tmp_path):
    study = make_study(LR, trials=4)
    killed = StudySearch(study, open_storage(tmp_path / "journal"))
    killed.ask()
    again = StudySearch(study, open_storage(tmp_path / "journal"))
    again.finish_unfinished(0, "COMPLETE", 0.75)
    assert [again.ask().number for _ in range(3)] == [1, 2, 3]
    assert again.ask() is None
    assert open_storage(tmp_path / "journal").get_all_trials(0)[0].value == 0.75


def test_more_trials_continue_a_study_that_had_ended(tmp_path):
    first = finish(StudySearch(make_study(LR, trials=5), open_storage(tmp_path / "journal")))
    more = finish(StudySearch(make_study(LR, trials=8), open_storage(tmp_path / "journal")))
    assert len(more) == 3
    assert first + more == finish(StudySearch(make_study(LR, trials=8), open_storage(tmp_path / "whole")))


def test_a_diverged_trial_is_fail_and_a_pruned_one_pruned(tmp_path):
    storage = open_storage(tmp_path / "journal")
    search = StudySearch(make_study(LR), storage)
    for state in ("FAIL", "PRUNED", "COMPLETE"):
        asked = search.ask()
        search.report(asked, 3, 0.5)
        search.tell(asked.number, state, 0.5 if state == "COMPLETE" else None)
    states = [trial.state for trial in storage.get_all_trials(0)]
    assert states == [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE]


def test_grid_covers_every_point_once_and_stops(tmp_path):
    study = make_study(CHOICE, EXPONENT, NEIGHBORS, sampler="grid", trials=100)
    search = StudySearch(study, open_storage(tmp_path / "journal"))
    found = finish(search)
    # shuffle has no exponent: (1 + 3) x 4 batch sizes.
    assert search.total == len(found) == grid_size(study.space) == 16
    assert len({tuple(sorted(params.items())) for params in found}) == 16
    assert all(("sampler.exponent" in params) == (params["sampler"] == "class_balanced") for params in found)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_small_space_is_searched_point_by_point_by_any_sampler(sampler, tmp_path):
    """Three points and twenty trials; a search that was killed goes on where it was."""
    three = Dimension("sampler.exponent", "categorical", choices=(0.0, 0.5, 1.0))
    study = make_study(three, sampler=sampler, trials=20)
    storage = open_storage(tmp_path / "journal")
    StudySearch(study, storage).ask()
    found = finish(StudySearch(study, storage))
    assert sorted(params["sampler.exponent"] for params in found) == [0.0, 0.5, 1.0]
    nothing = finish(StudySearch(make_study(sampler=sampler, trials=20), open_storage(tmp_path / "other")))
    assert nothing == [{}]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_grid_size_is_the_product_without_conditions(sizes):
    space = [Dimension(f"d{i}", "categorical", choices=tuple(range(size))) for i, size in enumerate(sizes)]
    product = 1
    for size in sizes:
        product *= size
    assert grid_size(space) == product


def test_median_pruner_stops_a_trial_below_the_median_after_the_warmup(tmp_path):
    budget = Budget(trials=10, epochs=12, rungs=4)
    study = make_study(
        LR, budget=budget, pruner=choose("pruner", "median", n_startup_trials=3, warmup_rungs=2)
    )
    search = StudySearch(study, open_storage(tmp_path / "journal"))
    for level in (0.5, 0.6, 0.7):
        asked = search.ask()
        assert not any(search.report(asked, epoch, level) for epoch in budget.rung_epochs())
        search.tell(asked.number, "COMPLETE", level)
    bad, good = search.ask(), search.ask()
    assert [search.report(bad, epoch, 0.55) for epoch in budget.rung_epochs()] == [False, False, True, True]
    assert [search.report(good, epoch, 0.65) for epoch in budget.rung_epochs()] == [False] * 4
