"""Metrics to search by: a function of what members say, and whether more of it is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, own_file, part_names
from lossfleet.conf.rules import check_fields, setting

# What a function of decisions alone needs; probabilities cost more, and nothing moves them between classes.
OF_DECISIONS = frozenset({"confusion", "rarest_class"})


@dataclass(frozen=True)
class Metric:
    """What one YAML file of the group `metric` says.

    Attributes:
        part: the function and its settings.
        direction: `maximize` where more is better, else `minimize`.
    """

    part: Part = field(metadata={"group": "metric"})
    direction: Literal["maximize", "minimize"] = setting(str, "maximize", choices=("maximize", "minimize"))

    def __post_init__(self) -> None:
        check_fields(self, f"metric {self.part.name}: ")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metric:
        """The metric of a mapping with `name`, `_target_`, `direction` and settings.

        Raises:
            UserError: no direction, or a target or setting that cannot be used.
        """
        settings = dict(values)
        if "direction" not in settings:
            raise UserError(
                what=f"metric/{values.get('name')}.yaml has no direction",
                expected="direction: maximize, or direction: minimize",
                hint="add direction: maximize if more of it is better",
            )
        direction = settings.pop("direction")
        return cls(Part.from_dict("metric", settings), direction)

    def to_dict(self) -> dict[str, Any]:
        """The metric as plain values, ready for YAML or JSON."""
        return self.part.to_dict() | {"direction": self.direction}

    @property
    def name(self) -> str:
        """Of its file."""
        return self.part.name

    @property
    def sign(self) -> int:
        """1 where more is better, else -1: a metric times its sign is to be maximised."""
        return 1 if self.direction == "maximize" else -1

    @property
    def is_of_decisions(self) -> bool:
        """Whether it depends on the predicted classes alone."""
        return self.part.inputs() <= OF_DECISIONS


@lru_cache(maxsize=1)
def own_metrics() -> dict[str, Metric]:
    """The metrics that lossfleet has, by name."""
    return {name: Metric.from_dict(own_file("metric", name)) for name in part_names("metric")}


# Metrics of the user's that this process has met: what compares results knows them by their columns alone.
_users: dict[str, Metric] = {}


def remember(metrics: Iterable[Metric]) -> None:
    """Let `known_metrics` and `sign_of` know metrics of the user's."""
    _users.update({each.name: each for each in metrics})


def known_metrics() -> dict[str, Metric]:
    """Lossfleet's own metrics and those of the user's that were met, by name."""
    return _users | own_metrics()


def sign_of(name: str) -> int:
    """1 where more of what a column such as `test_brier_score` holds is better, else -1."""
    signs = {"train_loss": -1} | {each.name: each.sign for each in known_metrics().values()}
    longest = max((known for known in signs if name.endswith(known)), key=len, default=None)
    return 1 if longest is None else signs[longest]


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
