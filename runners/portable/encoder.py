"""Rows and images as the numbers that a kept model takes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .cells import COMMA, date_part, dates_of, folded, numbers_of
from .files import ModelError
from .texts import text_features

# The kind of column that stands for all pixels of an image.
PIXELS = "pixels"
# Features are float32.
LARGEST_NUMBER = float(np.finfo(np.float32).max)

logger = logging.getLogger("lossfleet.model")


class Encoder:
    """Turns rows into the numbers that the members take, as training did.

    Args:
        columns: as `lossfleet.runners.prediction.columns.describe_columns` has them; `of` names the one that a
            feature is made of, `form`, `part` and `first` say how of dates, `decimal` and `missing` how numbers are
            written, `rest` is the word for others, and `fold` joins words that differ in case and spaces alone.
        missing: words that stand for a missing cell.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]], missing: Sequence[str]) -> None:
        self.columns = columns
        self.missing = missing

    def features(
        self, rows: pd.DataFrame, *, first_row: int = 1, told: Counter[tuple[str, str]] | None = None
    ) -> np.ndarray:
        """The features (N, F) float32: numbers, then where these are missing, then columns of words, then texts.

        Args:
            rows: N rows with the model's columns, in any order; others are not looked at.
            first_row: the number of the first one, for messages.
            told: counts cells by column and by what was done with them; None to log it.

        Raises:
            ModelError: a column is missing, or a cell is no number where there must be one.
        """
        names = raw_columns(self.columns)
        missing = [name for name in names if name not in rows]
        if missing:
            raise ModelError(
                f"the rows have no column {', '.join(map(repr, missing))}",
                f"the columns {', '.join(names)}",
                "add it, or name it as in the data that the model was trained on",
            )
        if self.image_shape:
            return self.pixels(
                np.column_stack([self._numbers(rows[name], self.columns[0], first_row) for name in names])
            )
        counts: Counter[tuple[str, str]] = Counter()
        numbers, gaps, words, texts = [], [], [], []
        dates: dict[str, pd.DatetimeIndex] = {}
        for column in self.columns:
            cells = rows[column.get("of", column["name"])]
            if column["kind"] == "words":
                words.append(self._one_hot(column, cells, counts))
                continue
            if column["kind"] == "text":
                texts.append(text_features([_text(cell) for cell in cells.astype(object).fillna("")], column))
                continue
            if "of" in column:
                if column["of"] not in dates:
                    dates[column["of"]] = self._dates(cells, column["form"], first_row)
                values = date_part(dates[column["of"]], column["part"], column["first"])
            else:
                values = self._numbers(cells, column, first_row)
            absent = np.isnan(values)
            if column["has_gaps"]:
                gaps.append(absent.astype(np.float32)[:, None])
            else:
                counts[column["name"], "missing, which training never saw; its median was taken"] += int(
                    absent.sum()
                )
            values = np.where(absent, column["median"], values)
            numbers.append(((values - column["mean"]) * column["factor"]).astype(np.float32)[:, None])
        for (name, what), count in (+counts).items():
            if told is None:
                logger.warning("column %r: %d cells %s", name, count, what)
            else:
                told[name, what] += count
        return np.concatenate([*numbers, *gaps, *words, *texts], axis=1)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of the images that it encodes, None where it encodes tables."""
        return tuple(self.columns[0]["shape"]) if self.columns[0]["kind"] == PIXELS else None

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """The features (N, F) float32 of images (N, F), (pixel - mean) factor by channel.

        Raises:
            ModelError: a pixel is missing.
        """
        column = self.columns[0]
        pixels = images.shape[1] // len(column["mean"])
        mean, factor = (np.repeat(np.array(column[name], np.float32), pixels) for name in ("mean", "factor"))
        features = (images.astype(np.float32) - mean) * factor
        if np.isnan(features).any():
            raise ModelError("a pixel is missing", "a number in every one", "fill it in")
        return features

    def _numbers(self, cells: pd.Series, column: Mapping[str, Any], first_row: int) -> np.ndarray:
        """Cells as float64, NaN where they are missing."""
        if pd.api.types.is_numeric_dtype(cells):
            values = cells.to_numpy(np.float64, na_value=np.nan)
        else:
            decimal = column.get("decimal")
            coded = pd.Categorical(cells)
            words = [_text(word) for word in coded.categories]
            numbers = np.full(len(words), np.nan) if decimal == COMMA else numbers_of(words)
            if decimal is not None:
                numbers = np.where(np.isnan(numbers), numbers_of(words, decimal), numbers)
            known = {*self.missing, *column.get("missing", ())}
            _check_known(
                coded, np.isnan(numbers) & ~np.isin(words, list(known)), cells, first_row, "a number"
            )
            values = np.append(numbers, np.nan)[coded.codes]
        excess = np.abs(values) > LARGEST_NUMBER
        if excess.any():
            row = int(excess.argmax())
            raise ModelError(
                f"column {cells.name!r} has {values[row]:g} in row {first_row + row}",
                f"finite numbers, at most {LARGEST_NUMBER:.2g}",
                "correct it, or leave the cell empty",
            )
        return values

    def _dates(self, cells: pd.Series, form: str, first_row: int) -> pd.DatetimeIndex:
        """Cells as dates, NaT where they are missing."""
        coded = pd.Categorical(cells)
        words = [_text(word) for word in coded.categories]
        dates = dates_of(words, form)
        is_wrong = np.asarray(dates.isna()) & ~np.isin(words, list(self.missing))
        _check_known(coded, is_wrong, cells, first_row, f"a date, written as {form}")
        return dates.append(pd.DatetimeIndex([pd.NaT], tz="UTC"))[coded.codes]

    def _one_hot(
        self, column: Mapping[str, Any], cells: pd.Series, counts: Counter[tuple[str, str]]
    ) -> np.ndarray:
        """A column for missing ones if training saw some, then one a word; nothing for what it never saw."""
        width = len(column["words"]) + column["has_gaps"]
        place_of = {word: place for place, word in enumerate(column["words"], column["has_gaps"])}
        gap = 0 if column["has_gaps"] else width + 1
        unknown = place_of.get(column.get("rest"), width)
        place_of |= {spelling: gap for spelling in self.missing if spelling not in place_of}
        alike = {folded(word): place for word, place in place_of.items()} if column.get("fold") else {}

        def find(word: str) -> int:
            return place_of.get(word, alike.get(folded(word), unknown))

        coded = pd.Categorical(cells)
        # The code of a missing cell is -1, the last place.
        places = np.array([*(find(_text(word)) for word in coded.categories), gap])
        of_row = places[coded.codes]
        counts[column["name"], "of a category that training never saw; it was left out"] += int(
            (of_row == width).sum()
        )
        counts[column["name"], "missing, which training never saw; it was left out"] += int(
            (of_row == width + 1).sum()
        )
        return (of_row[:, None] == np.arange(width)).astype(np.float32)


def raw_columns(columns: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The columns that rows must have: several features may be made of one, and images have one for each pixel."""
    if columns[0]["kind"] == PIXELS:
        places = np.ndindex(tuple(columns[0]["shape"]))
        return {f"{columns[0]['name']}_{'_'.join(map(str, place))}": columns[0] for place in places}
    return {column.get("of", column["name"]): column for column in columns}


def _check_known(
    coded: pd.Categorical, is_wrong: np.ndarray, cells: pd.Series, first_row: int, expected: str
) -> None:
    """Raises ModelError where a cell has one of these words."""
    rows = np.append(is_wrong, False)[coded.codes]
    if rows.any():
        row = int(rows.argmax())
        raise ModelError(
            f"column {cells.name!r} has {cells.iloc[row]!r} in row {first_row + row}",
            f"{expected} in every cell; an empty one is missing",
            "correct it",
        )


def _text(word: Any) -> str:
    """A word as tables have it: truth values in small letters, whole numbers without a fraction, no spaces around."""
    if isinstance(word, (bool, np.bool_)):
        return str(word).lower()
    if isinstance(word, (float, np.floating)) and float(word).is_integer():
        return str(int(word))
    return str(word).strip()
