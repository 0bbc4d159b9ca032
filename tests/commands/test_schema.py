"""The configuration's dataclasses: what they accept, refuse, and how they travel."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lossfleet import conf
from lossfleet.conf import schema
from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.rules import rules
from lossfleet.conf.schema import Budget, Config, Focal, WeightedCrossEntropy

CONF = Path(conf.__file__).parent
PARTS = {
    "data": [schema.Data],
    "model": [schema.Model],
    "optimizer": [schema.Optimizer],
    "budget": [schema.Budget],
    "search": [schema.Search],
    "pruner": [schema.Pruner],
    "fleet": [schema.Fleet],
    "engine": [schema.Engine],
    "tracking": [schema.Tracking],
    "loss": list(schema.LOSSES.values()),
    "sampler": list(schema.SAMPLERS.values()),
}
EVERY_SETTING = [
    pytest.param(part, variant, name, rule, id=f"{variant.__name__}.{name}")
    for part, variants in PARTS.items()
    for variant in variants
    for name, rule in rules(variant).items()
]


def config(**parts: object) -> Config:
    return Config.from_dict(
        {"strategy": "focal", "data": {"name": "wine"}, "loss": {"name": "focal"}} | parts
    )


@pytest.mark.parametrize(("part", "variant", "name", "rule"), EVERY_SETTING)
def test_every_setting_refuses_what_its_rule_excludes_and_names_itself(part, variant, name, rule):
    wrong: list[object] = [{"a": 1}, object()]
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
                variant(**{name: given_value})
            assert caught.value.what.startswith(f"{part}.{name} ")
            assert caught.value.expected == rule.describe()


@pytest.mark.parametrize(
    ("variant", "name", "limit"),
    [
        (variant, name, limit)
        for variants in PARTS.values()
        for variant in variants
        for name, rule in rules(variant).items()
        for limit in (rule.at_least, rule.at_most)
        if limit is not None and not rule.many
    ],
)
def test_limits_that_are_included_are_accepted(variant, name, limit):
    settings = {"rungs": 1} if name == "epochs" else {}
    assert getattr(variant(**settings, **{name: limit}), name) == limit


@pytest.mark.parametrize(("part", "variant", "name", "rule"), EVERY_SETTING)
def test_every_example_in_a_message_is_accepted(part, variant, name, rule):
    example = yaml.safe_load(rule.example)
    if rule.kind is float and isinstance(example, str):  # YAML 1.1 reads 1e-08 as text
        example = float(example)
    settings = {name: example}
    if name == "rungs":
        settings["epochs"] = example
    if variant is schema.Data and name in schema.TABLE_SETTINGS:
        settings = {"name": schema.TABLE, "path": "table.csv", "target": "label"} | settings
    made = getattr(variant(**settings), name)
    assert made == (tuple(example) if rule.many else example)


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
        (lambda: schema.Data(validation_fraction=0.5, test_fraction=0.5), "leave nothing to train on"),
        (lambda: config(loss={"name": "focal", "alpha": 0.3}), "loss.alpha is 0.3 on wine with 3 classes"),
        (lambda: config(loss={"name": "ohem", "negatives_per_positive": 3}), "on wine with 3 classes"),
        (lambda: config(loss={"name": "focal", "class_weight": [1, 2]}), "loss.class_weight has 2 numbers"),
        (lambda: config(loss={"name": "focal", "gama": 1}), "there is no setting loss.gama"),
        (lambda: config(sampler={"name": "shuffle", "exponent": 1}), "there is no setting sampler.exponent"),
        (lambda: config(loss={"name": "focl"}), "loss.name is 'focl'"),
        (lambda: config(loss={"gamma": 1}), "loss is "),
        (lambda: config(loss="focal"), "loss is 'focal'"),
        (lambda: config(data=3), "data is 3"),
        (lambda: config(batchsize=3), "there is no setting batchsize"),
        (lambda: config(strategy=""), "strategy is ''"),
        (lambda: config(name="../elsewhere"), "name is '../elsewhere'"),
        (lambda: Config.from_dict({"strategy": "ce", "loss": {"name": "focal"}}), "data is missing"),
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
    loss = {"name": "focal", "alpha": 0.3}
    assert config(data={"name": "breast_cancer"}, loss=loss).loss == choose("loss", "focal", alpha=0.3)


@given(
    gamma=st.floats(0, 10),
    tau=st.none() | st.floats(0, 3),
    widths=st.lists(st.integers(1, 64), max_size=3),
    lr=st.floats(1e-6, 1),
    sampler=st.sampled_from(sorted(schema.SAMPLERS)),
    name=st.none() | st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True),
)
def test_a_configuration_survives_dicts_yaml_and_pickle(gamma, tau, widths, lr, sampler, name):
    made = config(
        loss={"name": "focal", "gamma": gamma, "tau": tau},
        model={"name": "mlp", "widths": widths},
        optimizer={"lr": lr},
        sampler={"name": sampler},
        name=name,
    )
    assert Config.from_dict(made.to_dict()) == made
    assert Config.from_dict(yaml.safe_load(yaml.safe_dump(made.to_dict()))) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert (made.loss.gamma, made.model.widths, made.optimizer.lr) == (gamma, tuple(widths), lr)


def test_equal_configurations_compare_equal_however_they_are_written():
    assert config(loss={"name": "focal", "gamma": 2}, batch_size=64.0) == config(
        loss={"name": "focal", "gamma": 2.0}, batch_size=64
    )
    assert choose("model", "mlp", widths=[8, 4]) == choose("model", "mlp", widths=(8, 4))
    assert isinstance(config(batch_size=64.0).batch_size, int)
    assert isinstance(choose("loss", "focal", gamma=2).gamma, float)


def test_configurations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        choose("loss", "focal").gamma = 3.0


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


def default_of(part: str, values: dict) -> dict:
    variants = {"loss": schema.LOSSES, "sampler": schema.SAMPLERS}.get(part)
    variant = variants[values["name"]] if variants else PARTS[part][0]
    return dataclasses.asdict(variant())


@pytest.mark.parametrize("part", sorted(set(PARTS) - {"budget", "fleet", "tracking"}))
def test_files_of_a_group_have_the_defaults_except_what_they_are_there_to_change(part):
    changed = {
        "data": "name",
        "search": "sampler",
        "pruner": "name",
        "engine": "name",
        "model": "widths",
    }.get(part)
    files = list((CONF / part).glob("*.yaml"))
    assert files
    for file in files:
        values = OmegaConf.to_container(OmegaConf.load(file))
        default = default_of(part, values)
        for key in values.keys() - {changed}:
            value = tuple(values[key]) if isinstance(values[key], list) else values[key]
            assert value == default[key], f"{file.name}: {key}"


@pytest.mark.parametrize("part", ["budget", "data", "fleet", "tracking"])
def test_the_main_file_has_the_defaults(part):
    values = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))[part]
    default = default_of(part, values)
    elsewhere = {"name", *schema.TABLE_SETTINGS} if part == "data" else set()
    assert values.keys() | elsewhere == default.keys() | elsewhere
    for key, value in values.items():
        assert (tuple(value) if isinstance(value, list) else value) == default[key], key


def test_every_loss_and_sampler_has_a_file_of_its_name():
    assert {file.stem for file in (CONF / "loss").glob("*.yaml")} == set(schema.LOSSES)
    assert {file.stem for file in (CONF / "sampler").glob("*.yaml")} == set(schema.SAMPLERS)
    assert {file.stem for file in (CONF / "data").glob("*.yaml")} == {*schema.DATASET_CLASSES, schema.TABLE}
    for names in (schema.LOSSES, schema.SAMPLERS):
        assert all(variant().name == name for name, variant in names.items())


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
        ("xyz", ["focal", "ce"], "choose from ce, focal"),
        ("loss.gama", ["loss.tau", "loss.gamma"], "did you mean loss.gamma?"),
        ("loss.xyz", ["loss.tau", "loss.gamma"], "choose from loss.gamma, loss.tau"),
        ("optimizer.ler", ["optimizer.name", "optimizer.lr"], "did you mean optimizer.lr?"),
    ],
)
def test_suggestions_name_the_closest_or_all(word, names, hint):
    assert suggest(word, names) == hint
