"""The two errors that a user is told of: input that cannot be used, and work that did not succeed."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


# More names than these are not listed in a message, but those that are nearest.
MOST_LISTED = 12
FEWEST_LISTED = 5


class UserErrors(UserError):
    """Several inputs that cannot be used, a line each."""

    def __init__(self, errors: Iterable[UserError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(what=first.what, expected=first.expected, hint=first.hint)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))

    def __reduce__(self) -> tuple[object, ...]:
        return UserErrors, (self.errors,)


@contextmanager
def gathering(errors: list[UserError]) -> Iterator[None]:
    """Keeps what is raised for later, so that all faults are told at once."""
    try:
        yield
    except UserErrors as several:
        errors.extend(several.errors)
    except UserError as error:
        errors.append(error)


def raise_gathered(errors: Iterable[UserError]) -> None:
    """Raises what was gathered, each fault once."""
    once = list({str(error): error for error in errors}.values())
    if once:
        raise once[0] if len(once) == 1 else UserErrors(once)


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
    """The hint for a misspelt name: the closest of those that `one_of` lists.

    Args:
        word: what was written; of a dotted key only the last part is compared.
        names: the known ones, all in the same part.
    """
    closest = _nearest(word, names, at_most=1, cutoff=0.5)
    return f"did you mean {closest[0]}?" if closest else "choose one of them"


def one_of(names: Iterable[str], word: str = "", *, listed: str = "") -> str:
    """What is expected of a name: one of all, or of the nearest where they are many.

    Args:
        names: the known ones.
        word: what was written.
        listed: who tells all of them, such as "'lossfleet sweep --help'".
    """
    names = list(names)
    if len(names) <= MOST_LISTED:
        return f"one of {', '.join(names)}"
    nearest = _nearest(word, names, at_most=FEWEST_LISTED, cutoff=0)
    rest = f"{len(names) - len(nearest)} others"
    return f"one of {', '.join(nearest)} and {rest}" + (f", which {listed} lists" if listed else "")


def _nearest(word: str, names: Iterable[str], *, at_most: int, cutoff: float) -> list[str]:
    """The names that are like a word, the nearest first; of dotted ones the last part counts, whatever its capitals."""
    by_last_part = {name.rpartition(".")[2].lower(): name for name in sorted(names)}
    last_part = word.rpartition(".")[2].lower()
    closest = difflib.get_close_matches(last_part, by_last_part, n=at_most, cutoff=cutoff)
    return [by_last_part[each] for each in closest]
