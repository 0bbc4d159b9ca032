"""Metrics to search by: a function of what members say, and whether more of it is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

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
    direction: str = setting(str, "maximize", choices=("maximize", "minimize"))

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


def sign_of(name: str, users: Iterable[Metric] = ()) -> int:
    """1 where more of what a column such as `test_brier_score` holds is better, else -1."""
    signs = {"train_loss": -1} | {each.name: each.sign for each in [*own_metrics().values(), *users]}
    longest = max((known for known in signs if name.endswith(known)), key=len, default=None)
    return 1 if longest is None else signs[longest]
