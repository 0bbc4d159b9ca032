"""The resolved configuration of a training run: frozen dataclasses that check themselves.

Each field carries its rule (type and range). `__post_init__` applies the rules, so that no object with a
value out of range exists, and brings numbers and lists into one form (float, int, tuple), so that equal
configurations compare equal however they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from lossfleet.conf.budget import LARGEST_SEED, Budget, Fleet, Tracking
from lossfleet.conf.datasets import Data
from lossfleet.conf.deciding import Decision, check_decision
from lossfleet.conf.detecting import check_task, finds_objects
from lossfleet.conf.engines import Engine, check_engine
from lossfleet.conf.errors import UserError, gathering, raise_gathered
from lossfleet.conf.evaluations import Evaluation, Keep, check_evaluation
from lossfleet.conf.metrics import Metric
from lossfleet.conf.named_classes import by_class, in_class_order
from lossfleet.conf.parts import Part, named_part, own_file, part_field, unknown_setting
from lossfleet.conf.published import Published
from lossfleet.conf.rules import Rule, check_fields, rules, setting, show
from lossfleet.conf.searching import Constraint, Pruner, Search, check_search

__all__ = [
    "Budget",
    "Config",
    "Constraint",
    "Data",
    "Decision",
    "Engine",
    "Evaluation",
    "Fleet",
    "Keep",
    "Part",
    "Pruner",
    "Search",
    "Tracking",
    "choose",
]

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
# A sweep's name is a folder's name too, of which file systems take 255 bytes.
SWEEP_PATTERN = r"\w[\w.-]{0,99}"
MOST_BYTES = 200
MOST_MEMBERS = 1000


@dataclass(frozen=True)
class Config:
    """Everything that one training run depends on, and the raw search space around it.

    `defer` is the share of the epochs before classes are weighted and examples resampled. A gradient whose norm over
    all parameters is above `clip_norm` is made so long; None leaves it.
    `members` is how many networks are trained side by side, on an equal part of the draws each, as one model that
    averages their probabilities.
    `references` are estimators of scikit-learn's kind that a sweep sets its strategies beside. `published` has what a
    paper gives and claims of the same experiment, see `published.Published`, and is empty where there is none.
    """

    strategy: str
    data: Data
    loss: Part = field(metadata={"group": "loss"})
    mining: Part = part_field("mining", "none")
    sampler: Part = part_field("sampler", "shuffle")
    mixing: Part = part_field("mixing", "none")
    augmentation: Part = part_field("augmentation", "none")
    defer: float = setting(float, 0.0, at_least=0, at_most=1, example="0.8")
    model: Part = part_field("model", "mlp")
    second_stage: Part = part_field("second_stage", "none")
    members: int = setting(int, 1, at_least=1, at_most=MOST_MEMBERS, example="10")
    optimizer: Part = part_field("optimizer", "adamw")
    schedule: Part = part_field("schedule", "constant")
    batch_size: int = setting(int, 64, at_least=1)
    clip_norm: float | None = setting(float, None, above=0, example="1")
    budget: Budget = field(default_factory=Budget)
    search: Search = field(default_factory=Search)
    pruner: Pruner = field(default_factory=lambda: choose("pruner", "median"))
    name: str | None = setting(str, None, pattern=SWEEP_PATTERN, example="first_try")
    seed: int = setting(int, 0, at_least=0, at_most=LARGEST_SEED)
    space: dict[str, Any] = field(default_factory=dict)
    evaluation: Evaluation = field(default_factory=Evaluation)
    decision: Decision = field(default_factory=Decision)
    references: tuple[Part, ...] = ()
    keep: Keep = field(default_factory=Keep)
    fleet: Fleet = field(default_factory=Fleet)
    engine: Engine = field(default_factory=Engine)
    tracking: Tracking = field(default_factory=Tracking)
    published: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Rule(str, pattern=NAME_PATTERN, example="focal").check("strategy", self.strategy)
        check_fields(self)
        if len((self.name or "").encode()) > MOST_BYTES:
            raise UserError(
                what=f"name is {show(self.name)}, {len(str(self.name).encode())} bytes",
                expected=f"at most {MOST_BYTES} bytes, as the name of a folder",
                hint="write a shorter name",
            )
        # A frozen dataclass can only be completed this way.
        object.__setattr__(self, "references", tuple(map(_as_reference, self.references)))
        self._check_task()
        self._check_classes()
        self._check_mixing()
        self._check_second_stage()
        if self.published:
            Published.of(self.published)
        check_engine(self.engine)
        check_evaluation(self.evaluation, self.data)
        check_decision(self.decision, self.search.all_metrics, self.data)
        check_search(self.search, self.pruner, self.budget.replicates, self.budget.trials)

    def _check_task(self) -> None:
        settings = {
            "members": self.members,
            "defer": self.defer,
            "decision": self.decision.name,
            "references": [each.name for each in self.references],
        }
        check_task(self.data, self.search, {group: getattr(self, group) for group in PART_GROUPS}, settings)

    def _check_mixing(self) -> None:
        if self.mixing.target is not None and self.mining.target is not None:
            raise UserError(
                what=f"mixing={self.mixing.name} is set beside mining={self.mining.name}",
                expected="one of them: a mixed example has two labels, and hardness is that of one",
                hint="write mining=none or mixing=none",
            )

    def _check_second_stage(self) -> None:
        share, epochs = self.second_stage.get("share"), self.budget.epochs
        if share is not None and max(1, round(share * epochs)) >= epochs:
            raise UserError(
                what=f"second_stage.share is {share} of budget.epochs={epochs}",
                expected="an epoch at least for the first stage",
                hint="write second_stage.share=0.5" if epochs > 1 else "write budget.epochs=10",
            )

    def _check_classes(self) -> None:
        classes = self.data.classes
        if classes is None:
            return
        self.search.check_classes(self.data.class_names or ())
        weights = {name: self.loss[name] for name in self.loss.class_weights}
        of_rows = None if finds_objects(self.mining) else self.mining.get("negatives_per_positive")
        for key, value in (
            ("loss.alpha", weights.get("alpha")),
            ("mining.negatives_per_positive", of_rows),
        ):
            if value is not None and classes != 2:
                raise UserError(
                    what=f"{key} is {value} on {self.data.label} with {classes} classes",
                    expected="two classes",
                    hint=f"leave {key} out or choose a data set of two classes, for example data=breast_cancer",
                )
        class_weight = weights.get("class_weight")
        if isinstance(class_weight, tuple) and class_weight and isinstance(class_weight[0], tuple):
            ordered = in_class_order(
                "loss.class_weight", dict(class_weight), self.data.class_names or (), self.data.label
            )
            # A frozen dataclass can only be completed this way.
            object.__setattr__(self, "loss", self.loss.replace(class_weight=ordered))
        elif isinstance(class_weight, tuple) and len(class_weight) != classes:
            raise UserError(
                what=f"loss.class_weight has {len(class_weight)} numbers",
                expected=f"{classes}, one for each class of {self.data.label}"
                + (f": {', '.join(self.data.class_names)}" if self.data.class_names else ""),
                hint="write loss.class_weight=balanced, or for example "
                + by_class("loss.class_weight", dict.fromkeys(self.data.class_names or (), 1)),
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Builds the tree from plain dicts and lists.

        Args:
            values: as `to_dict` gives them; keys with a default may be left out.

        Raises:
            UserError: an unknown or missing key, or a value out of range.
        """
        return _build(cls, values, "")

    def to_dict(self) -> dict[str, Any]:
        """The tree as plain dicts and lists, ready for YAML or JSON."""
        return to_plain(self)


SECTIONS: dict[str, type] = {
    "data": Data,
    "budget": Budget,
    "search": Search,
    "pruner": Pruner,
    "evaluation": Evaluation,
    "decision": Decision,
    "keep": Keep,
    "fleet": Fleet,
    "engine": Engine,
    "tracking": Tracking,
}


# The groups whose part is a field of Config; those of the others are in a section, with settings beside it.
PART_GROUPS = tuple(each.name for each in fields(Config) if "group" in each.metadata)


# Values that are left out of plain dicts: what came later leaves the names of earlier sweeps as they were.
UNSAID = {
    "rare": "refuse",
    "members": 1,
    **{group: {"name": "none", "_target_": None} for group in ("second_stage", "augmentation")},
    "clip_norm": None,
    "checkpoint": "last",
}


# The sections that hold a part of a group, with the settings of their own.
SECTION_FIELDS = {
    group: tuple(each.name for each in fields(section) if "group" not in each.metadata)
    for group, section in SECTIONS.items()
    if any("group" in each.metadata for each in fields(section))
}


def _build(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise UserError(
            what=f"{prefix.rstrip('.') or 'the configuration'} is {show(values)}",
            expected="a mapping of settings",
            hint=f"write for example {_first_that_takes(cls, prefix, values)}",
        )
    known = {each.name: each for each in fields(cls) if each.init}
    values = dict(values)
    for name in part_fields(cls):
        beside = {key: value for key, value in values.items() if key not in known or key == name}
        values = {key: value for key, value in values.items() if key not in beside}
        if beside:
            values[name] = Part.from_dict(known[name].metadata["group"], beside)
    for name in values:
        if name not in known:
            raise unknown_setting(prefix + name, [prefix + each for each in known])
    for name, each in known.items():
        has_default = each.default is not MISSING or each.default_factory is not MISSING
        if name not in values and not has_default:
            raise UserError(
                what=f"{prefix}{name} is missing",
                expected="a value",
                hint=f"add {prefix}{name}",
            )
    # Sections may bring a value into its form first.
    own_rules = rules(cls) if cls is Config else {}
    faults: list[UserError] = []
    built: dict[str, Any] = {}
    for name, value in values.items():
        with gathering(faults):
            built[name] = build_part(prefix + name, value)
            if name in own_rules:
                own_rules[name].check(prefix + name, built[name])
    raise_gathered(faults)
    return cls(**built)


def _first_that_takes(cls: type, prefix: str, value: Any) -> str:
    """An assignment of a value to the first setting that takes it, else of its own example to the first of all."""
    value = False if value in ("none", "off", None) else value
    known = rules(cls)
    takes = [name for name, rule in known.items() if rule.kind is not str and rule.accepts(value)]
    name = next(iter([*takes, *known]))
    return f"{prefix}{name}={show(value) if known[name].accepts(value) else known[name].example}"


def part_fields(cls: type) -> tuple[str, ...]:
    """The field of a section that holds its part, whose settings stand beside the section's own in YAML."""
    if cls is Config:
        return ()
    return tuple(each.name for each in fields(cls) if "group" in each.metadata)


def build_part(path: str, value: Any) -> Any:
    """A part of the tree such as `loss` from plain dicts and lists; a single value as it is."""
    if path in SECTIONS:
        return _build(SECTIONS[path], value, f"{path}.")
    return Part.from_dict(path, value) if path in PART_GROUPS else value


def choose(group: str, name: str, /, **settings: Any) -> Any:
    """What a configuration has for a file of lossfleet's own: a Part, or a section such as Data with its part.

    Args:
        group: the config group.
        name: of the file.
        settings: with other values than those of the file.

    Raises:
        UserError: there is no such file or setting, or a value is out of range.
    """
    if group in SECTION_FIELDS:
        return build_part(group, own_file(group, name) | settings)
    return named_part(group, name, **settings)


def _as_reference(reference: Part | Mapping[str, Any]) -> Part:
    return reference if isinstance(reference, Part) else Part.from_dict("reference", reference)


def to_plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as dicts and lists."""
    if isinstance(value, Part | Metric | Decision):
        return value.to_dict()
    if is_dataclass(value):
        beside = part_fields(type(value))
        plain = {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
        parts = [plain.pop(name) for name in beside]
        # Few sweeps have metrics of the user's, outer parts, small classes or a decision of their own, or stand beside
        # what was published, and no trial has references.
        for name in ("users_metrics", "references", "decision", "outer_parts", "outer_part", "published"):
            if not plain.get(name, True):
                del plain[name]
        plain = {key: item for key, item in plain.items() if key not in UNSAID or item != UNSAID[key]}
        return {key: item for part in parts for key, item in part.items()} | plain
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value
