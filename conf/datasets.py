"""The data set to choose: one of ours by name, or a table or images of the user's own."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import PurePath

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.rules import check_fields, setting, show

# The function that reads a table which the user brings, and how its file may end.
TABLE = "lossfleet.runners.data.tables.read_table"
# Where the functions are that read images.
IMAGES = "lossfleet.runners.data.images."
# Where those are that make or read images with objects, and the one that reads them.
SCENES = "lossfleet.runners.detection."
BOXES = "lossfleet.runners.detection.annotations.reading.read_boxes"
TEXT_ENDINGS = (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat", ".data")
PACKED = (".gz", ".bz2", ".xz", ".zip")
TABLE_ENDINGS = (*TEXT_ENDINGS, ".parquet", ".pq", ".xlsx", ".xls", ".arff")
LONGEST_STEM = 50
# Settings of data that name a file or a folder, those by which it says itself which rows belong into which part, and
# the one that says what rows count for.
PATHS = ("path", "test_path", "folder")
ASIDES = ("group", "time", "part")
WEIGHT = "weight"


# Between words.
NO_LETTER = "\0"


def with_letters(text: str) -> str:
    """The text as it is composed everywhere, with NO_LETTER for all but letters of any script, digits, _ and -."""
    return "".join(
        each if each in "_-" or unicodedata.category(each)[0] in "LMN" else NO_LETTER
        for each in unicodedata.normalize("NFC", text)
    )


@dataclass(frozen=True)
class Data:
    """A data set and how it is split; `long_tail` thins the training part to this largest/smallest ratio.

    `repeated` says what becomes of rows that repeat an earlier one, see `runners.data.repeated`, and `rare` of classes
    that are too small, see `runners.data.rare`.
    The classes of our own data sets are known before they are loaded, so that alpha on five classes fails at once.
    Of the user's, reading tells `class_names`, and `digest`, of their content; where these are given they must be
    those of the data.
    """

    source: Part = field(metadata={"group": "data"})
    validation_fraction: float = setting(float, 0.2, above=0, below=1)
    test_fraction: float = setting(float, 0.2, above=0, below=1)
    long_tail: float | None = setting(float, None, above=1, example="100")
    repeated: str = setting(str, "auto", choices=("auto", "drop", "keep", "group"))
    rare: str = setting(str, "refuse", choices=("refuse", "drop", "join"))
    digest: str | None = setting(str, None, example="null")
    class_names: tuple[str, ...] | None = setting(str, None, many=True, example="[stay,leave]")

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        self._check_table()
        self._check_images()
        self._check_scenes()
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(
                what=f"data.validation_fraction={self.validation_fraction:g} and "
                f"data.test_fraction={self.test_fraction:g} leave nothing to train on",
                expected="a sum below 1",
                hint="write for example data.validation_fraction=0.2 data.test_fraction=0.2",
            )

    def _check_table(self) -> None:
        if not self.is_table:
            return
        for name in ("path", "target"):
            if self.source.get(name) is None:
                raise UserError(
                    what=f"data={self.name} has no data.{name}",
                    expected="data.path, a file, and data.target, the column with the classes",
                    hint=f"write for example data={self.name} data.path=table.csv data.target=label",
                )
        for name in PATHS:
            if (path := self.source.get(name)) is not None:
                check_table_path(f"data.{name}", path)
        if not known_encoding(self.source.get("encoding")):
            raise UserError(
                what=f"data.encoding is {show(self.source['encoding'])}",
                expected="an encoding that Python knows",
                hint="write for example data.encoding=utf-8, windows-1252, gb18030 or shift_jis",
            )
        self._check_columns()
        self._check_parts()

    def _check_images(self) -> None:
        if not (self.is_images or self.is_boxes):
            return
        path, channels = self.source["path"], self.source.get("channels")
        if path is None and self.source.signature.parameters["path"].is_required:
            raise UserError(
                what=f"data={self.name} has no data.path",
                expected="a file or a folder on this machine",
                hint=f"write for example data={self.name} data.path=FOLDER; {self._page} says what is read",
            )
        if path is not None and "://" in path:
            raise _address("data.path", path)
        if channels == 2:
            raise UserError(
                what="data.channels is 2",
                expected="1 for grey or 3 for colour, or null",
                hint="write data.channels=1",
            )
        columns = {name: self.source.get(name) for name in ("file", "target", "part", "group")}
        for name, column in columns.items():
            others = [other for other in columns if other != name and columns[other] == column]
            if column is not None and others:
                raise UserError(
                    what=f"data.{name} and data.{others[0]} both name {show(column)}",
                    expected="a column for each",
                    hint=f"choose another data.{others[0]}, or leave it out",
                )
        self._check_parts()

    @property
    def _page(self) -> str:
        return "docs/detection.md" if self.has_scenes else "docs/images.md"

    def _check_scenes(self) -> None:
        if not self.has_scenes:
            return
        usual = {"long_tail": None, "repeated": "auto", "rare": "refuse"}
        for name, value in usual.items():
            if getattr(self, name) != value:
                raise UserError(
                    what=f"data.{name} is {show(getattr(self, name))} on data={self.name}, whose images have objects",
                    expected="data with a class a row",
                    hint=f"leave data.{name} out"
                    + ("; data.imbalance=20 makes some classes rare" if "imbalance" in self.source else ""),
                )

    def _check_columns(self) -> None:
        """Each column has one use."""
        uses = {self.source["target"]: "the target"}
        for name in (*ASIDES, WEIGHT):
            column = self.source.get(name)
            if column in uses:
                raise UserError(
                    what=f"data.{name} is {show(column)}, {uses[column]}",
                    expected="another column",
                    hint=f"choose another data.{name}, or leave it out",
                )
            if column is not None:
                uses[column] = f"which data.{name} names"
        for name in ("drop", "categorical", "text"):
            for column in uses.keys() & set(self.source.get(name, ())):
                raise UserError(
                    what=f"data.{name} contains {show(column)}, {uses[column]}",
                    expected="features",
                    hint=f"take {column} out of data.{name}",
                )

    def _check_parts(self) -> None:
        """What says which rows belong into which part says so alone."""
        given = [name for name in (*ASIDES, "test_path") if self.source.get(name) is not None]
        parts = [name for name in given if name != "group"]
        if len(parts) > 1:
            raise UserError(
                what=f"data.{parts[0]} and data.{parts[1]} both make the test part",
                expected="one of data.time, data.part and data.test_path",
                hint=f"leave data.{parts[1]} out",
            )
        if given and self.repeated == "group":
            raise UserError(
                what=f"data.repeated=group beside data.{given[0]}",
                expected="auto, drop or keep where the data says itself what belongs together",
                hint="leave data.repeated out: equal rows are then kept where they are",
            )

    @property
    def name(self) -> str:
        """Of its file in the config group."""
        return self.source.name

    @property
    def is_table(self) -> bool:
        """Whether it is a table that the user brings."""
        return self.source.target == TABLE

    @property
    def is_images(self) -> bool:
        """Whether it is images that the user brings."""
        return self.source.target is not None and self.source.target.startswith(IMAGES)

    @property
    def has_scenes(self) -> bool:
        """Whether it is images with boxes around objects, which a detector is to find."""
        return self.source.target is not None and self.source.target.startswith(SCENES)

    @property
    def is_boxes(self) -> bool:
        """Whether it is photographs with boxes that the user brings; other scenes are made, of settings alone."""
        return self.source.target == BOXES

    @property
    def reads_files(self) -> bool:
        """Whether it is in files whose bytes tell its digest."""
        return self.is_table or self.is_images or self.is_boxes

    @property
    def is_users(self) -> bool:
        """Whether only reading it tells its classes and its digest."""
        return self.reads_files or self.has_scenes or self.source.is_users

    @property
    def classes(self) -> int | None:
        """The number of classes; None for data of the user's that was not read yet."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def label(self) -> str:
        """What results are filed under: the name, for data of the user's with a digest of what is in it."""
        if not self.is_users:
            return self.name
        stem = self.name
        if self.reads_files and self.source["path"] is not None:
            path = PurePath(str(self.source["path"]))
            stem = PurePath(path.stem).stem if path.suffix.lower() in PACKED else path.stem
        # By name and only where they say something: a later version may have more of them.
        settings = {
            name: value for name, value in self.source.items if name not in PATHS and value not in (None, ())
        }
        content = json.dumps([self.digest, settings])
        word = re.sub(f"{NO_LETTER}+", "_", with_letters(stem))[:LONGEST_STEM].strip("_-") or self.name
        return f"{word}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def check_table_path(setting: str, path: str) -> None:
    """Raises UserError for what cannot be a table by its name.

    Args:
        setting: that names it.
        path: of a file, or of a folder of Parquet parts.
    """
    if "://" in path:
        raise _address(setting, path)
    name = path.lower()
    packed = next((ending for ending in PACKED if name.endswith(ending)), "")
    endings = TEXT_ENDINGS if packed else TABLE_ENDINGS
    if not name.removesuffix(packed).endswith(endings) and packed != ".zip" and not os.path.isdir(path):
        raise UserError(
            what=f"{setting} is {show(path)}",
            expected=f"a file that ends in {', '.join(TABLE_ENDINGS)}, or text packed as {', '.join(PACKED)}",
            hint="write the table as CSV or Parquet, or name the file by what it is",
        )


def _address(setting: str, path: str) -> UserError:
    return UserError(
        what=f"{setting} is {show(path)}, an address",
        expected="a file on this machine",
        hint=f"download it first, for example with curl -LO '{path}'",
    )


def known_encoding(name: str | None) -> bool:
    """Whether Python knows an encoding of text by this name; None stands for the one that is found."""
    try:
        return name is None or codecs.lookup(name)._is_text_encoding
    except LookupError:
        return False
