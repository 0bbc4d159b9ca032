"""All faults of a table in one message: nobody should need a run for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lossfleet.conf.errors import UserError

MOST_FAULTS = 10


class Faults:
    """Faults that are found one by one and told together.

    Args:
        where: what has them, such as a file's name.
        expected: what has none.
    """

    def __init__(self, where: str, expected: str = "a table without them") -> None:
        self.where = where
        self.expected = expected
        self.found: list[UserError] = []
        # Whether reading came to its end.
        self.is_readable = True

    def __bool__(self) -> bool:
        return bool(self.found)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep a UserError for later, and go on behind the block."""
        try:
            yield
        except UserError as error:
            self.found.append(error)

    @contextmanager
    def collected_while_reading(self) -> Iterator[None]:
        """The same, for what reading again would find again."""
        with self.collected():
            try:
                yield
            except UserError:
                self.is_readable = False
                raise

    def tell(self) -> None:
        """Raises UserError where a fault was found: the fault itself, or a list of all."""
        if not self.found:
            return
        if len(self.found) == 1:
            raise self.found[0]
        lines = [f"{number}. {fault}" for number, fault in enumerate(self.found[:MOST_FAULTS], start=1)]
        if len(self.found) > MOST_FAULTS:
            lines.append(f"and {len(self.found) - MOST_FAULTS} more")
        listed = "".join(f"\n  {line}" for line in lines)
        raise UserError(
            what=f"{self.where} has {len(self.found)} faults:{listed}\n",
            expected=self.expected,
            hint="mend them together, then run the same command",
        )
