"""The configuration of what is left of a sweep to predict with."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.rules import check_fields, setting


@dataclass(frozen=True)
class Keep:
    """Which strategies' best configurations are trained again on all rows, as models to predict with.

    Attributes:
        name: none, winner (of the comparison) or all.
        members: so many trainings of different seeds are one model, whose logits are the mean of theirs.
    """

    name: str = setting(str, "winner", choices=("none", "winner", "all"))
    members: int = setting(int, 5, at_least=1)

    def __post_init__(self) -> None:
        check_fields(self, "keep.")
