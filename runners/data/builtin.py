"""The data sets that come with lossfleet: a function each, named in `conf/data/`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.runners.images.pixels import Images
from lossfleet.runners.tables.report import Reading, shortened

if TYPE_CHECKING:
    import pandas as pd

# UCI's classes 1 to 5, in its order.
PAGE_BLOCKS_CLASSES = ("text", "horizontal_line", "graphic", "vertical_line", "picture")
# The file rounds eccen, to within 0.004 of length/height where it is right.
ECCEN_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set.

    Fields: features (N, F), a table or images; labels (N,) int64 in 0..C-1; class_names (C,); notes: what was mended or
    derived, in plain words; source: where the data comes from. What decides the parts of its splits, where the data
    says it: groups (N,) int64, equal where rows must stay in one part; times (N,), earlier ones train; parts (N,) int8
    of `TRAINING`, `VALIDATION` and `TEST`, where without a validation row it is drawn from the training rows.
    weights (N,) float64 above 0, of any mean: what each row counts for in training and in metrics; None where all count
    alike.
    Where the rows come from: source_rows (N,) int64, from 1 through all files, None where no row is left out; files,
    the path and the number of rows of each, empty for data that comes from none; file_names (N,), where each row has a
    file of its own, else None. repeats: how many rows of each class
    were left out because they repeat another, empty for none. reading: what was read of the files.
    """

    name: str
    features: pd.DataFrame | Images
    labels: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    source: str
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    parts: np.ndarray | None = None
    weights: np.ndarray | None = None
    source_rows: np.ndarray | None = None
    files: tuple[tuple[str, int], ...] = ()
    repeats: tuple[int, ...] = ()
    reading: Reading | None = None
    file_names: np.ndarray | None = None

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of images, whose pixels are features in this order; None for tables."""
        return self.features.image_shape if isinstance(self.features, Images) else None

    def without(self, rows: np.ndarray) -> Dataset:
        """The data set without these rows."""
        kept = np.delete(np.arange(len(self.labels)), rows)
        by_row = {
            name: values[kept]
            for name in ("labels", "groups", "times", "parts", "weights", "file_names")
            if (values := getattr(self, name)) is not None
        }
        features = self.features
        features = (
            features.take(kept)
            if isinstance(features, Images)
            else features.iloc[kept].reset_index(drop=True)
        )
        return replace(self, features=features, source_rows=self.row_numbers[kept], **by_row)

    @property
    def row_numbers(self) -> np.ndarray:
        """The row of the source, (N,) int64 from 1, that each row is; those of a second file are counted on."""
        return np.arange(1, len(self.labels) + 1) if self.source_rows is None else self.source_rows

    @property
    def class_counts(self) -> np.ndarray:
        """Examples a class, (C,) int64."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def counts_among(self, rows: np.ndarray) -> np.ndarray:
        """How many of some rows have each class, (C,)."""
        return np.bincount(self.labels[rows], minlength=len(self.class_names))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any value, label, group, time, part, weight, or name."""
        import pandas as pd

        if isinstance(self.features, Images):
            content = hashlib.sha256(repr(self.class_names).encode())
            content.update(self.features.digest())
        else:
            content = hashlib.sha256(repr((list(self.features), self.class_names)).encode())
            content.update(pd.util.hash_pandas_object(self.features, index=False).to_numpy().tobytes())
        content.update(self.labels.astype(np.int64).tobytes())
        for name in ("groups", "times", "parts", "weights"):
            if (values := getattr(self, name)) is not None:
                content.update(name.encode() + values.tobytes())
        return content.hexdigest()[:8]

    def lines(self) -> list[str]:
        """What was read, line by line: the columns, all notes, and the classes in their order."""
        read = [] if self.reading is None else self.reading.lines()
        counts = self.class_counts
        rarest = f"the rarest is {self.class_names[int(counts.argmin())]}"
        if counts.min() == counts.max():
            rarest = "all of the same size"
        if not isinstance(self.features, Images):
            missing = self.features.select_dtypes("number").isna().sum()
            gaps = [f"{name} {count:,}" for name, count in missing[missing > 0].items()]
            if gaps:
                read.append(
                    f"missing numbers ({len(gaps)}): {shortened(gaps)}; each is the median of the training part"
                )
        classes = [f"{name} {count:,}" for name, count in zip(self.class_names, counts, strict=True)]
        return [*read, *self.notes, f"classes ({len(classes)}): {shortened(classes)}; {rarest}"]

    def describe(self) -> dict[str, Any]:
        """What a sweep records of its data: digest, class_names, class_counts, notes and source, as JSON has it."""
        return {
            "digest": self.digest,
            "class_names": list(self.class_names),
            "class_counts": self.class_counts.tolist(),
            "notes": list(self.notes),
            "source": self.source,
            **({} if self.reading is None else {"read": self.lines()}),
        }


def page_blocks() -> Dataset:
    """Blocks of page layouts, five classes, 90 % of them text; mended where `notes` says so."""
    import pandas as pd

    with (resources.files("lossfleet.runners.data.datasets") / "page_blocks.csv.gz").open("rb") as file:
        table = pd.read_csv(file, compression="gzip")
    table, notes = _mend_page_blocks(table)
    return Dataset(
        name="page_blocks",
        features=table.drop(columns="class"),
        labels=table["class"].map(PAGE_BLOCKS_CLASSES.index).to_numpy(np.int64),
        class_names=PAGE_BLOCKS_CLASSES,
        notes=notes,
        source="Page Blocks Classification (D. Malerba, UCI Machine Learning Repository, 1995; CC BY 4.0)",
    )


def _mend_page_blocks(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Correct a wrong eccen."""
    ratio = (table["length"] / table["height"]).round(3)
    wrong = (table["eccen"] - ratio).abs() > ECCEN_TOLERANCE
    notes = tuple(
        f"row {row + 1}: eccen {eccen:g} replaced by {ratio[row]:g}, its length/height as in every other row"
        for row, eccen in table.loc[wrong, "eccen"].items()
    )
    return table.assign(eccen=table["eccen"].where(~wrong, ratio)), notes


def page_blocks_binary() -> Dataset:
    """`page_blocks` with the four classes other than text joined."""
    blocks = page_blocks()
    return Dataset(
        name="page_blocks_binary",
        features=blocks.features,
        labels=(blocks.labels != PAGE_BLOCKS_CLASSES.index("text")).astype(np.int64),
        class_names=("text", "not_text"),
        notes=(*blocks.notes, "the four classes other than text joined as not_text"),
        source=blocks.source,
    )


def _from_sklearn(name: str) -> Dataset:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    return Dataset(
        name=name,
        features=bunch.data,
        labels=bunch.target.to_numpy(np.int64),
        class_names=tuple(str(class_name) for class_name in bunch.target_names),
        notes=(),
        source=f"scikit-learn, load_{name}",
    )


def breast_cancer() -> Dataset:
    """Tumours of the breast, benign and malignant."""
    tumours = _from_sklearn("breast_cancer")
    return replace(
        tumours,
        labels=1 - tumours.labels,
        class_names=tumours.class_names[::-1],
        notes=(
            "malignant, the minority, is class 1 here, so that alpha weighs it; scikit-learn has it as 0",
        ),
    )


def wine() -> Dataset:
    """Wines of three growers."""
    return _from_sklearn("wine")


def digits() -> Dataset:
    """Handwritten digits of 8 x 8 pixels."""
    found = _from_sklearn("digits")
    pixels = np.asarray(found.features, np.uint8).reshape(-1, 1, 8, 8)
    return replace(found, features=Images.of(pixels))
