"""How the final evaluation is made and judged, and which of what it finds is kept as models."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.datasets import Data
from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import check_fields, setting, show

# Differences that nobody would act on, in units of the compared metric.
ROPE = 0.01
# Between the name of a nested evaluation and the number of a sweep's outer part.
OUTER = "-outer"


@dataclass(frozen=True)
class Evaluation:
    """How the final evaluation is made and judged.

    Attributes:
        name: `resampled`, every final test part is drawn from all rows, those of the search among them; `holdout`, from
            rows that are put aside before the search; `nested`, several test parts are put aside one after another,
            each before a search of its own.
        held_out: the share of rows that holdout puts aside.
        outer_parts: how many test parts nested has; `outer_part`, from 1, is the one of a sweep.
        diverged: what a final replicate counts whose training diverged: `chance`, what the same score is for all of
            its logits 0, or `drop`, nothing, which favours strategies that are not stable.
        rope: the region of practical equivalence: differences of the compared metric up to it are practically none.
    """

    name: str = setting(str, "resampled", choices=("resampled", "holdout", "nested"))
    held_out: float | None = setting(float, None, above=0, below=1, example="0.4")
    outer_parts: int | None = setting(int, None, at_least=2, example="5")
    outer_part: int | None = setting(int, None, at_least=1, example="1")
    diverged: str = setting(str, "chance", choices=("chance", "drop"))
    rope: float = setting(float, ROPE, at_least=0)

    def __post_init__(self) -> None:
        check_fields(self, "evaluation.")


RESAMPLED = Evaluation()


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


def name_of_part(sweep: str, outer_part: int | None) -> str:
    """The name of the sweep of an outer part; None leaves it as it is."""
    return sweep if outer_part is None else f"{sweep}{OUTER}{outer_part}"


def name_of_all(sweep: str) -> str:
    """What the sweeps of all outer parts are called together."""
    return sweep.rpartition(OUTER)[0]


def check_evaluation(evaluation: Evaluation, data: Data) -> None:
    """Checks what the settings of evaluation and data mean together.

    Raises:
        UserError: a share to hold out where nothing is, or one that leaves no room for the other parts; the like for
            outer parts.
    """
    _check_outer_parts(evaluation)
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


def _check_outer_parts(evaluation: Evaluation) -> None:
    count, number = evaluation.outer_parts, evaluation.outer_part
    if (evaluation.name == "nested") != (count is not None):
        raise UserError(
            what=f"evaluation.outer_parts is {show(count)} with evaluation={evaluation.name}",
            expected="the number of test parts that evaluation=nested has",
            hint="write evaluation=nested, or leave evaluation.outer_parts out",
        )
    if number is not None and number > (count or 0):
        raise UserError(
            what=f"evaluation.outer_part is {number} with evaluation={evaluation.name}",
            expected="a number of evaluation=nested"
            if count is None
            else f"at most evaluation.outer_parts={count}",
            hint="leave evaluation.outer_part out: then evaluation=nested makes a sweep for each",
        )
