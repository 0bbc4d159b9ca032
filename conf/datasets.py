"""The data set to choose: one of ours by name, or a table of the user's own."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePath

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.rules import check_fields, setting, show

# The function that reads a table which the user brings, and how its file may end.
TABLE = "lossfleet.runners.data.tables.read_table"
TABLE_ENDINGS = (".csv", ".csv.gz", ".parquet")
LONGEST_STEM = 50


@dataclass(frozen=True)
class Data:
    """A data set and how it is split; `long_tail` thins the training part to this largest/smallest ratio.

    `repeated` says what becomes of rows that repeat an earlier one, see `runners.data.repeated`.
    The classes of our own data sets are known before they are loaded, so that alpha on five classes fails at once.
    Of the user's, reading tells `class_names`, and `digest`, of their content; where these are given they must be
    those of the data.
    """

    source: Part = field(metadata={"group": "data"})
    validation_fraction: float = setting(float, 0.2, above=0, below=1)
    test_fraction: float = setting(float, 0.2, above=0, below=1)
    long_tail: float | None = setting(float, None, above=1, example="100")
    repeated: str = setting(str, "auto", choices=("auto", "drop", "keep", "group"))
    digest: str | None = setting(str, None, example="null")
    class_names: tuple[str, ...] | None = setting(str, None, many=True, example="[stay,leave]")

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        self._check_table()
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
        path, target = self.source["path"], self.source["target"]
        if not path.endswith(TABLE_ENDINGS):
            raise UserError(
                what=f"data.path is {show(path)}",
                expected=f"a file that ends in {', '.join(TABLE_ENDINGS)}",
                hint="write the table as CSV or Parquet, or name the file by what it is",
            )
        for name in ("drop", "categorical"):
            if target in self.source.get(name, ()):
                raise UserError(
                    what=f"data.{name} contains {show(target)}, the target",
                    expected="columns other than the target",
                    hint=f"take {target} out of data.{name}, or choose another data.target",
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
    def is_users(self) -> bool:
        """Whether only reading it tells its classes and its digest."""
        return self.is_table or self.source.is_users

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
        if self.is_table:
            stem = PurePath(str(self.source["path"])).name.removesuffix(".gz").rpartition(".")[0]
        settings = [value for name, value in self.source.items if name != "path"]
        content = json.dumps([self.digest, *settings])
        word = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:LONGEST_STEM].strip("_-") or self.name
        return f"{word}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
