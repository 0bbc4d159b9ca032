"""New rows are read as the table that a model was trained on, however their file is written."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import choose
from lossfleet.runners.data.encoding import encode, fit_text
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.portable.encoder import Encoder, raw_columns
from lossfleet.runners.portable.files import ModelError
from lossfleet.runners.portable.texts import text_features
from lossfleet.runners.prediction.columns import describe_columns
from lossfleet.runners.prediction.new_rows import open_rows, read_rows
from lossfleet.runners.tables.reading import Settings

ROWS = 331


def orders() -> pd.DataFrame:
    """What a shop writes down: amounts, dates, codes, spellings, many towns, gaps, sentences."""
    random = np.random.default_rng(13)
    table = pd.DataFrame(
        {
            " amount": [f"{value:,.2f} \u20ac" for value in random.gamma(2, 900, ROWS)],
            "rate": random.choice(["3,5", "0,25", "unknown", "12"], ROWS),
            "when": pd.Series(
                pd.to_datetime("2024-01-31") + pd.to_timedelta(random.integers(0, 700, ROWS), "D")
            )
            .dt.strftime("%d.%m.%Y")
            .where(random.random(ROWS) > 0.1, ""),
            "zip": random.choice(["01234", "12345"], ROWS),
            "answer": random.choice(["Yes", "yes", "no"], ROWS),
            "town": [f"town {number}" for number in (np.arange(ROWS) * 7) % 300],
            "x": random.normal(size=ROWS).round(6),
            "review": [" ".join(random.choice(["good", "bad", "slow", "Fast"], 5)) for _ in range(ROWS)],
            "y": random.choice(["None", "paid"], ROWS),
        }
    )
    return table.astype(object)


SETTINGS = {"fold_case": True, "text": ("review",)}


@pytest.fixture
def trained(tmp_path):
    """The data set, and how its kept model would read columns, from JSON."""
    orders().to_csv(tmp_path / "orders.csv", index=False)
    dataset = open_dataset(choose("data", "csv", path=str(tmp_path / "orders.csv"), target="y", **SETTINGS))
    columns = [
        {**each, **dataset.reading.specs.get(each["name"], {})} for each in describe_columns(dataset.features)
    ]
    return dataset, json.loads(json.dumps(columns))


def written(name: str, path):
    table = orders()
    if name.endswith(".parquet"):
        table.to_parquet(path / name)
    else:
        separator = {"c": ",", "s": ";", "t": "\t"}[name[0]]
        table[table.columns[::-1]].assign(more=1).to_csv(path / name, index=False, sep=separator)
    return path / name


@pytest.mark.parametrize("name", ["commas.csv", "semicolons.csv", "tabs.txt.gz", "rows.parquet"])
def test_new_rows_have_the_features_of_training(trained, name, tmp_path):
    dataset, columns = trained
    settings = Settings()
    file = open_rows(written(name, tmp_path), [*raw_columns(columns), "y"], settings)
    rows = pd.concat(list(read_rows(file, columns, "y")), ignore_index=True)
    found = Encoder(columns, settings.missing_words).features(rows)
    expected = Encoder(describe_columns(dataset.features), ()).features(dataset.features)
    np.testing.assert_array_equal(found, expected)
    assert rows["y"].tolist() == orders()["y"].tolist()
    # That is what training learns from, all rows being the training part, but for the order of the columns.
    np.testing.assert_allclose(found, encode(dataset.features, [np.arange(ROWS)])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("column", "word", "said"),
    [
        ("when", "2024-01-31", "'2024-01-31' in row 1; expected a date, written as %d.%m.%Y"),
        ("rate", "many", "'many' in row 1; expected a number"),
        ("x", "3,5", "'3,5' in row 1; expected a number"),
    ],
)
def test_cells_that_are_written_otherwise_are_refused(trained, column, word, said):
    _, columns = trained
    rows = orders().rename(columns=str.strip)
    rows.loc[0, column] = word
    with pytest.raises(ModelError, match=said):
        Encoder(columns, Settings().missing_words).features(rows)


def test_a_new_word_is_one_of_the_rest_and_a_spelling_is_known(trained):
    _, columns = trained
    encoder = Encoder(columns, Settings().missing_words)
    rows = orders().rename(columns=str.strip)
    known = encoder.features(rows.assign(answer="Yes", town="nowhere"))
    np.testing.assert_array_equal(known, encoder.features(rows.assign(answer="YES", town="elsewhere")))
    assert (known != encoder.features(rows.assign(answer="no", town="elsewhere"))).any()


def test_text_is_what_scikit_learn_makes_of_the_training_part():
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(17)
    words = [f"word{number}" for number in range(97)]
    texts = np.array([" ".join(random.choice(words, 11)) for _ in range(ROWS)] + ["", "unheard of"], object)
    features = pd.DataFrame({"review": texts})
    train, test = np.arange(199), np.arange(199, len(texts))
    found = encode(features, [train, test])
    fitted = make_pipeline(TfidfVectorizer(), TruncatedSVD(20, random_state=0), StandardScaler())
    np.testing.assert_allclose(found[0], fitted.fit_transform(texts[train]), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1], fitted.transform(texts[test]), rtol=1e-3, atol=1e-4)
    # Other texts in the test part leave the training part as it is.
    features.loc[test, "review"] = "other words"
    assert encode(features, [train, test])[0].tobytes() == found[0].tobytes()


def test_texts_of_few_or_no_words_have_as_many_features():
    for texts in (np.array(["", "a"], object), np.array(["one two", "two two", ""], object)):
        found = text_features(texts, fit_text(texts))
        assert found.shape == (len(texts), 20)
        assert np.isfinite(found).all()


def test_a_missing_column_is_named_as_the_file_has_it(trained, tmp_path):
    _, columns = trained
    orders().drop(columns="when").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match="no column 'when'"):
        open_rows(tmp_path / "t.csv", list(raw_columns(columns)), Settings())
