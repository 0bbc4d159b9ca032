"""How files name the parts of a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lossfleet.conf.errors import UserError

# The parts of a split.
TRAINING, VALIDATION, TEST = range(3)
SPELLINGS = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


def part_of(word: str) -> int | None:
    """The part that a word names, in any case, or None."""
    return SPELLINGS.get(word.strip().lower())


def check_parts(root: Path, parts: Mapping[Path, int | None], *, each: str) -> None:
    """Raises UserError unless folders give a training and a test part.

    Args:
        root: the folder that they are in.
        parts: by folder.
        each: what a part has in its folder, in words.
    """
    for part, name in ((TRAINING, "training"), (TEST, "test")):
        if part not in parts.values():
            there = ", ".join(folder.name for folder in parts)
            raise UserError(
                what=f"{root.name} has the parts {there} and no {name} part",
                expected=f"train and test, and perhaps val, each with {each}",
                hint=f"rename one of them (without val it is drawn from train), or name one with "
                f"data.path={root.name}/{next(iter(parts)).name}, of which all parts are then drawn",
            )
