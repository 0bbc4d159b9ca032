"""The configuration's dataclasses: what they accept, refuse, and how they travel."""

from __future__ import annotations

import dataclasses
import math
import pickle
from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lossfleet import conf
from lossfleet.conf import schema
from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.conf.schema import PART_GROUPS, Budget, Config, choose, to_plain
from lossfleet.sweeps.planning.plan import setting_rules

CONF = Path(conf.__file__).parent

# The sections of a configuration, those that hold a part made of one of lossfleet's own files.
SECTIONS = {
    "data": partial(choose, "data", "wine"),
    "budget": schema.Budget,
    "search": partial(choose, "search", "tpe"),
    "pruner": partial(choose, "pruner", "median"),
    "keep": schema.Keep,
    "fleet": schema.Fleet,
    "engine": schema.Engine,
    "tracking": schema.Tracking,
}
FILES = {
    f"{group}={name}": partial(choose, group, name) for group in PART_GROUPS for name in part_names(group)
}
OWNERS = SECTIONS | FILES
EVERY_SETTING = [
    pytest.param(owner.partition("=")[0], make, name, rule, id=f"{owner}.{name}")
    for owner, make in OWNERS.items()
    for name, rule in setting_rules(make()).items()
]


def part(group: str, name: str, **settings: object) -> dict:
    return named_part(group, name).to_dict() | settings


def config(**parts: object) -> Config:
    wine, focal = SECTIONS["data"](), named_part("loss", "focal")
    return Config.from_dict({"strategy": "focal", "data": to_plain(wine), "loss": focal.to_dict()} | parts)


def value_of(owner: object, name: str) -> object:
    return owner[name] if isinstance(owner, Part) else getattr(owner, name)


@pytest.mark.parametrize(("part", "make", "name", "rule"), EVERY_SETTING)
def test_every_setting_refuses_what_its_rule_excludes_and_names_itself(part, make, name, rule):
    wrong: list[object] = [object()] if rule.by_class else [{"a": 1}, object()]
    if rule.kind in (int, float):
        wrong += ["1", True, math.nan, math.inf, -math.inf]
        step = 1 if rule.kind is int else 1e-9
        wrong += [limit - step for limit in (rule.at_least, rule.above) if limit is not None]
        wrong += [limit + step for limit in (rule.at_most, rule.below) if limit is not None]
        wrong += [limit for limit in (rule.above, rule.below) if limit is not None]
    if rule.kind is int:
        wrong.append(2.5)
    if rule.kind is bool:
        wrong += [0, "yes"]
    if rule.kind is str:
        wrong += [3, True]
    if rule.choices:
        wrong.append("nothing")
    if not rule.optional:
        wrong.append(None)
    for value in wrong:
        for given_value in [[value], value] if rule.many else [value]:
            with pytest.raises(UserError) as caught:
                make(**{name: given_value})
            assert caught.value.what.startswith(f"{part}.{name} ")
            assert caught.value.expected == rule.describe()


@pytest.mark.parametrize(
    ("make", "name", "limit"),
    [
        pytest.param(make, name, limit, id=f"{owner}.{name}={limit}")
        for owner, make in OWNERS.items()
        for name, rule in setting_rules(make()).items()
        for limit in (rule.at_least, rule.at_most)
        if limit is not None and not rule.many
    ],
)
def test_limits_that_are_included_are_accepted(make, name, limit):
    settings = {"rungs": 1} if name == "epochs" else {}
    assert value_of(make(**settings, **{name: limit}), name) == limit


@pytest.mark.parametrize(("part", "make", "name", "rule"), EVERY_SETTING)
def test_every_example_in_a_message_is_accepted(part, make, name, rule):
    example = yaml.safe_load(rule.example)
    if (
        rule.kind is float and isinstance(example, str) and example not in rule.words
    ):  # YAML 1.1 reads 1e-08 as text
        example = float(example)
    settings = {name: example}
    if name == "rungs":
        settings["epochs"] = example
    if name == "metrics":
        settings["metric"] = example[0]
    made = value_of(make(**settings), name)
    assert made == (tuple(example) if rule.many and example not in rule.words else example)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: choose("loss", "focal", tau=1, alpha=0.3), "loss.tau=1.0 and loss.alpha=0.3"),
        (
            lambda: choose("loss", "weighted_cross_entropy", beta=0.9, class_weight=(1, 2)),
            "loss.beta=0.9 and loss.class_weight",
        ),
        (lambda: Budget(epochs=3, rungs=5), "budget.rungs is 5"),
        (lambda: Budget(replicates=6), "budget.replicates is 6"),
        (lambda: Budget(final_replicates=11), "budget.final_replicates is 11"),
        (lambda: Budget(search_seeds=(1, 2, 2)), "repeats [2]"),
        (lambda: Budget(final_seeds=(*range(100, 110), 3)), "share [3]"),
        (
            lambda: choose("data", "wine", validation_fraction=0.5, test_fraction=0.5),
            "leave nothing to train on",
        ),
        (lambda: config(loss=part("loss", "focal", alpha=0.3)), "loss.alpha is 0.3 on wine with 3 classes"),
        (lambda: config(mining=part("mining", "ratio")), "on wine with 3 classes"),
        (lambda: config(loss=part("loss", "focal", class_weight=[1, 2])), "loss.class_weight has 2 numbers"),
        (lambda: config(loss=part("loss", "focal", gama=1)), "loss/focal.yaml has gama"),
        (lambda: config(sampler=part("sampler", "shuffle", exponent=1)), "sampler/shuffle.yaml has exponent"),
        (lambda: choose("loss", "focl"), "there is no loss focl"),
        (lambda: config(loss={"gamma": 1}), "loss is "),
        (lambda: config(loss="focal"), "loss is 'focal'"),
        (lambda: config(data=3), "data is 3"),
        (lambda: config(batchsize=3), "there is no setting batchsize"),
        (lambda: config(strategy=""), "strategy is ''"),
        (lambda: config(name="../elsewhere"), "name is '../elsewhere'"),
        (lambda: Config.from_dict({"strategy": "ce", "loss": part("loss", "focal")}), "data is missing"),
        (lambda: Config.from_dict([]), "the configuration is []"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, part):
    with pytest.raises(UserError) as caught:
        make()
    assert part in caught.value.what
    assert caught.value.expected
    assert caught.value.hint


def test_alpha_is_for_two_classes():
    two = to_plain(choose("data", "breast_cancer"))
    found = config(data=two, loss=part("loss", "focal", alpha=0.3))
    assert found.loss == choose("loss", "focal", alpha=0.3)
    assert config(data=two, mining=part("mining", "ratio")).mining["negatives_per_positive"] == 3


@given(
    gamma=st.floats(0, 10),
    tau=st.none() | st.floats(0, 3),
    widths=st.lists(st.integers(1, 64), max_size=3),
    lr=st.floats(1e-6, 1),
    sampler=st.sampled_from(part_names("sampler")),
    name=st.none() | st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True),
)
def test_a_configuration_survives_dicts_yaml_and_pickle(gamma, tau, widths, lr, sampler, name):
    made = config(
        loss=part("loss", "focal", gamma=gamma, tau=tau),
        model=part("model", "mlp", widths=widths),
        optimizer=part("optimizer", "adamw", lr=lr),
        sampler=part("sampler", sampler),
        name=name,
    )
    assert Config.from_dict(made.to_dict()) == made
    assert Config.from_dict(yaml.safe_load(yaml.safe_dump(made.to_dict()))) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert (made.loss["gamma"], made.model["widths"], made.optimizer["lr"]) == (gamma, tuple(widths), lr)


def test_equal_configurations_compare_equal_however_they_are_written():
    assert config(loss=part("loss", "focal", gamma=2), batch_size=64.0) == config(
        loss=part("loss", "focal", gamma=2.0), batch_size=64
    )
    assert choose("model", "mlp", widths=[8, 4]) == choose("model", "mlp", widths=(8, 4))
    assert isinstance(config(batch_size=64.0).batch_size, int)
    assert isinstance(choose("loss", "focal", gamma=2)["gamma"], float)


def test_configurations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        choose("loss", "focal").items = ()


@given(epochs=st.integers(1, 200), rungs=st.integers(1, 200))
def test_rungs_are_distinct_evenly_spaced_and_end_at_the_last_epoch(epochs, rungs):
    if rungs > epochs:
        with pytest.raises(UserError):
            Budget(epochs=epochs, rungs=rungs)
        return
    reports = Budget(epochs=epochs, rungs=rungs).rung_epochs()
    gaps = {after - before for before, after in zip((0, *reports), reports, strict=False)}
    assert len(reports) == rungs
    assert reports[-1] == epochs
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("section", ["budget", "fleet", "tracking", "data", "search"])
def test_the_main_file_has_the_defaults(section):
    values = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml")[section], resolve=True)
    fields = {each.name: each.default for each in dataclasses.fields(schema.SECTIONS[section])}
    elsewhere = {"source", "sampler", "digest", "class_names", "enqueue", "users_metrics"}
    assert values.keys() == fields.keys() - elsewhere
    for key, value in values.items():
        assert (tuple(value) if isinstance(value, list) else value) == fields[key], key


def test_errors_read_as_one_sentence_and_travel_between_processes():
    error = UserError(what="a is 1", expected="2", hint="write a=2")
    assert str(error) == "a is 1; expected 2; write a=2"
    again = pickle.loads(pickle.dumps(error))
    assert (again.what, again.expected, again.hint) == ("a is 1", "2", "write a=2")


@pytest.mark.parametrize(
    ("word", "names", "hint"),
    [
        ("focl", ["focal", "ce"], "did you mean focal?"),
        ("ce", ["focal", "ce"], "did you mean ce?"),
        ("xyz", ["focal", "ce"], "choose one of them"),
        ("loss.gama", ["loss.tau", "loss.gamma"], "did you mean loss.gamma?"),
        ("loss.xyz", ["loss.tau", "loss.gamma"], "choose one of them"),
        ("optimizer.ler", ["optimizer.name", "optimizer.lr"], "did you mean optimizer.lr?"),
    ],
)
def test_suggestions_name_the_closest_or_all(word, names, hint):
    assert suggest(word, names) == hint
