"""From overrides to plans: which strategies, which data, what is fixed and what is searched.

`strategy` chooses the studies. `data` and `data.*` with several values make several sweeps. Any other value
for a hyperparameter goes to each strategy that has it: a fixed one takes it out of the strategy's space, a
distribution takes the place of the one in the space.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from conf.errors import UserError, suggest
from conf.rules import Rule, rules, show
from conf.schema import VARIANTS, WEIGHT_FIELDS, Config
from sweeps.compose import Composer
from sweeps.plan import Plan, Study, make_plan
from sweeps.space import Dimension, Value, parse_dimension, parse_override, unquoted

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

HYPERPARAMETER_PARTS = ("loss", "sampler", "optimizer", "model")
# Setting one of a family says that the others shall not apply.
EXCLUSIVE = (tuple(f"loss.{name}" for name in WEIGHT_FIELDS), ("loss.keep", "loss.negatives_per_positive"))


@dataclass(frozen=True)
class Request:
    """The overrides of one sweep, sorted by what they decide.

    Attributes:
        strategies: the studies.
        choices: file by group, the same for all studies.
        shared: value by key, the same for all studies.
        fixed: value by hyperparameter, for the strategies that have it.
        searched: distribution by hyperparameter or group, for the strategies that have it.
    """

    strategies: tuple[str, ...]
    choices: dict[str, str]
    shared: dict[str, Any]
    fixed: dict[str, Any]
    searched: dict[str, Override]


def build_plans(composer: Composer, arguments: Sequence[str]) -> tuple[Plan, ...]:
    """One checked plan for each data set.

    Args:
        composer: reads the YAML files.
        arguments: overrides; a later one replaces an earlier one of the same key.

    Raises:
        UserError: anything that would fail later for the configuration's sake.
    """
    overrides = _parse(composer, arguments)
    data_keys = [key for key in overrides if key.split(".")[0] == "data" and overrides[key].is_sweep_override()]
    several_data = [_single_values(composer, overrides.pop(key)) for key in data_keys]
    plans = []
    for values in itertools.product(*several_data):
        request = _sort(composer, overrides | {each.key_or_group: each for each in values})
        studies = [_study(composer, request, strategy) for strategy in request.strategies]
        _check_all_used(composer, request, studies)
        plans.append(make_plan(studies))
    _check_names(plans)
    return tuple(plans)


def build_config(composer: Composer, arguments: Sequence[str]) -> Config:
    """The configuration of one run, without a space.

    Raises:
        UserError: a sweep among the arguments, or a configuration that the schema refuses.
    """
    overrides = _parse(composer, arguments)
    for key, override in overrides.items():
        if override.is_sweep_override():
            raise UserError(
                what=f"'{override.input_line}' has several values",
                expected=f"one value for {key}, for 'lossfleet train' makes one run",
                mend="use 'lossfleet sweep', or brackets for a list such as model.widths=[32,32]",
            )
    request = _sort(composer, overrides)
    choices = request.choices | {"strategy": request.strategies[0]}
    bare = composer.config(choices, request.shared)
    for key in request.fixed:
        if _rule(bare, key) is None:
            raise _unknown(key, [bare])
    fixed = request.fixed | {
        key: None for key in _excluded(request.fixed, {}) if (rule := _rule(bare, key)) and rule.optional
    }
    config = composer.config(choices, request.shared | fixed)
    return replace(config, space={})


def _parse(composer: Composer, arguments: Sequence[str]) -> dict[str, Override]:
    overrides = {}
    for argument in arguments:
        override = parse_override(argument, composer.config_loader)
        key = override.key_or_group
        if key.split(".")[0] == "space":
            raise UserError(
                what=f"'{argument}' changes the space as a whole",
                expected="a value or distribution for one hyperparameter",
                mend="write for example 'loss.gamma=interval(0,5)'",
            )
        if key in composer.groups:
            options = list(override.sweep_iterator(unquoted)) if override.is_discrete_sweep() else [override.value()]
            for option in options:
                composer.check_option(key, option)
        overrides[key] = override
    return overrides


def _single_values(composer: Composer, override: Override) -> list[Override]:
    if not override.is_discrete_sweep():
        raise UserError(
            what=f"'{override.input_line}' cannot be enumerated",
            expected=f"a list of values, one sweep for each {override.key_or_group}",
            mend=f"write for example {override.key_or_group}=a,b",
        )
    texts = override.sweep_string_iterator()
    return [parse_override(f"{override.key_or_group}={text}", composer.config_loader) for text in texts]


def _sort(composer: Composer, overrides: Mapping[str, Override]) -> Request:
    request = Request((), {}, {}, {}, {})
    for key, override in overrides.items():
        swept = override.is_sweep_override()
        if key == "strategy":
            strategies = [str(each) for each in override.sweep_iterator(unquoted)] if swept else [str(override.value())]
            request = replace(request, strategies=tuple(strategies))
        elif _is_hyperparameter(key):
            if swept:
                request.searched[key] = override
            elif key in composer.groups:
                request.choices[key] = str(override.value())
            else:
                request.fixed[key] = override.value()
        elif swept:
            raise UserError(
                what=f"'{override.input_line}' has several values",
                expected=f"one value for {key}, which is no hyperparameter",
                mend=f"run 'lossfleet sweep' once for each {key}",
            )
        elif key in composer.groups:
            request.choices[key] = str(override.value())
        else:
            request.shared[key] = override.value()
    if not request.strategies:
        request = replace(request, strategies=(composer.chosen(request.choices)["strategy"],))
    if len(set(request.strategies)) < len(request.strategies):
        raise UserError(
            what=f"strategy={','.join(request.strategies)} repeats a strategy",
            expected="each strategy once",
            mend=f"write strategy={','.join(dict.fromkeys(request.strategies))}",
        )
    return request


def _is_hyperparameter(key: str) -> bool:
    return key == "batch_size" or key.split(".")[0] in HYPERPARAMETER_PARTS


def _study(composer: Composer, request: Request, strategy: str) -> Study:
    choices = request.choices | {"strategy": strategy}
    bare = composer.config(choices, request.shared)
    entries = _entries(composer, request, bare)
    options = {name: entry.options(composer) for name, entry in entries.items() if name in composer.groups}
    bare_variants = {
        group: {option: composer.config(choices | {group: option}, request.shared) for option in names}
        for group, names in options.items()
    }

    def owners(key: str) -> dict[str, Rule]:
        """The rule of a setting by the option (or, without options, the strategy) that has it."""
        configs = bare_variants.get(key.split(".")[0], {strategy: bare})
        found = {name: _rule(config, key) for name, config in configs.items()}
        return {name: rule for name, rule in found.items() if rule is not None}

    fixed = {key: value for key, value in request.fixed.items() if owners(key)}
    searched = {key: override for key, override in request.searched.items() if owners(key)}
    excluded = _excluded(fixed, searched)
    fixed |= {key: None for key in excluded if any(rule.optional for rule in owners(key).values())}
    for key in (*fixed, *excluded):
        entries.pop(key, None)
    for key, override in searched.items():
        entries[key] = replace(entries.get(key, Entry(override)), override=override)

    space = []
    for name, entry in sorted(entries.items(), key=lambda item: item[0] not in options):
        when = _conditions(composer, entry, options, choices)
        if name in options:
            space.append(parse_dimension(entry.override, rule=None, options=composer.groups[name]))
        elif when is not None:
            found = owners(name)
            if not found:
                raise _not_in_space(strategy, name)
            part = name.split(".")[0]
            if len(found) < len(options.get(part, found)):
                when[part] = tuple(each for each in when.get(part, options[part]) if each in found)
            space.append(parse_dimension(entry.override, rule=next(iter(found.values())), when=when))

    def completed(base: Config, extra: Mapping[str, str]) -> Config:
        settings = {key: value for key, value in fixed.items() if _rule(base, key) is not None}
        return composer.config(choices | extra, request.shared | settings)

    variants = {
        group: {option: getattr(completed(base, {group: option}), group) for option, base in configs.items()}
        for group, configs in bare_variants.items()
    }
    first = {group: next(iter(parts.values())) for group, parts in variants.items()}
    config = replace(completed(bare, {}), space={each.name: _entry_text(each) for each in space}, **first)
    return Study(strategy, config, tuple(space), variants)


@dataclass(frozen=True)
class Entry:
    """One line of a space: the values and the condition."""

    override: Override
    when: Mapping[str, Any] = field(default_factory=dict)

    def options(self, composer: Composer) -> list[str]:
        """The files that a config group is searched over."""
        group = self.override.key_or_group
        if not self.override.is_discrete_sweep():
            raise UserError(
                what=f"'{self.override.input_line}' is no list of files",
                expected=f"names of {group} files",
                mend=f"write for example {group}={','.join(composer.groups[group][:2])}",
            )
        options = [str(option) for option in self.override.sweep_iterator(unquoted)]
        for option in options:
            composer.check_option(group, option)
        return options


def _entries(composer: Composer, request: Request, bare: Config) -> dict[str, Entry]:
    """The strategy's space without the groups that are fixed, and with those that are searched."""
    entries = {}
    for key, entry in bare.space.items():
        if key in request.choices:
            continue
        values, when = entry, {}
        if isinstance(entry, Mapping):
            values, when = entry.get("values"), entry.get("when", {})
        if not isinstance(values, str) or not isinstance(when, Mapping):
            raise UserError(
                what=f"space.{key} of strategy {bare.strategy} is {show(entry)}",
                expected="values such as interval(0,1), or a mapping with values and when",
                mend=f"correct the file conf/strategy/{bare.strategy}.yaml",
            )
        entries[key] = Entry(parse_override(f"{key}={values}", composer.config_loader), when)
    groups = {key: Entry(override) for key, override in request.searched.items() if key in composer.groups}
    return entries | groups


def _conditions(
    composer: Composer, entry: Entry, options: Mapping[str, list[str]], choices: Mapping[str, str]
) -> dict[str, tuple[Value, ...]] | None:
    """The entry's conditions on searched groups; None if a fixed group rules the entry out."""
    conditions: dict[str, tuple[Value, ...]] = {}
    for group, names in entry.when.items():
        if group not in composer.groups:
            raise UserError(
                what=f"space.{entry.override.key_or_group} depends on {group}",
                expected=f"a config group: one of {', '.join(composer.groups)}",
                mend=suggest(group, composer.groups),
            )
        wanted = names if isinstance(names, list) else [names]
        for name in wanted:
            composer.check_option(group, name)
        possible = options.get(group, [composer.chosen(choices)[group]])
        kept = tuple(name for name in wanted if name in possible)
        if not kept:
            return None
        if group in options:
            conditions[group] = kept
    return conditions


def _excluded(fixed: Mapping[str, Any], searched: Mapping[str, Any]) -> set[str]:
    """The settings that the user's choice of another of their family takes out."""
    excluded: set[str] = set()
    for family in EXCLUSIVE:
        given = [key for key in family if key in searched or fixed.get(key) is not None]
        if len(given) > 1:
            raise UserError(
                what=f"{' and '.join(given)} are both given",
                expected=f"at most one of {', '.join(family)}",
                mend=f"keep {given[0]} and leave out {given[1]}",
            )
        if given:
            excluded |= set(family) - set(given)
    return excluded


def _rule(config: Config, key: str) -> Rule | None:
    part, _, setting = key.rpartition(".")
    owner = getattr(config, part, None) if part else config
    return rules(owner).get(setting) if is_dataclass(owner) else None


def _entry_text(dimension: Dimension) -> Any:
    if not dimension.when:
        return dimension.text()
    when = {name: list(values) for name, values in dimension.when.items()}
    return {"when": when, "values": dimension.text()}


def _check_all_used(composer: Composer, request: Request, studies: Sequence[Study]) -> None:
    for key in (*request.fixed, *request.searched):
        if key not in composer.groups and not any(_has(study, key) for study in studies):
            raise _unknown(key, [study.config for study in studies])


def _has(study: Study, key: str) -> bool:
    variants = study.variants.get(key.split(".")[0], {})
    configs = [replace(study.config, **{key.split(".")[0]: part}) for part in variants.values()]
    return any(_rule(config, key) is not None for config in configs or [study.config])


def _unknown(key: str, configs: Sequence[Config]) -> UserError:
    """The error for a hyperparameter that no strategy has: the part's other settings, or who has it."""
    part, _, setting = key.rpartition(".")
    names = ", ".join(config.strategy for config in configs)
    owners = [name for name, variant in VARIANTS.get(part, {}).items() if setting in rules(variant)]
    known = {
        f"{part}.{each}" if part else each
        for config in configs
        for each in (rules(getattr(config, part)) if hasattr(config, part) else rules(config))
    }
    if owners:
        return UserError(
            what=f"{key} is set, but strategy {names} does not have it",
            expected=f"a strategy whose {part} is {' or '.join(owners)}",
            mend=f"write for example {part}={owners[-1]}, or leave {key} out",
        )
    mend = suggest(key, known) if known else f"leave {key} out"
    return UserError(
        what=f"there is no setting {key} for strategy {names}",
        expected=f"one of {', '.join(sorted(known))}" if known else f"no settings of {part}",
        mend=mend,
    )


def _not_in_space(strategy: str, key: str) -> UserError:
    part = key.split(".")[0]
    return UserError(
        what=f"strategy {strategy} searches {key}, which its {part} does not have",
        expected=f"a {part} with this setting",
        mend=f"leave {part}=... out, or correct the file conf/strategy/{strategy}.yaml",
    )


def _check_names(plans: Sequence[Plan]) -> None:
    names = [plan.sweep for plan in plans]
    if len(set(names)) < len(names):
        raise UserError(
            what=f"name={names[0]} is the name of {len(names)} sweeps",
            expected="one data set with a name",
            mend="leave name out, or run 'lossfleet sweep' once for each data set",
        )
