"""A part: what one YAML file of a config group says, the function or class of `_target_` and its settings."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from lossfleet.conf.errors import UserError, gathering, one_of, raise_gathered, suggest
from lossfleet.conf.rules import Rule, show
from lossfleet.conf.signature import Signature
from lossfleet.conf.targets import bad_target, load_target, reason_of, target_signature

# What a target of each group is given by those who call it; everything else that it takes are settings.
GIVEN: dict[str, frozenset[str]] = {
    "loss": frozenset({"logits", "labels", "class_weight", "class_counts", "class_prior", "valid"}),
    "mining": frozenset({"losses", "labels", "valid"}),
    "mixing": frozenset({"labels", "partner_labels", "class_counts", "random"}),
    "augmentation": frozenset({"images", "random"}),
    "sampler": frozenset(
        {"features", "labels", "categories", "class_names", "draws", "random", "random_state"}
    ),
    "model": frozenset({"features", "input_shape", "classes"}),
    "schedule": frozenset({"step", "steps"}),
    "metric": frozenset(
        {
            *("confusion", "probabilities", "ranking", "logits", "labels", "rarest_class", "sample_weight"),
            "precision_curves",
        }
    ),
    "reference": frozenset({"random_state"}),
    "search": frozenset({"seed"}),
    "pruner": frozenset({"n_warmup_steps", "min_resource", "max_resource"}),
}
# What the files of some groups say beside the settings of their target.
SECTION_SETTINGS = ("class_names", "warmup_rungs", "direction", "by_class")
# What lists the files of all groups.
HELP = "'lossfleet sweep --help'"
# A loss takes its first two parameters, logits and labels, by their place, whatever their names.
POSITIONAL = {"loss": 2}
# A loss that takes `class_weight` has the settings of this too: how class weights follow from class counts.
CLASS_WEIGHTS = "lossfleet.losses.weights.class_weights"
# Settings that a target was given later, at the value of before, which is not stored: sweeps keep their names.
LATER: dict[str, dict[str, Any]] = {
    "lossfleet.runners.optimizers.schedules.constant": {"warmup": 0.0},
    "lossfleet.runners.data.images.read_npz": {"names": None},
    "lossfleet.runners.data.images.read_idx": {"names": None},
}


@dataclass(frozen=True)
class Part:
    """What one YAML file of a config group says.

    Attributes:
        group: the config group, such as `loss`.
        name: of the file.
        target: the dotted name of a function or class; None stands for no part at all, as in `mining=none`.
        items: the settings with their values, in the order of the parameters, however they were given.
    """

    group: str
    name: str
    target: str | None = None
    items: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        rules = self.rules()
        settings = self.settings
        faults: list[UserError] = []
        checked: dict[str, Any] = {}
        for name, rule in rules.items():
            with gathering(faults):
                checked[name] = self._checked(name, settings[name], rule)
        raise_gathered(faults)
        # A frozen dataclass can only be completed this way.
        object.__setattr__(self, "items", tuple(checked.items()))
        given = [name for name in self.class_weights if self[name] is not None]
        if len(given) > 1:
            raise UserError(
                what=" and ".join(f"{self.group}.{name}={show(self[name])}" for name in given)
                + " both weigh the classes",
                expected=f"at most one of {', '.join(f'{self.group}.{name}' for name in self.class_weights)}",
                hint=f"keep {self.group}.{given[0]} and set {self.group}.{given[1]}=null",
            )

    @classmethod
    def from_dict(cls, group: str, values: Any) -> Part:
        """The part of a mapping with `name`, `_target_` and settings, as `to_dict` gives it.

        Raises:
            UserError: the target is not there or refused, or a setting is unknown or out of range.
        """
        if not isinstance(values, Mapping) or "_target_" not in values:
            raise UserError(
                what=f"{group} is {show(values)}",
                expected="a mapping with _target_, a function or class",
                hint=f"choose a file of the group {group}, or add _target_ to yours",
            )
        settings = dict(values)
        target, name = settings.pop("_target_"), settings.pop("name", None)
        if target is not None and not isinstance(target, str):
            raise bad_target(group, show(target), "which is no name")
        settings = LATER.get(target or "", {}) | settings
        name = str(name or (target or "none").rpartition(".")[2])
        return cls(group, name, target, tuple(settings.items()))

    def to_dict(self) -> dict[str, Any]:
        """The part as plain values, ready for YAML or JSON."""
        usual = LATER.get(self.target or "", {})
        plain = {
            name: _plain(value) for name, value in self.items if name not in usual or value != usual[name]
        }
        return {"name": self.name, "_target_": self.target} | plain

    def __getitem__(self, name: str) -> Any:
        return dict(self.items)[name]

    def __contains__(self, name: object) -> bool:
        return name in dict(self.items)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.items))

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting, or the default where the part does not have it."""
        return dict(self.items).get(name, default)

    @property
    def is_users(self) -> bool:
        """Whether its target is not lossfleet's own."""
        return self.target is not None and not self.target.startswith("lossfleet.")

    @property
    def is_estimator(self) -> bool:
        """Whether its target is a class of scikit-learn's kind: a reference, or a sampler with `fit_resample`."""
        return self.group == "reference" or (self.group == "sampler" and self.signature.is_class)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings with their values."""
        return dict(self.items)

    @property
    def signature(self) -> Signature:
        """What the target takes.

        Raises:
            UserError: Hydra refuses the target, it is not there, or its source is no Python.
        """
        return Signature({}, None, None) if self.target is None else target_signature(self.group, self.target)

    @property
    def class_weights(self) -> tuple[str, ...]:
        """The settings that say how the classes weigh, in a loss that takes class weights."""
        own = self.signature.parameters
        if self.group != "loss" or "class_weight" not in own:
            return ()
        known = target_signature("loss", CLASS_WEIGHTS).parameters
        names = self.settings
        return tuple(name for name in known if name in names and (name not in own or name == "class_weight"))

    @property
    def arguments(self) -> dict[str, Any]:
        """The settings that are the target's own: not class weights, nor what is null to be given."""
        given, weights = self._given(), self.class_weights
        return {
            name: value
            for name, value in self.items
            if name not in weights and not (name in given and value is None)
        }

    def rules(self) -> dict[str, Rule]:
        """The rule of every setting, from the signature of its target; a rule of None accepts everything.

        Raises:
            UserError: a setting that the target does not have, or a parameter of it that nobody gives.
        """
        signature, weights, given = self.signature, self.class_weights, self._given()
        parameters = {name: each for name, each in signature.parameters.items() if name not in weights}
        if weights:
            known = target_signature("loss", CLASS_WEIGHTS).parameters
            parameters |= {name: known[name] for name in known if name not in parameters}
        names = self.settings
        rules: dict[str, Rule] = {}
        for name in [*(name for name in parameters if name in names), *sorted(names.keys() - parameters)]:
            if name not in parameters and not signature.takes_all:
                raise self._unknown(name, signature)
            # Estimators check their settings themselves, which may be of other kinds than their defaults.
            is_ruled = name in parameters and not self.is_estimator
            rule = parameters[name].rule if is_ruled else None
            rule = Rule(object, optional=True) if rule is None else rule
            rule = replace(rule, by_class=name in weights and rule.many)
            rules[name] = replace(rule, optional=True) if name in given else rule
        self._check_required(signature, rules)
        return rules

    def _check_required(self, signature: Signature, rules: Mapping[str, Rule]) -> None:
        given = self._given()
        for place, (name, parameter) in enumerate(signature.parameters.items()):
            positional = place < POSITIONAL.get(self.group, 0)
            if parameter.is_required and not positional and name not in given and name not in rules:
                raise UserError(
                    what=f"{self.target} of {self.group}={self.name} takes {name}, which has no value "
                    f"({signature.place})",
                    expected=f"a default, or {name} in {self.group}/{self.name}.yaml"
                    + (f"; {self.group} is given {', '.join(sorted(given))}" if given else ""),
                    hint=f"add {name} to {self.group}/{self.name}.yaml"
                    if self.is_estimator
                    else f"write for example {name}: 1.0 into {self.group}/{self.name}.yaml",
                )

    def replace(self, /, **settings: Any) -> Part:
        """The part with other values of its settings.

        Raises:
            UserError: a setting that the part does not have, or a value out of range.
        """
        for name in settings:
            if name not in self:
                raise unknown_setting(f"{self.group}.{name}", [f"{self.group}.{each}" for each in self])
        return replace(self, items=tuple((self.settings | settings).items()))

    def inputs(self) -> frozenset[str]:
        """The names of the parameters that are no settings: what whoever calls the target gives."""
        arguments = self.arguments
        return frozenset(name for name in self.signature.parameters if name not in arguments)

    def load(self) -> Any:
        """The function or class.

        Raises:
            UserError: it cannot be imported; the message has the file and the line.
        """
        if self.target is None:
            raise ValueError(f"{self.group}={self.name} has no target")
        return load_target(self.group, self.target)

    def call(self, *positional: Any, **given: Any) -> Any:
        """Calls the target with its settings, and with as much of what is given as it names.

        Args:
            positional: what is given by its place, as the logits and labels of a loss.
            given: by name.

        Raises:
            UserError: a target that is not lossfleet's raises an exception; the message has the file and the line.
        """
        inputs = self.inputs()
        named = {name: value for name, value in given.items() if name in inputs}
        function = self.load()
        with self.explained():
            return function(*positional, **named, **self.arguments)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what a target raises that is not lossfleet's into UserError, with the file and the line."""
        try:
            yield
        except Exception as error:
            if isinstance(error, UserError) or not self.is_users:
                raise
            raise UserError(
                what=f"{self.group}={self.name} fails: {reason_of(error, self.signature.file)}",
                expected=f"{self.target} to take {self._settings_text()}",
                hint=f"correct its settings, or {self.signature.place}",
            ) from error

    def _settings_text(self) -> str:
        return ", ".join(f"{name}={show(value)}" for name, value in self.arguments.items()) or "what it names"

    def _given(self) -> frozenset[str]:
        return GIVEN.get(self.group, frozenset())

    def _checked(self, name: str, value: Any, rule: Rule) -> Any:
        path = f"{self.group}.{name}"
        if rule.kind is not object:
            return rule.check(path, value)
        if isinstance(value, Mapping):
            raise UserError(
                what=f"{path} is a mapping",
                expected="a number, a text, true, false, null or a list of them",
                hint=f"give {path} settings of its own, one for each key",
            )
        return tuple(value) if isinstance(value, (list, tuple)) else value

    def _unknown(self, name: str, signature: Signature) -> UserError:
        known = sorted(set(signature.parameters) - self._given())
        return UserError(
            what=f"{self.group}/{self.name}.yaml has {name}, which {self.target} does not take ({signature.place})",
            expected=one_of(known, name) if known else f"no settings but those of {self.target}",
            hint=suggest(name, known) if known else f"leave {self.group}.{name} out",
        )


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def named_part(group: str, name: str, /, **settings: Any) -> Part:
    """A part of lossfleet's own by its name, with other values for some of its settings.

    Raises:
        UserError: there is no such part, or a setting that it does not have.
    """
    own = _own_part(group, name)
    return own.replace(**settings) if settings else own


def part_field(group: str, name: str) -> Any:
    """A dataclass field that holds a part of a group, by default the one of this name."""
    return field(default_factory=lambda: named_part(group, name), metadata={"group": group})


@cache
def part_names(group: str) -> tuple[str, ...]:
    """The names of lossfleet's own parts of a config group."""
    folder = importlib.resources.files("lossfleet.conf") / group
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))
    )


@cache
def _own_part(group: str, name: str) -> Part:
    settings = own_file(group, name)
    return Part.from_dict(group, {key: settings[key] for key in settings if key not in SECTION_SETTINGS})


def own_file(group: str, name: str) -> dict[str, Any]:
    """What a YAML file of lossfleet's own says, and its name.

    Raises:
        UserError: there is no such file.
    """
    names = part_names(group)
    if name not in names:
        raise UserError(
            what=f"there is no {group} {name}",
            expected=one_of(names, name, listed=HELP),
            hint=suggest(name, names),
        )
    return {"name": name, **deepcopy(_read_own(group, name))}


@cache
def _read_own(group: str, name: str) -> Any:
    import yaml

    text = (importlib.resources.files("lossfleet.conf") / group / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def unknown_setting(key: str, known: Iterable[str], *, of: str = "", hint: str | None = None) -> UserError:
    """The error for a dotted key that nothing has.

    Args:
        key: what was set.
        known: the keys that there are.
        of: who does not have it.
        hint: in place of the closest of the known keys.
    """
    known = list(known)
    return UserError(
        what=f"there is no setting {key}" + (f" for {of}" if of else ""),
        expected=one_of(known, key, listed="'lossfleet train --print-config'")
        if known
        else "no settings here",
        hint=hint or (suggest(key, known) if known else f"leave {key} out"),
    )
