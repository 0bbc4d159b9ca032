"""What is minimised: a loss and a mining, taken apart into what shapes a graph and what is data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from lossfleet.conf.parts import Part
from lossfleet.losses.poly import poly1_loss
from lossfleet.losses.stacked import StackedForm

# What the data knows of its classes; a loss that names one of them is given it.
GIVEN = ("class_weight", "class_counts", "class_prior")
SMOOTHING = "label_smoothing"
_ONE = np.ones((1, 1), np.float32)


@dataclass(frozen=True)
class Term:
    """A loss or a mining as a graph has it.

    Attributes:
        function: takes two Tensors and keywords.
        constants: the keywords that are the same for all members.
        numbers: the names of those that are each member's own.
    """

    function: Callable[..., Any]
    constants: tuple[tuple[str, Any], ...]
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Objective:
    """All of a loss and a mining that shapes a graph.

    Attributes:
        loss: of logits and labels.
        given: which of GIVEN it takes.
        times_class_weight: whether its values are still to be multiplied by the class weight of the label.
        adjusts: whether it takes logits that an `Adjustment` was made of, each member by its own.
        by_valid: whether it looks at which places of a batch have examples.
        mining: of losses; None where every example counts.
        mines_by_label: whether the mining looks at the labels too.
        weighs: whether examples have weights of their own, by which losses are multiplied before they are mined.
    """

    loss: Term
    given: tuple[str, ...]
    times_class_weight: bool
    adjusts: bool
    by_valid: bool
    mining: Term | None
    mines_by_label: bool
    weighs: bool = False

    @classmethod
    def of(cls, loss: Part, mining: Part, *, stacked: bool, weighs: bool = False) -> Objective:
        """The objective of two parts.

        Args:
            loss, mining: of a configuration.
            stacked: for a fleet: with the forms that `stacked_as` names.
            weighs: whether examples have weights of their own.
        """
        form = stacked_form(loss) if stacked else None
        constants, numbers = _constants_and_numbers(loss)
        given = [name for name in GIVEN if name in loss.inputs()]
        if form is None:
            form = StackedForm(loss.load())
        else:
            # What an adjustment takes is data, and may have the name of a constant: VS has a gamma that is not focal's.
            takes = parameter_names(form.function) - parameter_names(form.adjustment)
            constants = tuple((name, value) for name, value in constants if name in takes)
            numbers = tuple(name for name in numbers if name in takes)
            given = [name for name in given if name in takes]
        return cls(
            loss=Term(form.function, constants, (*numbers, *(name for name, _ in form.constants))),
            given=tuple(given),
            times_class_weight=form.times_class_weight,
            adjusts=form.adjustment is not None,
            by_valid="valid" in loss.inputs(),
            mining=None if mining.target is None else Term(mining.load(), *_constants_and_numbers(mining)),
            mines_by_label="labels" in mining.inputs(),
            weighs=weighs,
        )

    @property
    def count(self) -> int:
        """H, how many hyperparameters each member has."""
        return len(self.loss.numbers) + (len(self.mining.numbers) if self.mining else 0)

    @property
    def rows(self) -> int:
        """D, how many rows of numbers of the classes it is given, at least 1."""
        return max(1, len(self.given) + (3 if self.adjusts else 0))

    def numbers(self, loss: Part, mining: Part) -> np.ndarray:
        """The hyperparameters (H,) of parts that are trained as this says: those of the loss, then of the mining."""
        form = stacked_form(loss)
        constants = dict(form.constants) if form and form.function is self.loss.function else {}
        settings = loss.settings | constants
        found = [settings[name] for name in self.loss.numbers]
        if self.mining is not None:
            found += [mining[name] for name in self.mining.numbers]
        return np.array(found, np.float32)

    def packed(
        self, loss: Part, mining: Part, given: Mapping[str, np.ndarray], batch_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """What one member brings to a graph of this objective, float32.

        Args:
            loss, mining: parts that are trained as this says.
            given: what `given_to_loss` gives.
            batch_size: B.

        Returns:
            The hyperparameters (H, B), repeated along the batch, and what the loss is given (D, C), the three rows of
            an `Adjustment` last; a row of ones where there is nothing, since a graph takes no empty array.
        """
        numbers = self.numbers(loss, mining)
        rows = [given[name] for name in self.given] + (list(given["adjustment"]) if self.adjusts else [])
        rows = rows or [np.ones_like(given["class_weight"])]
        return np.repeat(numbers[:, None] if len(numbers) else _ONE, batch_size, axis=1), np.stack(rows)


@cache
def parameter_names(function: Callable[..., Any] | None) -> frozenset[str]:
    """The names of what a function takes, none where there is no function."""
    return frozenset(inspect.signature(function).parameters) if function else frozenset()


def stacked_form(loss: Part) -> StackedForm | None:
    """The form that a fleet calls in the place of a loss, where it knows all of its arguments.

    Smoothed labels are a distribution: the form of a loss that has them is Poly-1 without its term, which takes them.
    """
    form: StackedForm | None = getattr(loss.load(), "stacked_form", None)
    if form is None:
        return None
    if loss.get(SMOOTHING):
        constants = (*form.constants, ("epsilon", 0.0))
        form = replace(form, function=poly1_loss, constants=constants, times_class_weight=False)
    known = parameter_names(form.function) | parameter_names(form.adjustment)
    return form if set(loss.arguments) - {SMOOTHING} <= known else None


def _constants_and_numbers(part: Part) -> tuple[tuple[tuple[str, Any], ...], tuple[str, ...]]:
    """The arguments of a part that shape a graph, with their values, and the names of those that are data.

    Without smoothing labels are no distribution, which is another graph.
    """
    rules = part.rules()
    numbers = tuple(
        name
        for name, value in part.arguments.items()
        if rules[name].kind is float
        and not rules[name].many
        and value is not None
        and (name != SMOOTHING or value)
    )
    constants = tuple((name, value) for name, value in part.arguments.items() if name not in numbers)
    return constants, numbers
