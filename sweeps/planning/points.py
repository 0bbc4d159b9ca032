"""The points that a study tries first, from `search.enqueue` to values of its space."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import show
from lossfleet.sweeps.planning.space import Dimension, Value


def read_points(
    points: Sequence[Mapping[str, Any]], space: Sequence[Dimension], changed: Collection[str] = ()
) -> tuple[dict[str, Value], ...]:
    """The points as values of a space, each once.

    Args:
        points: values by hyperparameter. Those that the space does not have belong to other strategies or are
            fixed, and are left out.
        space: the dimensions of one study.
        changed: hyperparameters whose dimension the user has changed; a value that is outside of it now is
            left out.

    Raises:
        UserError: a value outside of its dimension, or of a dimension that the point makes inactive.
    """
    found: list[dict[str, Value]] = []
    for point in points:
        values: dict[str, Value] = {}
        for dimension in space:
            if dimension.name not in point or not _may_be_active(dimension, values, changed):
                continue
            try:
                values[dimension.name] = _read(dimension, point[dimension.name])
            except UserError:
                if dimension.name not in changed:
                    raise
        if values and values not in found:
            found.append(values)
    return tuple(found)


def _may_be_active(dimension: Dimension, values: Mapping[str, Value], changed: Collection[str]) -> bool:
    for name, wanted in dimension.when.items():
        if name in values and values[name] not in wanted:
            if name in changed:
                return False
            raise UserError(
                what=f"search.enqueue has {dimension.name} together with {name}={show(values[name])}",
                expected=f"{dimension.name} only where {name} is {' or '.join(map(str, wanted))}",
                hint=f"leave {dimension.name} out of this point",
            )
    return True


def _read(dimension: Dimension, value: Any) -> Value:
    """The value as the dimension writes it."""
    if isinstance(value, (list, tuple)):
        value = "[" + ",".join(map(str, value)) + "]"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dimension.kind == "categorical":
        for choice in dimension.choices:
            if choice == value and not isinstance(value, bool):
                return choice
    elif is_number and dimension.low <= value <= dimension.high:
        grid = dimension.grid()
        if grid is None and (dimension.kind == "float" or value == int(value)):
            return int(value) if dimension.kind == "int" else float(value)
        for number in grid or ():
            if number == value:
                return number
    raise UserError(
        what=f"search.enqueue has {dimension.name}={show(value)}",
        expected=f"a value in {dimension.text()}",
        hint="correct it, leave it out, or widen the space",
    )
