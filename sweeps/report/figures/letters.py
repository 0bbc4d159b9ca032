"""Letters that matplotlib's own font lacks: another font of this machine draws them, or numbers stand for the words."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, lru_cache
from typing import Any

OWN_FONT = "DejaVu Sans"
# Fonts with a box for every letter.
LAST_RESORT = "Last Resort"
# Weights, as matplotlib knows them.
PLAIN = (400, 500, "normal", "regular", "book", "medium")


def lettered(drawing: Any, numbers: dict[str, str]) -> tuple[Any, list[str]]:
    """What can be drawn of it, and the fonts to draw it with.

    Args:
        drawing: a text, or what texts are in: data classes, mappings, lists.
        numbers: by each word that no font has so far; words of this drawing are added.
    """
    texts: list[str] = []

    def heard(text: str) -> str:
        texts.append(text)
        return text

    changed(drawing, heard)
    foreign = frozenset("".join("".join(texts).split())) - letters_of(OWN_FONT)
    if not foreign:
        return drawing, [OWN_FONT]
    fonts = fonts_with(foreign)
    lacking = foreign.difference(*map(letters_of, fonts))
    if lacking:
        word = re.compile(rf"[\w{re.escape(''.join(lacking))}]+")

        def numbered(found: re.Match[str]) -> str:
            if lacking.isdisjoint(found[0]):
                return found[0]
            return numbers.setdefault(found[0], f"#{len(numbers) + 1}")

        drawing = changed(drawing, lambda text: word.sub(numbered, text))
    return drawing, [OWN_FONT, *fonts]


def tell_numbers(numbers: Mapping[str, str]) -> None:
    """Say which words the numbers stand for, if there are any."""
    if numbers:
        import matplotlib

        words = ", ".join(f"{number} is {word}" for word, number in numbers.items())
        print(
            f"no font here has all letters, so pictures have numbers: {words}; a font with them, such as Noto Sans, "
            f"is used as soon as it is installed and {matplotlib.get_cachedir()} removed",
            file=sys.stderr,
        )


def changed(value: Any, change: Callable[[str], str]) -> Any:
    """The value with each text that is in it changed."""
    if isinstance(value, str):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{each.name: changed(getattr(value, each.name), change) for each in fields(value)}
        )
    if isinstance(value, Mapping):
        return {key: changed(each, change) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(changed(each, change) for each in value)
    return value


@lru_cache
def fonts_with(letters: frozenset[str]) -> tuple[str, ...]:
    """Families, as few as will do, that have as many of the letters as any fonts of this machine."""
    from matplotlib import font_manager

    paths = {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight in PLAIN and not font.name.startswith(LAST_RESORT)
    }
    # Without serifs, as the rest.
    ordered = sorted(paths, key=lambda name: ("Serif" in name or "Mono" in name, name))
    chosen: list[str] = []
    while letters and ordered:
        best = max(ordered, key=lambda name: len(letters & letters_in(paths[name])))
        if not letters & letters_in(paths[best]):
            break
        chosen.append(best)
        letters -= letters_in(paths[best])
    return tuple(chosen)


def letters_of(family: str) -> frozenset[str]:
    """The letters that a family has."""
    from matplotlib import font_manager

    return letters_in(font_manager.findfont(family, fallback_to_default=False))


@cache
def letters_in(path: str) -> frozenset[str]:
    """The letters that the file of a font has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(path).get_charmap()))
