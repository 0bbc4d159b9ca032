"""How the final evaluation is judged."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.datasets import Data
from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import check_fields, setting, show

# Differences that nobody would act on, in units of the compared metric.
ROPE = 0.01


@dataclass(frozen=True)
class Evaluation:
    """How the final evaluation is made and judged.

    Attributes:
        name: `resampled`, every final test part is drawn from all rows, those of the search among them; `holdout`, from
            rows that are put aside before the search.
        held_out: the share of rows that holdout puts aside.
        diverged: what a final replicate counts whose training diverged: `chance`, what the same score is for all of
            its logits 0, or `drop`, nothing, which favours strategies that are not stable.
        rope: the region of practical equivalence: differences of the compared metric up to it are practically none.
    """

    name: str = setting(str, "resampled", choices=("resampled", "holdout"))
    held_out: float | None = setting(float, None, above=0, below=1, example="0.4")
    diverged: str = setting(str, "chance", choices=("chance", "drop"))
    rope: float = setting(float, ROPE, at_least=0)

    def __post_init__(self) -> None:
        check_fields(self, "evaluation.")


def check_evaluation(evaluation: Evaluation, data: Data) -> None:
    """Checks what the settings of evaluation and data mean together.

    Raises:
        UserError: a share to hold out where nothing is, or one that leaves no room for the other parts.
    """
    held_out = evaluation.held_out
    if (evaluation.name == "holdout") != (held_out is not None):
        raise UserError(
            what=f"evaluation.held_out is {show(held_out)} with evaluation={evaluation.name}",
            expected="the share of rows that evaluation=holdout puts aside",
            hint="write evaluation=holdout, or leave evaluation.held_out out",
        )
    if held_out is None:
        return
    if held_out < data.test_fraction:
        raise UserError(
            what=f"evaluation.held_out={held_out:g} is less than data.test_fraction={data.test_fraction:g}",
            expected="rows enough to draw test parts from: twice as many tell the luck of the test part",
            hint=f"write evaluation.held_out={min(0.5, 2 * data.test_fraction):g}, or lower data.test_fraction",
        )
    if held_out + data.validation_fraction >= 1:
        raise UserError(
            what=f"evaluation.held_out={held_out:g} and data.validation_fraction={data.validation_fraction:g} leave "
            "nothing to train on",
            expected="a sum below 1",
            hint="write for example evaluation.held_out=0.4 data.validation_fraction=0.2",
        )
