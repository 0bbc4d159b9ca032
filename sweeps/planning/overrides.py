"""Overrides sorted by what they decide: strategies, files, what is fixed and what is searched."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lossfleet.conf.datasets import SCENES
from lossfleet.conf.errors import UserError, gathering, one_of, raise_gathered
from lossfleet.conf.parts import HELP
from lossfleet.conf.rules import Rule
from lossfleet.conf.schema import PART_GROUPS
from lossfleet.sweeps.planning.compose import Composer
from lossfleet.sweeps.planning.meant import check_key
from lossfleet.sweeps.planning.space import parse_override, unquoted
from lossfleet.sweeps.planning.text import text_settings
from lossfleet.sweeps.planning.words import in_our_words

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

# Those that belong to no part.
HYPERPARAMETERS = ("batch_size", "clip_norm")
# What a sweep without `strategy=...` compares, and training takes the first of: for rows, and for objects to find.
OF_ROWS = ["ce", "weighted_ce", "ohem", "resampling", "focal"]
OF_OBJECTS = ["retinanet_focal", "retinanet_ce"]
# Files that go together and need nothing else, of groups whose first two do not.
EXAMPLES = {"data": "page_blocks,wine"}


@dataclass(frozen=True)
class Request:
    """What the overrides of one sweep ask for.

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


def parse_arguments(composer: Composer, arguments: Sequence[str]) -> dict[str, Override]:
    """The overrides by key; a later one replaces an earlier one.

    Raises:
        UserError: an override that cannot be read, a file that does not exist, a change of the whole space.
    """
    texts = text_settings(_data_targets(composer, arguments))
    overrides: dict[str, Override] = {}
    faults: list[UserError] = []
    for argument in arguments:
        with gathering(faults):
            override = _parse_argument(composer, argument, texts)
            overrides[override.key_or_group] = override
    raise_gathered(faults)
    return overrides


def _parse_argument(composer: Composer, argument: str, texts: Mapping[str, Rule]) -> Override:
    override = parse_override(argument, composer.config_loader, texts)
    key, written = override.key_or_group, argument.partition("=")[2]
    if key.split(".")[0] == "space":
        raise UserError(
            what=f"'{argument}' changes the space as a whole",
            expected="a value or distribution for one hyperparameter",
            hint="write for example 'loss.gamma=interval(0,5)'",
        )
    check_key(composer, key, written)
    if key in composer.groups:
        for option in options(composer, override):
            composer.check_option(key, option)
    if key not in texts and (ours := in_our_words(written)):
        print(f"lossfleet: '{argument}' is read as '{key}={ours}'", file=sys.stderr)
    return override


def _data_targets(composer: Composer, arguments: Sequence[str]) -> list[str]:
    """The functions that read the data sets which the overrides choose."""
    chosen = [argument for argument in arguments if argument.startswith("data=")][-1:]
    names = [name for each in chosen for name in options(composer, parse_override(each))]
    targets = [
        composer.file("data", name).get("_target_") for name in names if name in composer.groups["data"]
    ]
    return [target for target in targets if isinstance(target, str)]


def options(composer: Composer, override: Override) -> list[Any]:
    """The files that an override of a config group names."""
    group = override.key_or_group
    value: Any = override.value()
    if isinstance(value, list):
        raise UserError(
            what=f"'{override.input_line}' is a list",
            expected=f"one or several, each {one_of(composer.groups[group], listed=HELP)}",
            hint=f"write {group}={','.join(map(str, map(unquoted, value)))}",
        )
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_choice_sweep():
        raise UserError(
            what=f"'{override.input_line}' names no files",
            expected=f"one or several, each {one_of(composer.groups[group], listed=HELP)}",
            hint=f"write for example {group}={EXAMPLES.get(group) or ','.join(composer.groups[group][:2])}",
        )
    return [unquoted(option) for option in override.sweep_iterator()]


def split_side_by_side(composer: Composer, overrides: Mapping[str, Override]) -> list[dict[str, Override]]:
    """The overrides of each sweep: several values of `data`, `data.*`, `model` or `model.*` make one sweep a value.

    A model is searched where that is written: `model.widths=choice([16],[64,64])`.
    """
    several: list[dict[str, Override]] = [dict(overrides)]
    for key, override in overrides.items():
        if not _is_side_by_side(key, override):
            continue
        if not override.is_discrete_sweep():
            raise UserError(
                what=f"'{override.input_line}' cannot be enumerated",
                expected=f"a list of values, one sweep for each {key}",
                hint=f"write for example {key}=a,b",
            )
        singles = [
            parse_override(f"{key}={text}", composer.config_loader)
            for text in override.sweep_string_iterator()
        ]
        several = [each | {key: single} for each in several for single in singles]
    return several


def _is_side_by_side(key: str, override: Override) -> bool:
    group = key.split(".")[0]
    if group == "model" and override.is_choice_sweep():
        # a,b and not choice(a,b).
        return bool(getattr(override.value(), "simple_form", False))
    return group == "data" and override.is_sweep_override()


def sort_overrides(
    composer: Composer, overrides: Mapping[str, Override], *, most_strategies: int | None = None
) -> Request:
    """Sorts the overrides of one sweep.

    Args:
        composer: reads the YAML files.
        overrides: by key.
        most_strategies: so many of the usual ones are taken where none is given; None for all.

    Raises:
        UserError: a strategy twice, or several values for what is no hyperparameter.
    """
    request = Request((), {}, {}, {}, {})
    strategies: list[str] = []
    for key, override in overrides.items():
        is_hyperparameter = key in HYPERPARAMETERS or key.split(".")[0] in PART_GROUPS
        if key == "strategy":
            strategies = [str(option) for option in options(composer, override)]
        elif override.is_sweep_override() and is_hyperparameter:
            request.searched[key] = override
        elif override.is_sweep_override():
            raise UserError(
                what=f"'{override.input_line}' has several values",
                expected=f"one value for {key}, which is no hyperparameter",
                hint=_seeds(override) or f"run 'lossfleet sweep' once for each {key}",
            )
        elif key in composer.groups:
            request.choices[key] = str(override.value())
        elif is_hyperparameter:
            request.fixed[key] = override.value()
        else:
            request.shared[key] = override.value()
    if len(set(strategies)) < len(strategies):
        raise UserError(
            what=f"strategy={','.join(strategies)} repeats a strategy",
            expected="each strategy once",
            hint=f"write strategy={','.join(dict.fromkeys(strategies))}",
        )
    strategies = strategies or _usual_strategies(composer, request.choices, most_strategies)
    return replace(request, strategies=tuple(strategies))


def _usual_strategies(composer: Composer, choices: Mapping[str, str], most: int | None) -> list[str]:
    """The strategies where no argument names one: the experiment's, else those for the task that the data sets."""
    chosen = composer.chosen(choices)
    if chosen["strategy"] != composer.chosen({})["strategy"]:
        return [chosen["strategy"]]
    if not str(composer.file("data", chosen["data"]).get("_target_")).startswith(SCENES):
        return OF_ROWS[:most]
    taken = OF_OBJECTS[:most]
    has_boxes = f"data={chosen['data']} has boxes around objects"
    print(f"lossfleet: {has_boxes}, so this is strategy={','.join(taken)}", file=sys.stderr)
    return taken


def _seeds(override: Override) -> str | None:
    """The hint for several seeds: that is what replicates are for."""
    if override.key_or_group != "seed" or not override.is_choice_sweep():
        return None
    seeds = [str(unquoted(each)) for each in override.sweep_iterator()]
    return (
        f"write 'budget.search_seeds=[{','.join(seeds)}]' budget.replicates={len(seeds)} for replicates of each trial"
        f" on these seeds, or run 'lossfleet sweep' once for each seed"
    )
