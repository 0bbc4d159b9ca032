"""The data set to choose: one of ours by name, or a table of the user's own."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import PurePath

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import check_fields, setting, show

# The number of classes is known before the data is loaded, so that alpha on five classes fails at once.
DATASET_CLASSES = {"page_blocks": 5, "page_blocks_binary": 2, "breast_cancer": 2, "wine": 3, "digits": 10}
# The data set whose table the user brings, and how its file may end.
TABLE = "csv"
TABLE_ENDINGS = (".csv", ".csv.gz", ".parquet")
TABLE_SETTINGS = ("path", "target", "drop", "categorical", "digest", "class_names")
LONGEST_STEM = 50


@dataclass(frozen=True)
class Data:
    """A data set and how it is split; `long_tail` thins the training part to this largest/smallest ratio.

    `path`, `target`, `drop` and `categorical` belong to `csv`, a table of the user's own. Reading it gives
    `digest`, of the file's content, and `class_names`; where they are given the file must have them.
    """

    name: str = setting(str, "page_blocks", choices=(*DATASET_CLASSES, TABLE))
    path: str | None = setting(str, None, example="table.csv")
    target: str | None = setting(str, None, example="label")
    drop: tuple[str, ...] = setting(str, (), many=True, example="[id]")
    categorical: tuple[str, ...] = setting(str, (), many=True, example="[zip_code]")
    validation_fraction: float = setting(float, 0.2, above=0, below=1)
    test_fraction: float = setting(float, 0.2, above=0, below=1)
    long_tail: float | None = setting(float, None, above=1, example="100")
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
        if self.name != TABLE:
            for setting_name in TABLE_SETTINGS:
                value = getattr(self, setting_name)
                if value not in (None, ()):
                    raise UserError(
                        what=f"data.{setting_name} is {show(value)} on data={self.name}",
                        expected=f"a data set of your own where data.{setting_name} is set",
                        hint=f"write data={TABLE}, or leave data.{setting_name} out",
                    )
            return
        for setting_name in ("path", "target"):
            if getattr(self, setting_name) is None:
                raise UserError(
                    what=f"data={TABLE} has no data.{setting_name}",
                    expected="data.path, a file, and data.target, the column with the classes",
                    hint=f"write for example data={TABLE} data.path=table.csv data.target=label",
                )
        if not str(self.path).endswith(TABLE_ENDINGS):
            raise UserError(
                what=f"data.path is {show(self.path)}",
                expected=f"a file that ends in {', '.join(TABLE_ENDINGS)}",
                hint="write the table as CSV or Parquet, or name the file by what it is",
            )
        for setting_name in ("drop", "categorical"):
            if self.target in getattr(self, setting_name):
                raise UserError(
                    what=f"data.{setting_name} contains {show(self.target)}, the target",
                    expected="columns other than the target",
                    hint=f"take {self.target} out of data.{setting_name}, or choose another data.target",
                )

    @property
    def classes(self) -> int | None:
        """The number of classes; None for a table that was not read yet."""
        if self.name != TABLE:
            return DATASET_CLASSES[self.name]
        return None if self.class_names is None else len(self.class_names)

    @property
    def label(self) -> str:
        """What results are filed under: the name, or a table's file name with a digest of what is in it."""
        if self.name != TABLE:
            return self.name
        stem = PurePath(str(self.path)).name.removesuffix(".gz").rpartition(".")[0]
        content = json.dumps([self.digest, self.target, self.drop, self.categorical])
        word = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:LONGEST_STEM].strip("_-") or TABLE
        return f"{word}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
