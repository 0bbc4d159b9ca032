"""How files name the parts of a split."""

from __future__ import annotations

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
