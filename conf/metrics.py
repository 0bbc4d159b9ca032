"""Metrics to search by: a function of what members say, and whether more of it is better."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from lossfleet.conf.elsewhere import FILES
from lossfleet.conf.errors import UserError, one_of, suggest
from lossfleet.conf.parts import HELP, Part, own_file, part_names
from lossfleet.conf.rules import check_fields, setting, show

# What a function of decisions alone needs; probabilities cost more, and nothing moves them between classes.
OF_DECISIONS = frozenset({"confusion", "rarest_class"})
# What a function of objects that are found needs: precision (T, R, C) by threshold of IoU, recall and class.
OF_OBJECTS = "precision_curves"
# What has the weights of rows in it, or is them.
WEIGHED = frozenset({"confusion", "ranking", "sample_weight"})
# What is measured and has no file, and less of it is better.
OTHER_LOSSES = ("train_loss", "decided_cost", "argmax_cost")
# A metric of such a name would have the column of what `decision=costs` measures.
RESERVED = ("cost", "decided_cost", "argmax_cost")


@dataclass(frozen=True)
class Metric:
    """What one YAML file of the group `metric` says.

    Attributes:
        part: the function and its settings.
        direction: `maximize` where more is better, else `minimize`.
        by_class: whether each class has one of its own, such as `recall[text]`; the function then returns (K, C).
        class_name: the class it is of, where it is of one.
    """

    part: Part = field(metadata={"group": "metric"})
    direction: Literal["maximize", "minimize"] = setting(str, "maximize", choices=("maximize", "minimize"))
    by_class: bool = setting(bool, False)
    class_name: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, f"metric {self.part.name}: ")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metric:
        """The metric of a mapping with `name`, `_target_`, `direction`, perhaps `by_class`, and settings.

        Raises:
            UserError: no direction, a name that is taken, or a target or setting that cannot be used.
        """
        settings = dict(values)
        if "direction" not in settings:
            raise UserError(
                what=f"metric/{values.get('name')}.yaml has no direction",
                expected="direction: maximize, or direction: minimize",
                hint="add direction: maximize if more of it is better",
            )
        if settings.get("name") in RESERVED:
            raise UserError(
                what=f"a metric is named {settings['name']}, as what decision=costs measures is",
                expected="another name",
                hint=f"rename metric/{settings['name']}.yaml, for example to my_{settings['name']}.yaml",
            )
        direction = settings.pop("direction")
        by_class = settings.pop("by_class", False)
        return cls(Part.from_dict("metric", settings), direction, by_class)

    def to_dict(self) -> dict[str, Any]:
        """The metric as plain values, ready for YAML or JSON."""
        by_class = {"by_class": True} if self.by_class else {}
        return self.part.to_dict() | {"direction": self.direction} | by_class

    @property
    def name(self) -> str:
        """Of its file, with the class in brackets where it is of one."""
        return self.part.name if self.class_name is None else of_class(self.part.name, self.class_name)

    @property
    def sign(self) -> int:
        """1 where more is better, else -1: a metric times its sign is to be maximised."""
        return 1 if self.direction == "maximize" else -1

    @property
    def is_of_decisions(self) -> bool:
        """Whether it depends on the predicted classes alone."""
        return self.part.inputs() <= OF_DECISIONS

    @property
    def is_of_objects(self) -> bool:
        """Whether it is of objects that a detector finds, and no row has it."""
        return OF_OBJECTS in self.part.inputs()

    @property
    def weighs(self) -> bool:
        """Whether it can count rows by their weights."""
        return bool(self.part.inputs() & WEIGHED)


def of_class(metric: str, class_name: str) -> str:
    """The name of a class's own metric, such as `recall[text]`."""
    return f"{metric}[{class_name}]"


def split_class(name: str) -> tuple[str, str | None]:
    """A metric's name without the class, and the class: `recall[text]` is `recall` and `text`."""
    metric, bracket, class_name = name.partition("[")
    return (metric, class_name.removesuffix("]")) if bracket else (name, None)


def split_names(text: str) -> list[str]:
    """Names of metrics between commas; a comma within brackets belongs to the name of a class."""
    return re.split(r",(?![^\[]*\])", text)


def find_metric(name: str, known: Mapping[str, Metric], *, key: str = "search.metric") -> Metric:
    """A metric by its name, with the class where the name has one.

    Args:
        name: such as `mcc` or `recall[text]`.
        known: by the names of their files.
        key: the setting that names it, for the error.

    Raises:
        UserError: there is none, or it is of a class where none is named, or the other way round.
    """
    base, class_name = split_class(name)
    if base not in known:
        meant = FILES["metric"].get(base.lower())
        raise UserError(
            what=f"{key} names the metric {show(name)}",
            expected=one_of(known, base, listed=HELP),
            hint=f"did you mean {meant}?" if meant in known else suggest(base, known),
        )
    if known[base].by_class and class_name is None:
        raise UserError(
            what=f"{key} names the metric {show(base)}, which each class has of its own",
            expected=f"the class in brackets, {base}[CLASS]",
            hint=f"write for example {base}[yes] for the class yes",
        )
    if class_name is not None and not known[base].by_class:
        raise UserError(
            what=f"{key} names the metric {show(name)}, and {base} is of all classes together",
            expected=f"{base} without brackets",
            hint=f"write {base}",
        )
    return known[base] if class_name is None else _of_one_class(known[base], class_name)


@lru_cache(maxsize=1024)
def _of_one_class(metric: Metric, class_name: str) -> Metric:
    return replace(metric, class_name=class_name)


@lru_cache(maxsize=1)
def own_metrics() -> dict[str, Metric]:
    """The metrics that lossfleet has, by name."""
    return {name: Metric.from_dict(own_file("metric", name)) for name in part_names("metric")}


def with_users(users: Iterable[Metric]) -> dict[str, Metric]:
    """Lossfleet's own metrics and these of the user's, by name."""
    return own_metrics() | {each.name: each for each in users}


# Metrics of the user's that this process has met: what compares results knows them by their columns alone.
_users: dict[str, Metric] = {}


def remember(metrics: Iterable[Metric]) -> None:
    """Let `known_metrics` and `sign_of` know metrics of the user's."""
    _users.update({each.name: each for each in metrics})


def known_metrics() -> dict[str, Metric]:
    """Lossfleet's own metrics and those of the user's that were met, by name."""
    return _users | own_metrics()


def sign_of(name: str) -> int:
    """1 where more of what a column such as `test_brier_score` or `test_recall[text]` holds is better, else -1.

    Of what is no known metric more is taken as better, see `is_known`.
    """
    signs = dict.fromkeys(OTHER_LOSSES, -1) | {each.name: each.sign for each in known_metrics().values()}
    base, _ = split_class(name)
    longest = max((known for known in signs if base.endswith(known)), key=len, default=None)
    return 1 if longest is None else signs[longest]


def is_known(metric: str) -> bool:
    """Whether this process has met a metric, with its class or without."""
    return split_class(metric)[0] in known_metrics()


def metrics_in(folders: Iterable[Path]) -> list[Metric]:
    """The metrics whose files are in folders of config groups.

    Raises:
        UserError: a file that is no metric.
    """
    import yaml

    return [
        Metric.from_dict({"name": file.stem} | (yaml.safe_load(file.read_text(encoding="utf-8")) or {}))
        for folder in folders
        for file in sorted((folder / "metric").glob("*.yaml"))
    ]
