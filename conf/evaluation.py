"""How the final evaluation is judged."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.rules import check_fields, setting

# Differences that nobody would act on, in units of the compared metric.
ROPE = 0.01


@dataclass(frozen=True)
class Evaluation:
    """How the final evaluation is judged.

    Attributes:
        diverged: what a final replicate counts whose training diverged: `chance`, what the same score is for all of
            its logits 0, or `drop`, nothing, which favours strategies that are not stable.
        rope: the region of practical equivalence: differences of the compared metric up to it are practically none.
    """

    diverged: str = setting(str, "chance", choices=("chance", "drop"))
    rope: float = setting(float, ROPE, at_least=0)

    def __post_init__(self) -> None:
        check_fields(self, "evaluation.")
