"""What was read of a table, for who has it and for a model that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Of many names the first ones say what they are like.
NAMES_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read of a table, or of images.

    Fields: rows of the file; said, what the file is, in words; columns, their names by what they became; specs, how a
    kept model reads a feature where that is not plain; order, the names as the file has them one after the other;
    example, the first cells of each column as the file has them; weight, the name of the column of weights and how its
    numbers are read, None where there is none; noun, what the rows are.
    """

    rows: int
    said: tuple[str, ...]
    columns: Mapping[str, Sequence[str]]
    specs: Mapping[str, Mapping[str, Any]]
    order: Sequence[str]
    example: Mapping[str, Sequence[Any]] = field(repr=False)
    weight: Mapping[str, Any] | None = None
    noun: str = "rows"

    def lines(self) -> list[str]:
        """A line for the file, and one for each kind of column that there is."""
        first = f"{self.rows:,} {self.noun}; {', '.join(self.said)}"
        named = {kind: names for kind, names in self.columns.items() if names}
        return [first, *(f"{kind} ({len(names)}): {shortened(names)}" for kind, names in named.items())]


def rows_of(count: int) -> str:
    """So many rows, or one row."""
    return f"{count} row{'' if count == 1 else 's'}"


def shortened(names: Sequence[str]) -> str:
    """The names, or the first and the last ones of many."""
    if len(names) <= NAMES_SHOWN:
        return ", ".join(names)
    return ", ".join([*names[: NAMES_SHOWN - 2], "...", names[-1]])
