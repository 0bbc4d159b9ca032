"""From overrides to checked plans and configurations.

`strategy` chooses the studies. `data` and `data.*` with several values make several sweeps. Any other value
for a hyperparameter goes to each strategy that has it: a fixed one takes it out of the strategy's space, a
distribution takes the place of the one in the space.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.parts import unknown_setting
from lossfleet.conf.rules import Rule, show
from lossfleet.conf.schema import PART_GROUPS, Config
from lossfleet.sweeps.planning.compose import Composer
from lossfleet.sweeps.planning.overrides import (
    Request,
    options,
    parse_arguments,
    sort_overrides,
    split_by_data,
)
from lossfleet.sweeps.planning.plan import Plan, Study, make_plan, setting_rules
from lossfleet.sweeps.planning.points import read_points
from lossfleet.sweeps.planning.space import Dimension, Value, parse_dimension, parse_override

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


@dataclass(frozen=True)
class Entry:
    """One line of a space: the values, and the files of groups that it depends on."""

    override: Override
    when: Mapping[str, Any] = field(default_factory=dict)


def build_plans(composer: Composer, arguments: Sequence[str]) -> tuple[Plan, ...]:
    """One checked plan for each data set.

    Args:
        composer: reads the YAML files.
        arguments: overrides; a later one replaces an earlier one of the same key.

    Raises:
        UserError: anything in the configuration that would fail later.
    """
    plans = []
    for overrides in split_by_data(composer, parse_arguments(composer, arguments)):
        request = with_data(composer, sort_overrides(composer, overrides))
        studies = [_study(composer, request, strategy) for strategy in request.strategies]
        _check_all_used(composer, request, studies)
        _check_points(composer, request, studies)
        plans.append(make_plan(studies))
    names = [plan.sweep for plan in plans]
    if len(set(names)) < len(names):
        raise UserError(
            what=f"{len(names)} sweeps would have the name {max(names, key=names.count)}",
            expected="each data set once, and only one together with name=...",
            hint="leave name out, or run 'lossfleet sweep' once for each data set",
        )
    return tuple(plans)


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
    request = with_data(composer, sort_overrides(composer, overrides))
    choices = request.choices | {"strategy": request.strategies[0]}
    bare = composer.config(choices, request.shared)
    for key in request.fixed:
        if _rule(bare, key) is None:
            raise _unknown(composer, key, [bare])
    unset = {key: None for key in _excluded([bare], request.fixed, {}) if _is_optional(_rule(bare, key))}
    return replace(composer.config(choices, request.shared | request.fixed | unset), space={})


def with_data(composer: Composer, request: Request) -> Request:
    """The request, with what reading data of the user's tells of it: checks of the loss need the classes.

    Raises:
        UserError: the data cannot be used or split as asked.
    """
    choices = request.choices | {"strategy": request.strategies[0]}
    data = composer.config(choices, request.shared).data
    if not data.is_users:
        return request
    # Late: pyarrow and pandas, for data of the user's alone.
    from lossfleet.runners.data.loading import described, open_dataset
    from lossfleet.runners.data.splits import part_counts

    data = described(data)
    part_counts(
        open_dataset(data),
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        long_tail=data.long_tail,
    )
    told = {
        "data.digest": data.digest,
        "data.class_names": [literal(name) for name in data.class_names or ()],
    }
    if data.is_table:
        told["data.path"] = literal(data.source["path"])
    return replace(request, shared=request.shared | told)


def literal(text: str) -> str:
    """Text that OmegaConf does not take for an interpolation."""
    return text.replace("${", "\\${")


def _study(composer: Composer, request: Request, strategy: str) -> Study:
    choices = request.choices | {"strategy": strategy}
    bare = composer.config(choices, request.shared)
    entries = _entries(composer, request, bare)
    searched_files = {
        name: options(composer, entry.override) for name, entry in entries.items() if name in composer.groups
    }
    bare_variants = {
        group: {option: composer.config(choices | {group: option}, request.shared) for option in files}
        for group, files in searched_files.items()
    }

    def owners(key: str) -> dict[str, Rule]:
        """The rule of a setting by the option that has it, or by the strategy where no file is searched."""
        configs = bare_variants.get(key.split(".")[0], {strategy: bare})
        found = {name: _rule(config, key) for name, config in configs.items()}
        return {name: rule for name, rule in found.items() if rule is not None}

    fixed = {key: value for key, value in request.fixed.items() if owners(key)}
    searched = {key: override for key, override in request.searched.items() if owners(key)}
    losses = list(bare_variants.get("loss", {strategy: bare}).values())
    excluded = _excluded(losses, fixed, searched)
    fixed |= {key: None for key in excluded if any(map(_is_optional, owners(key).values()))}
    kept = {key: entry for key, entry in entries.items() if key not in fixed and key not in excluded}
    for key, override in searched.items():
        kept[key] = Entry(override, kept[key].when if key in kept else {})

    space = []
    for name in _in_order(kept, searched_files):
        entry = kept[name]
        when = _conditions(composer, entry, searched_files, choices)
        if when is None:
            continue
        if name in searched_files:
            space.append(parse_dimension(entry.override, rule=None, options=composer.groups[name], when=when))
            continue
        found = owners(name)
        if not found:
            raise _not_in_space(strategy, name)
        group = name.split(".")[0]
        if group in searched_files and len(found) < len(searched_files[group]):
            possible = when.get(group, searched_files[group])
            when[group] = tuple(option for option in possible if option in found)
        space.append(parse_dimension(entry.override, rule=next(iter(found.values())), when=when))

    def complete(base: Config, more_choices: dict[str, str]) -> Config:
        settings = {key: value for key, value in fixed.items() if _rule(base, key) is not None}
        return composer.config(choices | more_choices, request.shared | settings)

    variants = {
        group: {option: getattr(complete(base, {group: option}), group) for option, base in configs.items()}
        for group, configs in bare_variants.items()
    }
    first = {group: next(iter(parts.values())) for group, parts in variants.items()}
    config = replace(complete(bare, {}), space={each.name: _text(each) for each in space}, **first)
    # Points that the user gives must fit; the strategy's own give way to what the user has changed.
    changed = () if "search.enqueue" in request.shared else (*request.searched, *choices)
    points = read_points(config.search.enqueue, space, changed)
    config = replace(config, search=replace(config.search, enqueue=points))
    return Study(strategy, config, tuple(space), variants)


def _entries(composer: Composer, request: Request, bare: Config) -> dict[str, Entry]:
    """The strategy's space without the groups that are fixed, and with those that are searched."""
    entries = {}
    for key, entry in bare.space.items():
        values, when = entry, {}
        if isinstance(entry, Mapping):
            values, when = entry.get("values"), entry.get("when", {})
        if not isinstance(values, str) or not isinstance(when, Mapping):
            raise UserError(
                what=f"space.{key} of strategy {bare.strategy} is {show(entry)}",
                expected="values such as interval(0,1), or a mapping with values and when",
                hint=f"correct {bare.strategy}.yaml",
            )
        entries[key] = Entry(parse_override(f"{key}={values}", composer.config_loader), when)
    for key, override in request.searched.items():
        if key in composer.groups:
            entries[key] = Entry(override)
    for key, entry in entries.items():
        if key in composer.groups:
            for option in options(composer, entry.override):
                composer.check_option(key, option)
    return {key: entry for key, entry in entries.items() if key not in request.choices}


def _in_order(entries: Mapping[str, Entry], searched_files: Mapping[str, list[str]]) -> list[str]:
    """The names of a space: groups first, and each after the searched groups that it depends on."""
    ordered: list[str] = []
    waiting = sorted(entries, key=lambda name: name not in searched_files)
    while waiting:
        ready = [
            name
            for name in waiting
            if all(group in ordered or group not in searched_files for group in entries[name].when)
        ]
        if not ready:
            raise UserError(
                what=f"the conditions of {' and '.join(waiting)} lead in a circle",
                expected="conditions on groups that do not depend on what they decide",
                hint=f"take one 'when' of {waiting[0]} out",
            )
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered


def _conditions(
    composer: Composer, entry: Entry, searched_files: Mapping[str, list[str]], choices: Mapping[str, str]
) -> dict[str, tuple[Value, ...]] | None:
    """The entry's conditions on searched groups; None if the files rule the entry out."""
    conditions: dict[str, tuple[Value, ...]] = {}
    for group, names in entry.when.items():
        if group not in composer.groups:
            raise UserError(
                what=f"space.{entry.override.key_or_group} depends on {group}",
                expected=f"a config group: one of {', '.join(composer.groups)}",
                hint=suggest(group, composer.groups),
            )
        wanted = names if isinstance(names, list) else [names]
        for name in wanted:
            composer.check_option(group, name)
        possible = searched_files.get(group, [composer.chosen(choices)[group]])
        kept = tuple(name for name in wanted if name in possible)
        if not kept:
            return None
        if group in searched_files:
            conditions[group] = kept
    return conditions


def _excluded(configs: Iterable[Config], fixed: Mapping[str, Any], searched: Iterable[str]) -> set[str]:
    """The settings that the user's choice of another of their family takes out.

    A family are the class weights of a loss: setting one of them says that the others shall not apply.
    """
    excluded: set[str] = set()
    for family in dict.fromkeys(config.loss.class_weights for config in configs):
        keys = [f"loss.{name}" for name in family]
        given = [key for key in keys if key in searched or fixed.get(key) is not None]
        if len(given) > 1:
            raise UserError(
                what=f"{' and '.join(given)} are both given",
                expected=f"at most one of {', '.join(keys)}",
                hint=f"keep {given[0]} and leave out {given[1]}",
            )
        if given:
            excluded |= set(keys) - set(given)
    return excluded


def _rule(config: Config, key: str) -> Rule | None:
    part, _, setting = key.rpartition(".")
    owner = getattr(config, part, None) if part else config
    return setting_rules(owner).get(setting) if is_dataclass(owner) else None


def _is_optional(rule: Rule | None) -> bool:
    return rule is not None and rule.optional


def _text(dimension: Dimension) -> Any:
    if not dimension.when:
        return dimension.text()
    when = {name: list(values) for name, values in dimension.when.items()}
    return {"when": when, "values": dimension.text()}


def _check_all_used(composer: Composer, request: Request, studies: Sequence[Study]) -> None:
    for key in (*request.fixed, *request.searched):
        if key not in composer.groups and not any(_has(study, key) for study in studies):
            raise _unknown(composer, key, [study.config for study in studies])


def _check_points(composer: Composer, request: Request, studies: Sequence[Study]) -> None:
    """Refuses a misspelt key in the points to try first, and one of the user's that nothing searches."""
    is_users = "search.enqueue" in request.shared
    searched = {dimension.name for study in studies for dimension in study.space}
    for strategy in request.strategies:
        bare = composer.config(request.choices | {"strategy": strategy}, request.shared)
        for key in {key: None for point in bare.search.enqueue for key in point}:
            group, _, setting = key.rpartition(".")
            is_known = key in composer.groups or any(_has(study, key) for study in studies)
            if not is_known and (is_users or not composer.owners(group, setting)):
                raise _unknown(composer, key, [study.config for study in studies])
            if is_users and key not in searched:
                raise UserError(
                    what=f"search.enqueue has {key}, which no strategy searches here",
                    expected=f"some of {', '.join(sorted(searched))}",
                    hint=f"leave {key} out, or search it, for example {key}=a,b",
                )


def _has(study: Study, key: str) -> bool:
    part = key.split(".")[0]
    configs = [replace(study.config, **{part: variant}) for variant in study.variants.get(part, {}).values()]
    return any(_rule(config, key) is not None for config in configs or [study.config])


def _unknown(composer: Composer, key: str, configs: Sequence[Config]) -> UserError:
    """The error for a hyperparameter that no strategy has: who has it, or what else there is."""
    part, _, setting = key.rpartition(".")
    names = ", ".join(config.strategy for config in configs)
    owners = composer.owners(part, setting)
    if owners:
        return UserError(
            what=f"{key} is set, but strategy {names} does not have it",
            expected=f"a strategy whose {part} is {' or '.join(owners)}",
            hint=f"choose such a strategy, write {part}={owners[-1]}, or leave {key} out",
        )
    owner_parts = [getattr(config, part, config) if part else config for config in configs]
    known = {f"{part}.{each}" if part else each for owner in owner_parts for each in setting_rules(owner)}
    elsewhere = [
        f"did you mean {group}.{setting}, of {group}={name}?"
        for group in PART_GROUPS
        for name in composer.owners(group, setting)
    ]
    return unknown_setting(key, sorted(known), of=f"strategy {names}", hint=next(iter(elsewhere), None))


def _not_in_space(strategy: str, key: str) -> UserError:
    part = key.split(".")[0]
    return UserError(
        what=f"strategy {strategy} searches {key}, which its {part} does not have",
        expected=f"another {part}, with this setting",
        hint=f"leave {part}=... out, or correct {strategy}.yaml",
    )
