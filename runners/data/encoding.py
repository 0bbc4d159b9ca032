"""Columns as the numbers that a model takes, by what the training part shows and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.runners.data.categories import Categories
from lossfleet.runners.images.pixels import Features, Images, standardised
from lossfleet.runners.portable.texts import text_features

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.data.builtin import Dataset

# Directions of a column of text, and of how many of its words.
TEXT_FEATURES = 20
MOST_WORDS = 2000


def encode(features: pd.DataFrame | Images, parts: Sequence[np.ndarray]) -> Sequence[Features]:
    """The encoded rows of each part, fitted on the first one.

    Images: see `images.pixels.standardised`. Numbers: missing ones replaced by the median, then standardised. A column
    of numbers with missing ones has another column that is 1 where they were. Categories: a column each, 1 for those of
    the row; a missing one is a category of its own. Text: see `fit_text`. What training never shows is 0 everywhere, as
    one that nobody has heard of: a category, the first gap of a column, a number in a column that has one value, or
    none, in training.

    Args:
        features: (N, columns), numeric, categorical or text; or images.
        parts: rows of the training part, then of others.

    Returns:
        (n, F) float32 a part. F depends on the table alone, so that the parts of all splits stack.
    """
    if isinstance(features, Images):
        return standardised([features.take(rows) for rows in parts])
    numbers, words, texts = _by_kind(features)
    # Codes instead of words: scikit-learn compares them in compiled code.
    coded = features.assign(**{name: features[name].cat.codes for name in words})
    transformer = _transformer(features, numbers, words)
    encoded = [transformer.fit_transform(coded.iloc[parts[0]])]
    encoded += [transformer.transform(coded.iloc[rows]) for rows in parts[1:]]
    # Only the width of the one-hot part comes from the whole table. A column that does not vary in training has no
    # influence on what is learnt; left as it is elsewhere it would feed untrained weights.
    is_constant = features[numbers].iloc[parts[0]].nunique().to_numpy() < 2
    unseen = np.flatnonzero(np.append(is_constant, ~encoded[0][:, len(numbers) :].any(axis=0)))
    for part in encoded:
        part[:, unseen] = 0
    for name in texts:
        cells = features[name].to_numpy(object)
        spec = fit_text(cells[parts[0]])
        encoded = [
            np.concatenate([part, text_features(cells[rows], spec)], axis=1)
            for part, rows in zip(encoded, parts, strict=True)
        ]
    return encoded


def encoded_columns(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Which of the F features that `encode` gives are made of each column of the user's, in the order of the file.

    Images have no columns: a pixel alone says nothing.
    """
    features = dataset.features
    if isinstance(features, Images):
        return {}
    numbers, words, texts = _by_kind(features)
    made = [
        *numbers,
        *_with_gaps(features, numbers),
        *(name for name in words for _ in _codes(features[name])),
        *(name for name in texts for _ in range(TEXT_FEATURES)),
    ]
    specs: Mapping[str, Mapping[str, Any]] = {} if dataset.reading is None else dataset.reading.specs
    # A date gives several features, each with a name of its own.
    source = {name: str(specs.get(name, {}).get("of", name)) for name in features}
    # The data set has all numbers before all categories.
    order = features if dataset.reading is None else dataset.reading.order
    made_of = set(source.values())
    found: dict[str, list[int]] = {name: [] for name in order if name in made_of}
    for place, name in enumerate(made):
        found[source[name]].append(place)
    return {name: tuple(places) for name, places in found.items()}


def categories_of(features: pd.DataFrame | Images) -> Categories | None:
    """Which of the F features that `encode` gives are no quantities; None where all are."""
    if isinstance(features, Images):
        return None
    numbers, words, texts = _by_kind(features)
    gaps = set(_with_gaps(features, numbers))
    return Categories.of(
        [name in gaps for name in numbers],
        [len(_codes(features[name])) for name in words],
        TEXT_FEATURES * len(texts),
    )


def fit_text(texts: np.ndarray) -> dict[str, Any]:
    """What `portable.texts.text_features` must know of texts (N,): TF-IDF of the 2,000 most frequent words, in 20
    directions of a truncated SVD, standardised; 0 in directions that these texts do not have.

    Reference: Deerwester et al. 1990, Indexing by latent semantic analysis; scikit-learn's TruncatedSVD.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_features=MOST_WORDS)
    empty = [0.0] * TEXT_FEATURES
    try:
        weighed = vectorizer.fit_transform(texts)
    except ValueError:
        # No text has a word.
        return {"words": [], "idf": [], "components": [], "mean": empty, "factor": empty}
    words = vectorizer.get_feature_names_out().tolist()
    directions = min(TEXT_FEATURES, len(words))
    svd = TruncatedSVD(directions, random_state=0).fit(weighed)
    components = np.zeros((len(words), TEXT_FEATURES))
    components[:, :directions] = svd.components_.T
    projected = weighed @ components
    deviation = projected.std(axis=0)
    varies = deviation > np.finfo(np.float32).eps
    return {
        "words": words,
        "idf": vectorizer.idf_.tolist(),
        "components": components.tolist(),
        "mean": projected.mean(axis=0).tolist(),
        "factor": np.divide(1, deviation, where=varies, out=np.zeros(TEXT_FEATURES)).tolist(),
    }


def _transformer(features: pd.DataFrame, numbers: list[str], words: list[str]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    gaps = _with_gaps(features, numbers)
    codes = [_codes(features[name]) for name in words]
    # Where nothing is missing the median would only cost memory. A column that is missing all through the
    # training part still needs its place.
    median = SimpleImputer(strategy="median", keep_empty_features=True) if gaps else "passthrough"
    to_float32 = FunctionTransformer(np.ndarray.astype, kw_args={"dtype": np.float32})
    scaled = make_pipeline(median, StandardScaler(), to_float32)
    one_hot = OneHotEncoder(categories=codes, handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    return ColumnTransformer(
        [
            ("numbers", scaled, numbers),
            ("gaps", MissingIndicator(features="all", sparse=False), gaps),
            ("words", one_hot, words),
        ],
        sparse_threshold=0,
    )


def _by_kind(features: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """The columns of numbers, of categories and of text."""
    numbers = list(features.select_dtypes("number"))
    words = list(features.select_dtypes("category"))
    return numbers, words, list(features.columns.difference([*numbers, *words], sort=False))


def _with_gaps(features: pd.DataFrame, numbers: list[str]) -> list[str]:
    return [name for name in numbers if features[name].isna().any()]


def _codes(cells: pd.Series) -> np.ndarray:
    """The codes of a column's categories, -1 for a missing one if there is one."""
    return np.arange(-1 if cells.isna().any() else 0, len(cells.cat.categories))
