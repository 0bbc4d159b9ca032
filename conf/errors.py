"""The two errors that a user is told of: input that cannot be used, and work that did not succeed."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """Input that cannot be used: what it was, what was expected, and a hint at how to mend it."""

    def __init__(self, *, what: str, expected: str, hint: str) -> None:
        super().__init__(what, expected, hint)
        self.what = what
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}; expected {self.expected}; {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from positional arguments, ours are keyword-only.
        return _rebuild, (self.what, self.expected, self.hint)


# What a file that cannot be written is told by.
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class Failure(Exception):
    """Work that did not succeed though its input was right: what happened, and what to do now."""


def remedy(error: OSError) -> str:
    """What to do about a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make space"
    if error.errno in UNWRITABLE:
        return "give this user the right to write there, or work in another folder"
    return "mend that"


def _rebuild(what: str, expected: str, hint: str) -> UserError:
    return UserError(what=what, expected=expected, hint=hint)


def suggest(word: str, names: Iterable[str]) -> str:
    """The hint for a misspelt name: the closest known one, else the list of all.

    Args:
        word: what was written; of a dotted key only the last part is compared.
        names: the known ones, all in the same part.
    """
    names = sorted(names)
    by_last_part = {name.rpartition(".")[2]: name for name in names}
    closest = difflib.get_close_matches(word.rpartition(".")[2], by_last_part, n=1, cutoff=0.5)
    if closest:
        return f"did you mean {by_last_part[closest[0]]}?"
    return f"choose from {', '.join(names)}"
