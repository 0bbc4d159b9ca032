"""A kept model at work: prediction in NumPy, from a folder with a JSON file and the weights as safetensors.

A copy of this folder lies in every kept model, where MLflow loads it: it imports neither lossfleet nor MindSpore.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .cells import COMMA, date_part, dates_of, folded, numbers_of
from .layers import log_of_mean, network
from .texts import text_features

FORMAT = 5
# Those of the first one say less of their columns; before the third all layers are dense or ReLU, before the fourth
# each pixel of an image is a column of its own, and before the fifth there are no shortcuts.
FORMATS = (1, 2, 3, 4, FORMAT)
DESCRIPTION_FILE, WEIGHTS_FILE = "model.json", "weights.safetensors"
THRESHOLD, COSTS = "threshold", "costs"
# The kind of column that stands for all pixels of an image.
PIXELS = "pixels"
# Rows are multiplied in blocks of this size, a smaller one filled up: so a row has the same bits in any company. Larger
# ones have BLAS start threads, which wait for each other by turning in circles.
BLOCK_ROWS = 256
# Features are float32.
LARGEST_NUMBER = float(np.finfo(np.float32).max)

logger = logging.getLogger("lossfleet.model")


class ModelError(ValueError):
    """A model or rows that cannot be used: what it was, what was expected, and a hint at how to mend it."""

    def __init__(self, what: str, expected: str, hint: str) -> None:
        super().__init__(f"{what}; expected {expected}; {hint}")
        self.what, self.expected, self.hint = what, expected, hint


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


class Model:
    """Members of the same layers whose logits are averaged, and what turns rows into features and logits into classes.

    A member may be several networks, whose probabilities are averaged first.

    Attributes:
        description: what `model.json` says.
        weights: of the members, `<layer>.weight` and `<layer>.bias`: of a dense layer (members, outputs, inputs) and
            (members, outputs), of others in the shapes of MindSpore's own behind the members.
        classes: names of the C classes.
        encoder: turns rows into features.
    """

    def __init__(self, folder: Path) -> None:
        """Read a model.

        Raises:
            ModelError: a file is missing or damaged, or of another version.
        """
        self.description = _read_description(folder)
        self.weights = _read_weights(folder, self.description)
        self.classes: list[str] = self.description["classes"]
        self.encoder = Encoder(self.description["columns"], self.description["missing"])

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The mean of the members' logits, (N, C) float32, of features (N, F)."""
        logits = np.empty((len(features), len(self.classes)), np.float32)
        for start in range(0, len(features), BLOCK_ROWS):
            block = features[start : start + BLOCK_ROWS]
            rows = len(block)
            if rows < BLOCK_ROWS:
                block = np.concatenate([block, np.zeros((BLOCK_ROWS - rows, block.shape[1]), np.float32)])
            logits[start : start + rows] = self._forward(block)[:rows]
        return logits

    def _forward(self, block: np.ndarray) -> np.ndarray:
        outputs = network(self.description["layers"], self.weights, block)
        networks = self.description.get("networks", 1)
        if networks > 1:
            outputs = log_of_mean(outputs.reshape(-1, networks, *outputs.shape[1:]))
        return outputs.mean(axis=0)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """softmax(logits / temperature), (N, C) float64."""
        scaled = logits.astype(np.float64) / self.description["temperature"]
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def decide(self, logits: np.ndarray, decision: str | None = None) -> np.ndarray:
        """The class of each row, (N,) integers.

        Args:
            logits: (N, C).
            decision: argmax, or prior, which is argmax_c of x_c - kappa log prior_c; where the model has them
                threshold, of a class's probability, and costs, the class of the least expected one; of two classes
                threshold=0.3 too. None for the model's own.

        Raises:
            ModelError: there is no such decision.
        """
        decision = decision or self.description["decision"]
        if decision == "prior":
            prior = np.array(self.description.get("prior", self.description["class_counts"]), np.float64)
            logits = logits - self.description["prior_exponent"] * np.log(prior / prior.sum())
        elif decision == COSTS and COSTS in self.description:
            return (self.probabilities(logits) @ np.array(self.description[COSTS])).argmin(axis=1)
        elif decision.partition("=")[0] == THRESHOLD:
            positive, threshold = self._threshold(decision)
            return np.where(self.probabilities(logits)[:, positive] >= threshold, positive, 1 - positive)
        elif decision != "argmax":
            raise self._no_decision(decision)
        return logits.argmax(axis=1)

    def _threshold(self, decision: str) -> tuple[int, float]:
        """The class that a threshold is on, and the threshold: the model's own, or that behind the sign."""
        rarest = self.classes[int(np.argmin(self.description["class_counts"]))]
        stored = {"class": rarest} | self.description.get(THRESHOLD, {})
        _, is_given, number = decision.partition("=")
        try:
            threshold = float(number if is_given else stored["at_least"])
        except (ValueError, KeyError):
            raise self._no_decision(decision) from None
        if len(self.classes) != 2 or not 0 <= threshold <= 1:
            raise self._no_decision(decision)
        return self.classes.index(stored["class"]), threshold

    def _no_decision(self, decision: str) -> ModelError:
        known = ["argmax", "prior", *(name for name in (THRESHOLD, COSTS) if name in self.description)]
        known += ["threshold=NUMBER from 0 to 1"] if len(self.classes) == 2 else []
        return ModelError(f"the decision is {decision}", f"one of {', '.join(known)}", "choose one of them")

    def predict(
        self,
        rows: pd.DataFrame,
        *,
        decision: str | None = None,
        first_row: int = 1,
        told: Counter[tuple[str, str]] | None = None,
    ) -> pd.DataFrame:
        """The class of each row and one probability a class, `probability_<class>`; args and errors as above."""
        return self._predicted(self.encoder.features(rows, first_row=first_row, told=told), decision)

    def predict_images(self, pixels: np.ndarray, *, decision: str | None = None) -> pd.DataFrame:
        """The same of images (N, F), whose pixels are in the order of the model's shape."""
        return self._predicted(self.encoder.pixels(pixels), decision)

    def _predicted(self, features: np.ndarray, decision: str | None) -> pd.DataFrame:
        logits = self.logits(features)
        predicted = pd.Categorical.from_codes(self.decide(logits, decision), self.classes)
        table = pd.DataFrame(
            self.probabilities(logits), columns=[f"probability_{name}" for name in self.classes]
        )
        table.insert(0, "class", predicted)
        return table


class _PyFunc:
    """What MLflow calls."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(
        self, rows: pd.DataFrame | np.ndarray, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Class and probabilities of rows of a table, or of images (N, channels, height, width).

        The parameter `decision` takes another rule than the model's.
        """
        decision = (params or {}).get("decision") or None
        if isinstance(rows, np.ndarray):
            table = self.model.predict_images(rows.reshape(len(rows), -1), decision=decision)
        else:
            table = self.model.predict(rows, decision=decision)
        # As text: a category says less to who reads the answer.
        return table.assign(**{"class": table["class"].astype(str)})


def _load_pyfunc(path: str) -> _PyFunc:
    return _PyFunc(Model(Path(path)))


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        found = description["format"]
    except FileNotFoundError:
        raise ModelError(
            f"there is no {path}", "the folder of a kept model", "name the folder that has its MLmodel"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path} cannot be read ({type(error).__name__}: {error})", "a whole model", "keep it again"
        ) from error
    if found not in FORMATS:
        raise ModelError(
            f"{path} is of format {found}",
            f"one of the formats {', '.join(map(str, FORMATS))}",
            f"use the version of lossfleet that kept it ({description.get('lossfleet', 'unknown')})",
        )
    return description


def _read_weights(folder: Path, description: Mapping[str, Any]) -> dict[str, np.ndarray]:
    path = folder / WEIGHTS_FILE
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise ModelError(f"there is no {path}", "the weights of the model", "keep it again") from None
    if digest != description["weights_sha256"]:
        raise ModelError(
            f"{path} is damaged: its SHA-256 is {digest[:16]}...",
            f"{description['weights_sha256'][:16]}..., as when it was kept",
            "fetch it again, or keep it again",
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "safetensors", "keep it again") from error


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
