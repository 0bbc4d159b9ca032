"""What a sweep will do: one study for each strategy, checked before anything runs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from lossfleet.conf.datasets import PATHS
from lossfleet.conf.errors import UserError
from lossfleet.conf.evaluations import name_of_part
from lossfleet.conf.parts import Part
from lossfleet.conf.rules import Rule, rules, show
from lossfleet.conf.schema import (
    Budget,
    Config,
    Data,
    Decision,
    Engine,
    Fleet,
    Keep,
    Pruner,
    Search,
    Tracking,
    build_part,
    to_plain,
)
from lossfleet.runners.records import flatten
from lossfleet.sweeps.planning.space import Dimension, Value, grid_size

# What some of Optuna's samplers need: an extra of lossfleet's and the package that it brings.
EXTRAS = {"optuna.samplers.CmaEsSampler": ("cmaes", "cmaes"), "optuna.samplers.GPSampler": ("gp", "torch")}

# What the studies of a sweep have in common.
SHARED = (
    *("data", "budget", "search", "pruner", "evaluation", "decision", "references"),
    *("keep", "fleet", "engine", "tracking", "seed", "name", "published"),
)


@dataclass(frozen=True)
class Study:
    """The search of one strategy.

    Attributes:
        strategy: its name.
        config: the configuration that sampled params are applied to; its `space` is `space` as text.
        space: the dimensions to sample, each after those its `when` names.
        variants: for each dimension that is a config group, the part each option stands for.
    """

    strategy: str
    config: Config
    space: tuple[Dimension, ...]
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def trials_config(self) -> Config:
        """The configuration without what is of the whole sweep."""
        return replace(self.config, space={}, references=(), published={})

    def to_dict(self) -> dict[str, Any]:
        """The configuration, with the variants if there are any, as plain dicts and lists."""
        variants = {"variants": to_plain(self.variants)} if self.variants else {}
        return self.config.to_dict() | variants

    def to_stored(self) -> dict[str, Any]:
        """All of the study as JSON has it, for another machine to read with `from_stored`."""
        return to_plain(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Study:
        """The study that `to_stored` has written."""
        space = []
        for values in stored["space"]:
            when = {name: tuple(allowed) for name, allowed in values["when"].items()}
            space.append(Dimension(**{**values, "choices": tuple(values["choices"]), "when": when}))
        variants = {
            group: {option: build_part(group, part) for option, part in options.items()}
            for group, options in stored["variants"].items()
        }
        return cls(stored["strategy"], Config.from_dict(stored["config"]), tuple(space), variants)


@dataclass(frozen=True)
class Plan:
    """One sweep: studies that share data, budget, search and pruner."""

    sweep: str
    studies: tuple[Study, ...]

    @property
    def data(self) -> Data:
        """The data set of all studies."""
        return self.studies[0].config.data

    @property
    def budget(self) -> Budget:
        """What each study may spend."""
        return self.studies[0].config.budget

    @property
    def search(self) -> Search:
        """How each study searches."""
        return self.studies[0].config.search

    @property
    def pruner(self) -> Pruner:
        """When each study stops a trial early."""
        return self.studies[0].config.pruner

    @property
    def decision(self) -> Decision:
        """How final replicates, and models that are kept, decide on a class."""
        return self.studies[0].config.decision

    @property
    def references(self) -> tuple[Part, ...]:
        """What the strategies are set beside."""
        return self.studies[0].config.references

    @property
    def fleet(self) -> Fleet:
        """How replicates are grouped, whatever their study."""
        return self.studies[0].config.fleet

    @property
    def engine(self) -> Engine:
        """Who trains."""
        return self.studies[0].config.engine

    @property
    def keep(self) -> Keep:
        """Which strategies' models are left in the end."""
        return self.studies[0].config.keep

    @property
    def tracking(self) -> Tracking:
        """Where all runs are recorded."""
        return self.studies[0].config.tracking

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain dicts and lists, ready for YAML or JSON."""
        return {
            "sweep": self.sweep,
            "studies": {study.strategy: study.to_dict() for study in self.studies},
        }


def make_plan(studies: Iterable[Study]) -> Plan:
    """Checks the studies and names the sweep.

    The name is the user's, else `<data>-<digest>` of everything that decides its results except how long it
    searches, so that the same command continues a sweep, also with more trials.

    Raises:
        UserError: studies that differ in what they must share, a dimension that reaches a value its setting refuses,
            or has no grid where one is asked for, or a sampler that needs a package that is not installed.
    """
    studies = tuple(studies)
    check_shared(studies)
    check_installed(studies[0].config.search.sampler)
    for study in studies:
        check_space(study)
    config = studies[0].config
    name = config.name or f"{config.data.label}-{_digest(studies)}"
    return Plan(name_of_part(name, config.evaluation.outer_part), studies)


def check_shared(studies: Sequence[Study]) -> None:
    """Raises UserError where a strategy's file sets what all studies must share, so that budgets are equal."""
    first, *others = studies
    for study in others:
        # Their data would be told apart only by its settings.
        if study.config.data.has_scenes != first.config.data.has_scenes:
            of_rows, of_objects = sorted((first, study), key=lambda each: each.config.data.has_scenes)
            raise UserError(
                what=f"strategy {of_rows.strategy} classifies rows and {of_objects.strategy} finds objects",
                expected="strategies of one task",
                hint=f"leave {study.strategy} out; for all of rows write "
                "strategy=glob(*,exclude=[retinanet*,two_stage])",
            )
    expected = flatten({name: to_plain(getattr(first.config, name)) for name in SHARED})
    for study in others:
        found = flatten({name: to_plain(getattr(study.config, name)) for name in SHARED})
        for key in dict.fromkeys((*expected, *found)):
            # The points to try first are those of each strategy's own hyperparameters.
            if key != "search.enqueue" and expected.get(key) != found.get(key):
                shown = show(expected.get(key))
                raise UserError(
                    what=f"{key} is {shown} for strategy {first.strategy} and {show(found.get(key))} for "
                    f"{study.strategy}",
                    expected="the same for all strategies, so that they can be compared",
                    hint=f"write {key.removesuffix('.name')}={shown}, which goes to all, or take it out of "
                    "the strategy's file",
                )


def check_installed(sampler: Part) -> None:
    """Raises UserError unless the package that a sampler of the search needs is installed."""
    extra, package = EXTRAS.get(str(sampler.target), ("", ""))
    if package and find_spec(package) is None:
        raise UserError(
            what=f"search={sampler.name} needs the package {package}, which is not installed",
            expected=f"lossfleet with its extra {extra}",
            hint=f"run: {sys.executable} -m pip install 'lossfleet[{extra}]'",
        )


def total_trials(study: Study) -> int:
    """The trials of a study: those of its budget, where points are tried once at most as many as there are."""
    trials = study.config.budget.trials
    return min(trials, grid_size(study.space)) if tries_points_once(study) else trials


def tries_points_once(study: Study) -> bool:
    """Whether no point is tried twice: by search=grid, and by any search with as many trials as points or more."""
    if study.config.search.is_grid:
        return True
    is_finite = all(dimension.grid() is not None for dimension in study.space)
    return is_finite and grid_size(study.space) <= study.config.budget.trials


def remarks_ahead(studies: Sequence[Study]) -> list[str]:
    """What of the spaces is not tried, or tried with fewer trials than the budget has."""
    said = []
    if studies[0].config.evaluation.outer_part == 1:
        said.append("evaluation=nested keeps no model: each outer part finds hyperparameters of its own")
    for study in studies:
        trials = study.config.budget.trials
        points = grid_size(study.space) if tries_points_once(study) else trials
        if points > trials:
            of_all = f"{trials} of the {points} points of its grid"
            said.append(f"{study.strategy} tries {of_all}; budget.trials={points} tries all")
        elif points < trials:
            only = "one point" if points == 1 else f"{points} points"
            said.append(f"{study.strategy} has {only} to try, so {points} of {trials} trials")
    return said


def trial_config(study: Study, params: Mapping[str, Value]) -> Config:
    """The configuration of one trial.

    Args:
        study: the study the params were sampled for.
        params: values by dimension name; those of inactive dimensions are left out.

    Returns:
        The study's configuration with the params and without a space.

    Raises:
        UserError: a value its setting refuses.
    """
    config = study.trials_config
    for name, value in params.items():
        if name in study.variants:
            config = replace(config, **{name: study.variants[name][str(value)]})
    settings: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        if name in study.variants:
            continue
        part, _, setting = name.rpartition(".")
        rule = setting_rules(getattr(config, part) if part else config)[setting]
        is_list = rule.many and isinstance(value, str) and value not in rule.words
        settings.setdefault(part, {})[setting] = json.loads(str(value)) if is_list else value
    changes = settings.pop("", {})
    # One replacement a part: two settings that only fit together must not be checked one by one.
    changes |= {part: getattr(config, part).replace(**values) for part, values in settings.items()}
    return replace(config, **changes)


def setting_rules(owner: Any) -> dict[str, Rule]:
    """The rules of a part's settings, or of what else of a configuration has settings."""
    return owner.rules() if isinstance(owner, Part) else rules(owner)


def check_space(study: Study) -> None:
    """Builds the configuration at the ends of every dimension.

    Raises:
        UserError: the schema refuses one of them, or grid search is asked of a dimension without a grid.
    """
    ends = [(dimension, end) for dimension in study.space for end in dimension.ends()]
    # Each alone first, so that the error names the dimension at fault, then with the others.
    for dimension, end in ends:
        conditions = {name: values[0] for name, values in dimension.when.items()}
        _check_end(study, dimension, end, conditions | {dimension.name: end})
    for dimension, end in ends:
        _check_end(study, dimension, end, _params_with(study, dimension, end))
    for dimension in study.space:
        if study.config.search.is_grid and dimension.grid() is None:
            raise UserError(
                what=f"search={study.config.search.sampler.name} on {dimension.name}={dimension.text()} "
                f"of strategy {study.strategy}",
                expected="a finite set of values for each hyperparameter",
                hint=f"write for example {dimension.name}={show(dimension.low)},{show(dimension.high)} "
                "or search=tpe",
            )


def _check_end(study: Study, dimension: Dimension, end: Value, params: Mapping[str, Value]) -> None:
    try:
        trial_config(study, params)
    except UserError as error:
        raise UserError(
            what=f"{dimension.name}={dimension.text()} of strategy {study.strategy} reaches {show(end)}, "
            f"where {error.what}",
            expected=error.expected,
            hint=f"narrow it, or {error.hint}",
        ) from None


def _params_with(study: Study, dimension: Dimension, value: Value) -> dict[str, Value]:
    """Params with this value: what it depends on takes the first value allowed, the rest their first end."""
    wanted = {name: values[0] for name, values in dimension.when.items()} | {dimension.name: value}
    params: dict[str, Value] = {}
    for each in study.space:
        if each.is_active(params):
            params[each.name] = wanted.get(each.name, each.ends()[0])
    return params


def _digest(studies: tuple[Study, ...]) -> str:
    described = [study.to_dict() for study in studies]
    for config in described:
        for length in ("trials", "seconds", "patience"):
            del config["budget"][length]
        del config["tracking"], config["fleet"], config["engine"], config["keep"]
        del config["evaluation"]["rope"]
        # It is in the name, behind what the parts have in common.
        config["evaluation"].pop("outer_part", None)
        config.pop("references", None)
        config.pop("published", None)
        # A table is known by what is in it; it may be moved.
        for name in PATHS:
            config["data"].pop(name, None)
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
