"""Words from elsewhere: those with one meaning are understood, all others get a hint that works."""

from __future__ import annotations

import shlex
from itertools import pairwise

import numpy as np
import pytest

from lossfleet.conf.deciding import Decision
from lossfleet.conf.errors import UserError, UserErrors
from lossfleet.conf.named_classes import by_class
from lossfleet.conf.parts import named_part
from lossfleet.conf.rules import Rule
from lossfleet.conf.schema import Config, choose
from lossfleet.sweeps.planning.build import build_plans
from lossfleet.sweeps.planning.compose import Composer, hydra_session
from lossfleet.sweeps.planning.overrides import parse_arguments
from lossfleet.sweeps.planning.space import parse_dimension, parse_override
from lossfleet.sweeps.planning.words import in_our_words

NUMBERS = Rule(float)
CLASSES = ["text", "horizontal_line", "graphic", "vertical_line", "picture"]


@pytest.fixture(scope="module")
def composer():
    with hydra_session() as config_loader:
        yield Composer(config_loader, [])


# What others write for each of ours.
UNDERSTOOD = {
    "interval(0,5)": [
        *("uniform(0,5)", "Uniform(0, 5)", "tune.uniform(0,5)", "hp.uniform('gamma', 0, 5)", "suggest_float(0,5)"),
        *("trial.suggest_float('loss.gamma', 0, 5)", "FloatDistribution(low=0, high=5)", "suggest_uniform(0,5)"),
    ],
    "tag(log,interval(1e-4,1e-1))": [
        *("loguniform(1e-4,1e-1)", "log_uniform(1e-4, 1e-1)", "tune.loguniform(1e-4,1e-1)", "reciprocal(1e-4,1e-1)"),
        *("suggest_float(1e-4,1e-1,log=True)", "suggest_loguniform('lr',1e-4,1e-1)", "log(1e-4,1e-1)"),
    ],
    "int(interval(1,9))": ["suggest_int(1,9)", "trial.suggest_int('k', 1, 9)", "IntDistribution(1,9)"],
    "tag(log,int(interval(1,64)))": ["suggest_int(1,64,log=True)"],
    "range(16,64)": ["randint(16,64)", "tune.randint(16,64)"],
    "range(0,5.5,0.5)": ["quniform(0,5,0.5)", "suggest_float(0,5,step=0.5)", "suggest_discrete_uniform(0,5,0.5)"],
    "choice(0,1,2)": [
        *("grid_search([0,1,2])", "tune.choice([0,1,2])", "categorical(0,1,2)", "hp.choice('gamma', [0,1,2])"),
        *("suggest_categorical('gamma', [0, 1, 2])", "grid(0,1,2)", "linspace(0,2,3)"),
    ],
    "choice(0.0001,0.001,0.01,0.1)": ["logspace(-4,-1,4)", "geomspace(1e-4,1e-1,4)"],
}  # fmt: skip


def dimension(value: str):
    return parse_dimension(parse_override(f"loss.gamma={value}"), rule=NUMBERS)


@pytest.mark.parametrize(
    ("theirs", "ours"), [(each, ours) for ours, all_theirs in UNDERSTOOD.items() for each in all_theirs]
)
def test_a_distribution_of_others_is_ours(theirs, ours):
    assert dimension(theirs) == dimension(ours)


@pytest.mark.parametrize(("low", "high", "step"), [(0, 5, 0.5), (0, 5, 0.7), (0.1, 0.9, 0.2), (3, 4, 2)])
def test_steps_end_at_the_last_that_is_not_beyond_the_end(low, high, step):
    expected = low + step * np.arange(int((high - low) / step + 1e-9) + 1)
    np.testing.assert_allclose(dimension(f"quniform({low},{high},{step})").grid(), expected, rtol=1e-12)


def test_lists_are_searched_as_they_stand():
    for theirs in (
        "grid([16],[32,8])",
        "grid_search([[16],[32,8]])",
        "suggest_categorical('w', [[16],[32,8]])",
    ):
        assert in_our_words(theirs) == "[16],[32,8]"


def test_evenly_spaced_numbers_are_numpys():
    for word, numpys in (("linspace", np.linspace), ("geomspace", np.geomspace)):
        np.testing.assert_allclose(dimension(f"{word}(0.5,8,5)").choices, numpys(0.5, 8, 5), rtol=1e-5)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "interval(0,5)",
            "choice(1,2)",
            "uniform(a,b)",
            "uniform(0)",
            "quniform(0,5,0)",
            "normal(0,1)",
            "3",
            "a,b",
        ),
        *("uniform(0,5,shape=3)", "linspace(0,1,1)", "geomspace(0,1,5)", "'uniform(0,5)'", "sort(1,2)"),
        *("uniform(1,5,log=1)", "logspace(0,3,4,base=2)", "loguniform(1,5,2)"),
    ],
)
def test_what_has_no_equal_stays(value):
    assert in_our_words(value) is None


def test_what_is_read_otherwise_is_told(composer, capsys):
    parse_arguments(composer, ["loss.gamma=uniform(0,5)", "name=a", "optimizer.lr=0.1"])
    told = "lossfleet: 'loss.gamma=uniform(0,5)' is read as 'loss.gamma=interval(0,5)'\n"
    assert capsys.readouterr().err == told


# The command line, whose last argument is wrong; then what the message has in the shell's words, and that is right.
MENDED = [
    # keys
    ("lr=0.01", "optimizer.lr=0.01"),
    ("optimizer.learning_rate=0.1", "optimizer.lr=0.1"),
    ("learning_rate=loguniform(1e-4,1e-1)", "'optimizer.lr=loguniform(1e-4,1e-1)'"),
    ("weight_decay=0.1", "optimizer.weight_decay=0.1"),
    ("strategy=focal gamma=2", "loss.gamma=2"),
    ("epochs=12", "budget.epochs=12"),
    ("budgt.trials=3", "budget.trials=3"),
    ("n_trials=3", "budget.trials=3"),
    ("batch=32", "batch_size=32"),
    ("dropout=0.1", "model.dropout=0.1"),
    ("hidden=[8]", "'model.widths=[8]'"),
    ("metric=mcc", "search.metric=mcc"),
    ("scoring=mcc", "search.metric=mcc"),
    ("data.test_size=0.3", "data.test_fraction=0.3"),
    ("imbalance_ratio=5", "data.long_tail=5"),
    ("cv=5", "evaluation=nested evaluation.outer_parts=5"),
    ("seeds=[1,2,3]", "'budget.search_seeds=[1,2,3]'"),
    ("seed=1,2,3", "'budget.search_seeds=[1,2,3]' budget.replicates=3"),
    ("scheduler=cosine", "schedule=cosine"),
    ("n_jobs=2", "fleet.processes=2"),
    ("strategy=focal class_weights=balanced", "loss.class_weight=balanced"),
    ("loss.class_weight=balanced", "loss=weighted_cross_entropy"),
    ("tracking=false", "tracking.enabled=false"),
    ("tracking=none", "tracking.enabled=false"),
    ("mlflow=false", "tracking.enabled=false"),
    ("budget=5", "budget.trials=5"),
    # names
    ("loss=focal_loss", "focal"),
    ("loss=bce", "loss=cross_entropy"),
    ("loss=weighted_ce", "loss=weighted_cross_entropy"),
    ("strategy=cross_entropy", "strategy=ce"),
    ("strategy=weighted", "weighted_ce"),
    ("strategy=class_weights", "strategy=weighted_ce"),
    ("strategy=ldam", "strategy=ldam_drw"),
    ("strategy=[ce,ohem]", "strategy=ce,ohem"),
    ("sampler=SMOTE", "smote"),
    ("sampler=none", "sampler=shuffle"),
    ("optimizer=SGD", "sgd"),
    ("model=MLP", "mlp"),
    ("model=xgboost", "'references=[hist_gradient_boosting]'"),
    ("pruner=asha", "pruner=successive_halving"),
    ("search=bayesian", "search=tpe"),
    ("keep=best", "keep=winner"),
    ("mining=ohem", "strategy=ohem"),
    ("search.metric=auc", "roc_auc"),
    ("search.metric=f1_score", "macro_f1"),
    # values
    ("strategy=focal loss.gamma=[0,1,2]", "'loss.gamma=0,1,2'"),
    ("strategy=focal loss.gamma=(0,5)", "'loss.gamma=interval(0,5)'"),
    ("strategy=focal loss.gamma=0..5", "'loss.gamma=interval(0,5)'"),
    ("strategy=focal loss.gamma=0.5-2", "'loss.gamma=interval(0.5,2)'"),
    ("strategy=focal loss.gamma=int(1,5)", "'loss.gamma=1,5'"),
    ("batch_size=int(16,64)", "'batch_size=int(interval(16,64))'"),
    ("strategy=focal loss.gamma=normal(0,1)", "'loss.gamma=interval(0,1)'"),
    ("strategy=focal loss.gamma=interval(0,5,0.5)", "'loss.gamma=range(0,5.5,0.5)'"),
    ("optimizer.lr=interval(1e-4,1e-1,log)", "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"),
    ("optimizer.lr=tag(log,uniform(1e-4,1e-1))", "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"),
    ("strategy=focal loss.tau=choice(0,null)", "'loss.tau=0,null'"),
    ("strategy=focal data=wine loss.alpha=[0.25,0.5,0.25]", "'loss.class_weight=[0.25,0.5,0.25]'"),
    ("strategy=focal loss.class_weight=[1,x]", "loss.class_weight=balanced"),
    ("strategy=focal data=wine loss.class_weight=[1,2]", "'loss.class_weight={class_0:1,class_1:1,class_2:1}'"),
    ("strategy=focal data=wine loss.class_weight={class_0:3,2:1}",
     "'loss.class_weight={class_0:3,class_1:1,class_2:1}'"),
    ("strategy=focal data=wine loss.class_weight={class_0:3,class_1:-1,class_2:2}",
     "'loss.class_weight={class_0:3,class_1:1,class_2:2}'"),
    ("strategy=focal data=wine loss.class_weight=1,2,3", "'loss.class_weight=[1,2,3]'"),
    ("strategy=focal data=breast_cancer loss.alpha=balanced", "loss.class_weight=balanced"),
    ("decision=costs decision.costs={text:{picture:x}}", "'decision.costs={text:{picture:10}}'"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "mend"), MENDED, ids=[line for line, _ in MENDED])
def test_a_hint_works_as_it_is_pasted(line, mend, composer):
    *others, wrong = line.split(" ")
    with pytest.raises(UserError) as caught:
        build_plans(
            composer, [*others, wrong] if line.count("strategy=") else ["strategy=ce", wrong, *others]
        )
    assert mend in caught.value.hint
    mended = shlex.split(mend) if "=" in mend else [f"{wrong.partition('=')[0]}={mend}"]
    kept = [wrong] if (line, mend) == ("loss.class_weight=balanced", "loss=weighted_cross_entropy") else []
    strategy = [] if "strategy=" in line or "strategy=" in mend else ["strategy=ce"]
    assert build_plans(composer, [*strategy, *others, *mended, *kept])


def test_all_strategies_have_a_word(composer):
    with pytest.raises(UserError, match=r"did you mean 'strategy=glob\(\*\)'\?"):
        parse_arguments(composer, ["strategy=all"])
    chosen = parse_arguments(composer, ["strategy=glob(*)"])["strategy"]
    assert [str(each) for each in chosen.sweep_iterator()] == sorted(composer.groups["strategy"])


def test_a_file_for_data_is_a_table(composer):
    with pytest.raises(
        UserError, match=r"write data=csv 'data.path=my table.csv', and as data.target its column"
    ):
        parse_arguments(composer, ["data=my table.csv"])


def test_no_list_stands_in_a_message_twice_and_long_ones_are_cut(composer):
    for argument in ("strategy=xyz", "engine=xyz", "search.metric=xyz", "xyz=3", "optimizer.xyz=3"):
        with pytest.raises(UserError) as caught:
            build_plans(composer, ["strategy=ce", argument] if "strategy" not in argument else [argument])
        message = str(caught.value)
        words = message.replace(",", " ").replace(";", " ").split()
        assert len(message) < 320
        assert not any(first == second for first, second in pairwise(words))
        assert "choose one of them" in message


def test_all_faults_are_told_at_once(composer):
    wrong = ["batch_size=0", "budget.trials=0", "budget.epochs=0", "seed=-1", "loss.gamma=-1"]
    with pytest.raises(UserErrors) as caught:
        build_plans(composer, ["strategy=focal", *wrong])
    said = {error.what.replace(" is ", "=") for error in caught.value.errors}
    assert said == set(wrong)
    with pytest.raises(UserErrors) as caught:
        build_plans(composer, ["strategy=focal", "loss.gama=1", "optimizer.lrr=3"])
    assert len(caught.value.errors) == 2


def choose_costs(costs):
    return Decision("costs", costs=costs).costs


def focal_weights(composer, *arguments: str):
    (plan,) = build_plans(composer, ["strategy=focal", *arguments])
    return plan.studies[0].config.loss["class_weight"]


def test_class_weights_by_name_are_those_in_order(composer):
    weights = {name: place + 0.5 for place, name in enumerate(CLASSES)}
    for named in (weights, dict(reversed(weights.items()))):
        (argument,) = shlex.split(by_class("loss.class_weight", named))
        assert focal_weights(composer, argument) == (0.5, 1.5, 2.5, 3.5, 4.5)
    assert focal_weights(composer, "loss.class_weight=balanced") == "balanced"
    (plan,) = build_plans(composer, ["strategy=focal", "loss.class_weight=balanced"])
    assert "loss.tau" not in {each.name for each in plan.studies[0].space}


def test_class_weights_are_searched_by_name(composer):
    named = "{" + ",".join(f"{name}:2" for name in CLASSES) + "}"
    (plan,) = build_plans(
        composer, ["strategy=focal", f"loss.class_weight=choice(balanced,{named},[1,1,1,1,3])"]
    )
    (choices,) = [each.choices for each in plan.studies[0].space if each.name == "loss.class_weight"]
    assert choices[0] == "balanced"
    assert len(choices) == 3


def test_yes_and_no_of_yaml_are_explained():
    data = choose("data", "breast_cancer", class_names=["no", "yes"])
    with pytest.raises(
        UserError, match=r"names true, false, which .*; in YAML put no and yes in quotation marks"
    ):
        Config("focal", data, named_part("loss", "focal", class_weight={True: 8, False: 1}))
    with pytest.raises(
        UserError, match=r"there is no class true.*; in YAML put no and yes in quotation marks"
    ):
        Config(
            "ce",
            data,
            named_part("loss", "cross_entropy"),
            decision=Decision("costs", costs={True: {"no": 3}}),
        )


def test_class_weights_by_name_wait_for_the_names():
    part = named_part("loss", "focal", class_weight={"no": 1, True: 3})
    assert part["class_weight"] == (("no", 1.0), ("true", 3.0))
    assert part == named_part("loss", "focal", class_weight=[["no", 1], ["true", 3]])
    assert hash(part)
    assert part.to_dict()["class_weight"] == [["no", 1.0], ["true", 3.0]]


@pytest.mark.parametrize(
    "names",
    [
        ("gut", "nicht gut"), ("größer", "类别"), ("it's", 'a "b"'), ("a:b", "a,b"), ("{x}", "[y"), ("f(x", "z)"),
        ("1", "true"), ("null", "1e3"), ("back\\slash", "end\\"), ("<5, >1", "x=y"), ("a\\'b", "'"), (" ", "-"),
    ],
)  # fmt: skip
def test_every_class_name_can_be_written(names):
    first, second = names
    key, value = shlex.split(by_class("loss.class_weight", {first: 1, second: 2.5}))[0].split("=", 1)
    assert parse_override(f"{key}={value}").value() == [[first, 1], [second, 2.5]]
    costs = {first: {second: 3.0}, second: {first: 0.0}}
    (argument,) = shlex.split(by_class("decision.costs", costs))
    read = choose_costs(parse_override(argument).value())
    assert read == ((first, second, 3), (second, first, 0))
    assert read == choose_costs(costs)
