"""Files of images with their classes: what a folder or a table lists, before any of them is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lossfleet.conf.errors import UserError

SKIP = "skip"


@dataclass(eq=False)
class Listed:
    """Files, each with what is said of it.

    Fields: root, where their names start from; names; classes, the name of each one's; parts, of each, or None; groups,
    of each, or None; said and notes, as `Pictures` has them.
    """

    root: Path
    names: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    parts: list[int] | None = None
    groups: list[str] | None = None
    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def fault(what: str, expected: str, mend: str, *, can_be_skipped: bool = True) -> UserError:
    """The error for a file, with the setting that leaves it out."""
    skip = f", or write data.broken={SKIP} to leave out what cannot be used" if can_be_skipped else ""
    return UserError(what=what, expected=expected, hint=f"{mend}{skip}")
