"""Hydra's part: sessions, composition from the YAML files, and Hydra's errors in our words."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

from lossfleet.conf.datasets import PACKED, TABLE_ENDINGS
from lossfleet.conf.elsewhere import file_elsewhere
from lossfleet.conf.errors import UserError, one_of, suggest
from lossfleet.conf.named_classes import quoted
from lossfleet.conf.parts import HELP, named_part, own_file, part_names, unknown_setting
from lossfleet.conf.rules import Rule, show
from lossfleet.conf.schema import PART_GROUPS, SECTION_FIELDS, Config
from lossfleet.sweeps.planning.space import parse_override, unquoted

PRIMARY = "config"

# Where Hydra looks unless a user or a plugin names further places: its own files, ours, and registered nodes.
OWN_PROVIDERS = {"hydra", "main", "schema"}
# What choices of files lead to, and the file chosen in every group.
Composed = dict[tuple[tuple[str, str], ...], tuple[Any, dict[str, str]]]
# Of lossfleet's own files, which no process changes.
_own_composed: Composed = {}
# Likewise the names of the files in each group.
_own_groups: dict[str, tuple[str, ...]] = {}
# Likewise what says which sweeper it is, by the experiment.
_own_masters: dict[tuple[str, ...], Any] = {}


class Composer:
    """Composes a configuration for a choice of files; each choice is read once.

    Args:
        config_loader: Hydra's.
        hydra_overrides: overrides of Hydra's own settings, such as its search path.
    """

    def __init__(self, config_loader: Any, hydra_overrides: Sequence[str]) -> None:
        self.config_loader = config_loader
        self._hydra_overrides = list(hydra_overrides)
        has_own = has_own_files_alone(config_loader, hydra_overrides)
        self._composed: Composed = _own_composed if has_own else {}
        self._groups = _own_groups if has_own else {}

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The config groups and the names of the files in each."""
        if not self._groups:
            self._groups.update(self._read_groups())
        return self._groups

    def _read_groups(self) -> dict[str, tuple[str, ...]]:
        from hydra.core.object_type import ObjectType

        # Hydra's get_group_options prepares the parser of overrides anew for each group.
        with hydra_errors():
            _, files = self.config_loader._parse_overrides_and_create_caching_repo(
                PRIMARY, self._hydra_overrides
            )

        def names(group: str, kind: ObjectType) -> list[str]:
            with hydra_errors():
                return files.get_group_options(group, kind)

        groups = [name for name in names("", ObjectType.GROUP) if name != "hydra" and name.isidentifier()]
        return {group: options for group in groups if (options := tuple(names(group, ObjectType.CONFIG)))}

    def check_option(self, group: str, option: Any) -> None:
        """Raises UserError unless the group has a file of this name."""
        options = self.groups[group]
        if option not in options:
            raise UserError(
                what=f"there is no {group} {option}",
                expected=one_of(options, str(option), listed=HELP),
                hint=self._meant_file(group, str(option)) or suggest(str(option), options),
            )

    def _meant_file(self, group: str, word: str) -> str | None:
        """The hint at a file that is called otherwise elsewhere, a file of another group, or a table of the user's."""
        if meant := file_elsewhere(group, word):
            return f"did you mean {shlex.quote(meant)}?"
        if group == "data" and word.lower().endswith((*TABLE_ENDINGS, *PACKED)):
            return f"write data=csv {shlex.quote(f'data.path={word}')}, and as data.target its column with the classes"
        if any(word.lower() == option.lower() for option in self.groups[group]):
            return None
        groups = [
            each for each in self.groups if word in self.groups[each] and each not in ("metric", "reference")
        ]
        # Every group has a `none` or `all` of its own.
        return f"did you mean {groups[0]}={word}?" if groups and word not in ("none", "all") else None

    def config(self, choices: Mapping[str, str], settings: Mapping[str, Any]) -> Config:
        """The configuration of these files with these settings on top.

        Args:
            choices: file by group; the other groups keep their default.
            settings: value by dotted key; may contain `${...}`.

        Raises:
            UserError: Hydra cannot compose it, or the schema refuses it.
        """
        from omegaconf import OmegaConf

        with hydra_errors():
            composed, chosen = self._compose(choices)
            # Copying takes as long as all the rest.
            composed = deepcopy(composed) if settings else composed
            for key, value in settings.items():
                self._check_key(composed, key)
                OmegaConf.update(composed, key, value, merge=False, force_add=True)
            values: Any = OmegaConf.to_container(composed, resolve=True)
        for group in (*PART_GROUPS, *SECTION_FIELDS):
            if isinstance(values.get(group), dict):
                values[group]["name"] = chosen.get(group)
        if self.users_metrics:
            values["search"]["users_metrics"] = self.users_metrics
        values["references"] = self._references(values["references"])
        return Config.from_dict(values)

    def _references(self, names: Any) -> list[dict[str, Any]]:
        """What the files of the references say."""
        if not isinstance(names, list) or len(set(map(str, names))) < len(names):
            raise UserError(
                what=f"references is {show(names)}",
                expected="a list of files of the group reference, each once",
                hint="write for example references=[dummy,logistic], or references=[] for none",
            )
        for name in names:
            self.check_option("reference", name)
        return [
            named_part("reference", name).to_dict()
            if name in part_names("reference")
            else {"name": name} | self.file("reference", name)
            for name in names
        ]

    @cached_property
    def users_metrics(self) -> list[dict[str, Any]]:
        """The files of the group `metric` that are not lossfleet's own."""
        names = [name for name in self.groups["metric"] if name not in part_names("metric")]
        return [{"name": name} | self.file("metric", name) for name in names]

    def file(self, group: str, name: str) -> dict[str, Any]:
        """What a file of a config group says.

        Raises:
            UserError: Hydra cannot compose it.
        """
        from omegaconf import OmegaConf

        with hydra_errors():
            choice = {group: name} if group in self.chosen({}) else {f"+{group}": name}
            values: Any = OmegaConf.to_container(self._compose(choice)[0], resolve=False)
        return values.get(group) or {}

    def owners(self, group: str, setting: str) -> list[str]:
        """The files of a group that have a setting; what cannot be read is left out."""
        found = []
        for name in self.groups.get(group, ()):
            try:
                # Reading a file of ours takes a hundredth of composing a configuration with it.
                is_own = name in part_names(group)
                settings = own_file(group, name) if is_own else self.file(group, name)
            except Exception:
                continue
            if setting in {*settings, *SECTION_FIELDS.get(group, ())} - {"name"}:
                found.append(name)
        return found

    def _check_key(self, composed: Any, key: str) -> None:
        """Raises UserError for a setting of a section that neither the section nor the chosen file has."""
        group, _, setting = key.partition(".")
        if group not in SECTION_FIELDS:
            return
        known = {*SECTION_FIELDS[group], *map(str, composed[group])} - {"_target_", "name"}
        if setting.partition(".")[0] in known:
            return
        owners = self.owners(group, setting)
        hint = f"write {group}={' or '.join(owners)}, or leave {key} out" if owners else None
        raise unknown_setting(key, [f"{group}.{name}" for name in sorted(known)], hint=hint)

    def chosen(self, choices: Mapping[str, str]) -> dict[str, str]:
        """The file of every group that these choices and the defaults lead to."""
        with hydra_errors():
            return self._compose(choices)[1]

    def _compose(self, choices: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
        from hydra.types import RunMode
        from omegaconf import open_dict

        key = tuple(sorted(choices.items()))
        if key not in self._composed:
            overrides = [f"{group}={option}" for group, option in choices.items()]
            composed = self.config_loader.load_configuration(
                PRIMARY, [*self._hydra_overrides, *overrides], RunMode.RUN
            )
            chosen = dict(composed.hydra.runtime.choices)
            with open_dict(composed):
                del composed["hydra"]
            self._composed[key] = composed, chosen
        return self._composed[key]


def has_own_files_alone(config_loader: Any, hydra_overrides: Sequence[str]) -> bool:
    """Whether Hydra looks for files nowhere but in lossfleet."""
    places = {place.provider for place in config_loader.get_search_path().get_path()}
    return not hydra_overrides and places == OWN_PROVIDERS


@contextmanager
def hydra_session() -> Iterator[Any]:
    """Starts Hydra on our files, with our sweeper registered, and gives its config loader."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra_plugins import lossfleet

    with initialize_config_module("lossfleet.conf", job_name="lossfleet", version_base="1.3"):
        lossfleet.register()
        config_loader: Any = GlobalHydra.instance().config_loader()
        config_loader.repository = read_once(config_loader.get_search_path())
        yield config_loader


def read_once(search_path: Any) -> Any:
    """A repository of Hydra's that reads each file once, and not again for every composition."""
    from hydra._internal.config_repository import ConfigRepository

    files: dict[str, Any] = {}

    class Repository(ConfigRepository):
        def load_config(self, config_path: str) -> Any:
            if config_path not in files:
                found = super().load_config(config_path)
                if found is None:
                    # A search path that comes later may have it.
                    return None
                files[config_path] = found
            return deepcopy(files[config_path])

    return Repository(search_path)


def run_sweeper(arguments: Sequence[str], task: Callable[[Any], Any]) -> None:
    """Hydra's multirun with the configured sweeper.

    Hydra's own `multirun` first composes one configuration from all arguments. It would have the default
    strategy, and an argument for a hyperparameter of another one would be an error. Here Hydra's own
    settings and the experiment decide which sweeper it is, and the sweeper gets the arguments.

    Args:
        arguments: overrides from the command line.
        task: what the sweeper calls with each plan.
    """
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    hydra_overrides, overrides = split_overrides(arguments)
    experiments = [each for each in overrides if each.startswith("experiment=")]
    with hydra_session() as config_loader:
        for each in experiments:
            Composer(config_loader, hydra_overrides).check_option("experiment", each.partition("=")[2])
        with hydra_errors():
            settings = tuple(experiments[-1:])
            composed = _own_masters if has_own_files_alone(config_loader, hydra_overrides) else {}
            if settings not in composed:
                composed[settings] = config_loader.load_configuration(
                    PRIMARY, [*hydra_overrides, *settings], RunMode.MULTIRUN
                )
            master = composed[settings]
            sweeper = Plugins.instance().instantiate_sweeper(
                hydra_context=HydraContext(config_loader=config_loader, callbacks=Callbacks(master)),
                task_function=task,
                config=master,
            )
        sweeper.sweep(overrides)


def with_folders(arguments: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The overrides, with folders put on Hydra's search path beside those that they name themselves."""
    # Hydra takes what follows as a path: percent signs of a URI would stay in it.
    places = [f"file://{folder}" for folder in folders]
    others = []
    for argument in arguments:
        if argument.startswith("hydra.searchpath="):
            value: Any = parse_override(argument, texts={"hydra.searchpath": Rule(str, many=True)}).value()
            places += [str(unquoted(place)) for place in (value if isinstance(value, list) else [value])]
        else:
            others.append(argument)
    return [*others, f"hydra.searchpath=[{','.join(map(quoted, places))}]"] if places else others


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of Hydra's own settings and the others.

    Raises:
        UserError: one is for a setting that has no use here.
    """
    hydra_overrides: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        if not argument.startswith(("hydra.", "hydra/")):
            overrides.append(argument)
        elif argument.startswith("hydra.searchpath="):
            hydra_overrides.append(argument)
        else:
            raise UserError(
                what=f"'{argument}' changes how Hydra runs jobs, and it runs none here",
                expected="of Hydra's settings only hydra.searchpath, where more YAML files are",
                hint="write for example 'hydra.searchpath=[file:///home/me/conf]'",
            )
    return hydra_overrides, overrides


@contextmanager
def hydra_errors() -> Iterator[None]:
    """Turns what Hydra, OmegaConf and the YAML reader raise into UserError."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        with warnings.catch_warnings():
            # Hydra only warns of a search path that does not exist.
            warnings.simplefilter("error", UserWarning)
            yield
    except (HydraException, OmegaConfBaseException, YAMLError, UserWarning) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(
            what=f"the configuration cannot be composed ({reason})",
            expected="YAML files and overrides that Hydra accepts",
            hint="'lossfleet train --print-config' shows what there is to set",
        ) from error
