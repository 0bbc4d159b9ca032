"""The study of one strategy: what is fixed, and what is searched under which conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.rules import Rule, show
from lossfleet.conf.schema import Config
from lossfleet.sweeps.planning.compose import Composer
from lossfleet.sweeps.planning.overrides import Request, options
from lossfleet.sweeps.planning.plan import Study, setting_rules
from lossfleet.sweeps.planning.points import read_points
from lossfleet.sweeps.planning.space import Dimension, Value, check_single, parse_dimension, parse_override

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


@dataclass(frozen=True)
class Entry:
    """One line of a space: the values, and the files of groups that it depends on."""

    override: Override
    when: Mapping[str, Any] = field(default_factory=dict)


def build_study(composer: Composer, request: Request, strategy: str) -> Study:
    """What a strategy searches, and the configuration that its trials change.

    Raises:
        UserError: a space that cannot be read, or settings that exclude each other.
    """
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
        found = {name: rule_of(config, key) for name, config in configs.items()}
        return {name: rule for name, rule in found.items() if rule is not None}

    fixed = {key: value for key, value in request.fixed.items() if owners(key)}
    for key, value in fixed.items():
        check_single(key, value, owners(key).values())
    searched = {key: override for key, override in request.searched.items() if owners(key)}
    losses = list(bare_variants.get("loss", {strategy: bare}).values())
    excluded = excluded_settings(losses, fixed, searched)
    fixed |= {key: None for key in excluded if any(map(is_optional, owners(key).values()))}
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
        settings = {key: value for key, value in fixed.items() if rule_of(base, key) is not None}
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


def excluded_settings(
    configs: Iterable[Config], fixed: Mapping[str, Any], searched: Iterable[str]
) -> set[str]:
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


def rule_of(config: Config, key: str) -> Rule | None:
    """The rule of a setting such as `loss.gamma`, or None where the configuration has none of this name."""
    part, _, setting = key.rpartition(".")
    owner = getattr(config, part, None) if part else config
    return setting_rules(owner).get(setting) if is_dataclass(owner) else None


def is_optional(rule: Rule | None) -> bool:
    """Whether a setting may be left out."""
    return rule is not None and rule.optional


def _text(dimension: Dimension) -> Any:
    if not dimension.when:
        return dimension.text()
    when = {name: list(values) for name, values in dimension.when.items()}
    return {"when": when, "values": dimension.text()}


def _not_in_space(strategy: str, key: str) -> UserError:
    part = key.split(".")[0]
    return UserError(
        what=f"strategy {strategy} searches {key}, which its {part} does not have",
        expected=f"another {part}, with this setting",
        hint=f"leave {part}=... out, or correct {strategy}.yaml",
    )
