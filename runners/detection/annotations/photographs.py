"""What files of annotations say of photographs, before any of these is opened, and what of it cannot be used."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lossfleet.runners.images.folders import all_images
from lossfleet.runners.images.listed import SKIP, fault
from lossfleet.runners.portable.images import ENDINGS
from lossfleet.runners.tables.faults import Faults
from lossfleet.runners.tables.report import shortened

Box = tuple[float, float, float, float]


@dataclass(eq=False)
class Photograph:
    """A photograph with what is said of it.

    Fields: path; name, as messages have it; part, or None; boxes, as `Scenes` has them; classes, each one's name;
    places, where each box is written; size, its height and width if annotations say them.
    """

    path: Path
    name: str
    part: int | None = None
    boxes: list[Box] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def add(self, box: Box, name: str, place: str) -> None:
        """One more box: of a class, written somewhere."""
        self.boxes.append(box)
        self.classes.append(name)
        self.places.append(place)


class Unusable:
    """What cannot be used: all of it is told at once, or it is left out and counted.

    Args:
        faults: takes it.
        broken: `skip` leaves it out.
    """

    def __init__(self, faults: Faults, broken: str) -> None:
        self.faults = faults
        # Its reasons, by a line's first words.
        self.left_out: dict[str, list[str]] = defaultdict(list)
        self._is_skipped = broken == SKIP

    def add(self, kind: str, what: str, expected: str, mend: str) -> None:
        """Something of a kind: `boxes`, `photographs` or `files`."""
        if self._is_skipped:
            self.left_out[f"{kind} left out"].append(what)
            return
        with self.faults.collected():
            raise fault(what, expected, mend)


def lines_of(reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each kind of what was left out."""
    return [f"{kind} ({len(own):,}): {shortened(own)}" for kind, own in reasons.items() if own]


class Photographs:
    """The photographs that are annotated so far.

    Args:
        folder: where the names of files start from.
        unusable: takes names of no file.
        prefix: of the names that messages have.
        part: of all that are added, or None.
    """

    def __init__(
        self, folder: Path, unusable: Unusable, *, prefix: str = "", part: int | None = None
    ) -> None:
        self.unusable = unusable
        self.said: list[str] = []
        self._folder = folder
        self._prefix = prefix
        self._part = part
        self._found: dict[str, Photograph | None] = {}
        self._own: dict[Path, Photograph] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in all_images(folder):
            self._by_name[path.name].append(path)

    def named(self, name: str, place: str) -> Photograph | None:
        """The photograph of a file; None where there is no such file, which is told once.

        Args:
            name: the path from the folder, perhaps without its ending, or the name alone of a file anywhere in it.
            place: where that is written.
        """
        if name not in self._found:
            self._found[name] = self._find(name, place)
        return self._found[name]

    def all(self) -> list[Photograph]:
        """Those that are annotated, by name."""
        return sorted(self._own.values(), key=lambda photograph: photograph.name)

    def others(self) -> list[str]:
        """The images in the folder that no annotation names."""
        return sorted(
            self._told(path) for paths in self._by_name.values() for path in paths if path not in self._own
        )

    def _find(self, name: str, place: str) -> Photograph | None:
        names = (name, *(name + ending for ending in ENDINGS))
        # Path.is_file fails at names that no file can have.
        from_here = [self._folder / each for each in names if os.path.isfile(self._folder / each)]
        anywhere = next((found for each in names if (found := self._by_name.get(Path(each).name))), [])
        found = from_here[:1] or anywhere
        if len(found) == 1:
            return self._own.setdefault(found[0], Photograph(found[0], self._told(found[0]), self._part))
        several = ", ".join(map(self._told, found))
        self.unusable.add(
            "photographs",
            f"{place} names {name}, "
            + (
                f"and there are {several}"
                if found
                else f"and there is no such file in {self._folder.name or self._folder}"
            ),
            "the name of one image, from data.folder or else from the folder of the annotations",
            "correct the name, or write data.folder=...",
        )
        return None

    def _told(self, path: Path) -> str:
        return self._prefix + path.relative_to(self._folder).as_posix()
