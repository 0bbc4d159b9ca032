"""From overrides to checked plans and configurations.

`strategy` chooses the studies. `data` and `data.*` with several values make several sweeps. Any other value
for a hyperparameter goes to each strategy that has it: a fixed one takes it out of the strategy's space, a
distribution takes the place of the one in the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lossfleet.conf.datasets import PATHS
from lossfleet.conf.detecting import PARTS, finds_objects
from lossfleet.conf.errors import UserError, gathering, one_of, raise_gathered
from lossfleet.conf.evaluations import Keep
from lossfleet.conf.parts import named_part, part_names
from lossfleet.conf.rules import show
from lossfleet.conf.schema import Config
from lossfleet.sweeps.planning.compose import Composer
from lossfleet.sweeps.planning.meant import unknown_key
from lossfleet.sweeps.planning.overrides import Request, parse_arguments, sort_overrides, split_side_by_side
from lossfleet.sweeps.planning.plan import Plan, Study, make_plan, setting_rules
from lossfleet.sweeps.planning.studies import build_study, excluded_settings, is_optional, rule_of


def build_plans(composer: Composer, arguments: Sequence[str]) -> tuple[Plan, ...]:
    """One checked plan for each data set, outer part, and each of what else is to stand side by side.

    Args:
        composer: reads the YAML files.
        arguments: overrides; a later one replaces an earlier one of the same key.

    Raises:
        UserError: anything in the configuration that would fail later.
    """
    plans = []
    for overrides in split_side_by_side(composer, parse_arguments(composer, arguments)):
        request = with_data(composer, sort_overrides(composer, overrides))
        studies = [build_study(composer, request, strategy) for strategy in request.strategies]
        _check_all_used(composer, request, studies)
        _check_points(composer, request, studies)
        plans += [make_plan(each) for each in split_outer_parts(studies)]
    names = [plan.sweep for plan in plans]
    if len(set(names)) < len(names):
        raise UserError(
            what=f"{len(names)} sweeps would have the name {max(names, key=names.count)}",
            expected="each data set and model once, and only one together with name=...",
            hint="leave name out, or run 'lossfleet sweep' once for each",
        )
    return tuple(plans)


def split_outer_parts(studies: Sequence[Study]) -> list[list[Study]]:
    """The studies of each outer part of evaluation=nested, else as they are.

    An outer part has hyperparameters of its own, so none is the one to keep a model of.
    """
    evaluation = studies[0].config.evaluation
    if evaluation.outer_parts is None:
        return [list(studies)]
    all_parts = range(1, evaluation.outer_parts + 1)
    numbers = all_parts if evaluation.outer_part is None else [evaluation.outer_part]
    return [
        [replace(study, config=_on_outer_part(study.config, number)) for study in studies]
        for number in numbers
    ]


def _on_outer_part(config: Config, number: int) -> Config:
    return replace(config, evaluation=replace(config.evaluation, outer_part=number), keep=Keep("none"))


def build_config(composer: Composer, arguments: Sequence[str]) -> Config:
    """The configuration of one run, without a space.

    Raises:
        UserError: several values for a key, or a configuration that the schema refuses.
    """
    overrides = parse_arguments(composer, arguments)
    for key, override in overrides.items():
        if override.is_sweep_override():
            raise UserError(
                what=f"'{override.input_line}' has several values",
                expected=f"one value for {key}, since 'lossfleet train' makes one run",
                hint="use 'lossfleet sweep', or brackets for a list such as model.widths=[32,32]",
            )
    request = with_data(composer, sort_overrides(composer, overrides, most_strategies=1))
    choices = request.choices | {"strategy": request.strategies[0]}
    bare = composer.config(choices, request.shared)
    for key in request.fixed:
        if rule_of(bare, key) is None:
            raise _unknown(composer, key, [bare], _as_written(request.fixed[key]))
    unset = {
        key: None for key in excluded_settings([bare], request.fixed, {}) if is_optional(rule_of(bare, key))
    }
    return replace(composer.config(choices, request.shared | request.fixed | unset), space={})


def with_data(composer: Composer, request: Request) -> Request:
    """The request, with what reading data of the user's tells of it: checks of the loss need the classes.

    Raises:
        UserError: the data cannot be used or split as asked.
    """
    choices = request.choices | {"strategy": request.strategies[0]}
    faults: list[UserError] = []
    with gathering(faults):
        config = composer.config(choices, request.shared)
    if faults:
        raise_gathered([*faults, *_refused_values(composer, request)])
    data = config.data
    if not data.is_users:
        return request
    # Late: pyarrow and pandas, for data of the user's alone.
    from lossfleet.runners.data.loading import described, open_dataset, tell_notes
    from lossfleet.runners.data.parts import Shares
    from lossfleet.runners.data.splits import check_split
    from lossfleet.runners.detection.dataset import SceneDataset
    from lossfleet.runners.detection.splits import draw_scene_parts

    data = described(data)
    dataset = open_dataset(data)
    try:
        if isinstance(dataset, SceneDataset):
            draw_scene_parts(dataset, Shares.of(data, config.evaluation), seed=0, split=0)
        else:
            check_split(dataset, Shares.of(data, config.evaluation), data.long_tail)
    except UserError:
        # What was left out may be why.
        tell_notes(data, dataset)
        raise
    told = {
        "data.digest": data.digest,
        "data.class_names": [literal(name) for name in data.class_names or ()],
    }
    if data.reads_files:
        paths = {name: data.source[name] for name in PATHS if data.source.get(name) is not None}
        told |= {f"data.{name}": literal(path) for name, path in paths.items()}
    return replace(request, shared=request.shared | told)


def _refused_values(composer: Composer, request: Request) -> list[UserError]:
    """What the rules of hyperparameters say of their values, beside other faults."""
    faults: list[UserError] = []
    if not request.fixed:
        # To compose all strategies takes a second.
        return faults
    for strategy in request.strategies:
        try:
            bare = composer.config(request.choices | {"strategy": strategy}, {})
        except UserError:
            continue
        for key, value in request.fixed.items():
            if rule := rule_of(bare, key):
                with gathering(faults):
                    rule.check(key, value)
    return faults


def literal(text: str) -> str:
    """Text that OmegaConf does not take for an interpolation."""
    return text.replace("${", "\\${")


def _check_all_used(composer: Composer, request: Request, studies: Sequence[Study]) -> None:
    faults: list[UserError] = []
    for key in (*request.fixed, *request.searched):
        if key not in composer.groups and not any(_has(study, key) for study in studies):
            value = request.fixed.get(key)
            text = request.searched[key].get_value_string() if key in request.searched else _as_written(value)
            faults.append(_unknown(composer, key, [study.config for study in studies], text))
    raise_gathered(faults)


def _as_written(value: Any) -> str:
    return value if isinstance(value, str) else show(value).replace(" ", "")


def _check_points(composer: Composer, request: Request, studies: Sequence[Study]) -> None:
    """Refuses a misspelt key in the points to try first, and one of the user's that nothing searches."""
    is_users = "search.enqueue" in request.shared
    searched = {dimension.name for study in studies for dimension in study.space}
    for strategy in request.strategies:
        bare = composer.config(request.choices | {"strategy": strategy}, request.shared)
        for key, value in {
            key: value for point in bare.search.enqueue for key, value in point.items()
        }.items():
            group, _, setting = key.rpartition(".")
            is_known = key in composer.groups or any(_has(study, key) for study in studies)
            if not is_known and (is_users or not composer.owners(group, setting)):
                raise _unknown(composer, key, [study.config for study in studies], _as_written(value))
            if is_users and key not in searched:
                raise UserError(
                    what=f"search.enqueue has {key}, which no strategy searches here",
                    expected=f"some of {', '.join(sorted(searched))}",
                    hint=f"leave {key} out, or search it, for example {key}=a,b",
                )


def _has(study: Study, key: str) -> bool:
    part = key.split(".")[0]
    configs = [replace(study.config, **{part: variant}) for variant in study.variants.get(part, {}).values()]
    return any(rule_of(config, key) is not None for config in configs or [study.config])


def _unknown(composer: Composer, key: str, configs: Sequence[Config], value: str) -> UserError:
    """The error for a hyperparameter that no strategy has: who has it, or what else there is."""
    part, _, setting = key.rpartition(".")
    names = ", ".join(config.strategy for config in configs)
    has_objects = configs[0].data.has_scenes
    owners = [each for each in composer.owners(part, setting) if _is_of_task(part, each, has_objects)]
    if owners:
        # The nearest is what the strategy has and something more.
        chosen = {getattr(config, part).name for config in configs}
        nearest = next((each for each in owners if any(name in each for name in chosen)), owners[0])
        return UserError(
            what=f"{key} is set, but strategy {names} does not have it",
            expected=f"a strategy whose {part} is {one_of(owners)}",
            hint=f"choose such a strategy, write {part}={nearest}, or leave {key} out",
        )
    owner_parts = [getattr(config, part, config) if part else config for config in configs]
    known = {f"{part}.{each}" if part else each for owner in owner_parts for each in setting_rules(owner)}
    return unknown_key(composer, key, value, sorted(known), of=f"strategy {names}")


def _is_of_task(group: str, name: str, has_objects: bool) -> bool:
    """Whether a part can be had where there are objects to find, or where there are rows to classify."""
    if group not in PARTS:
        return True
    return (name in part_names(group) and finds_objects(named_part(group, name))) == has_objects
