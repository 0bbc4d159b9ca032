"""Data sets against the files and libraries they come from, and against UCI's own counts."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from own_data import OWN

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.schema import Data, choose
from lossfleet.runners.data.loading import described, open_dataset
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import make_split

PACKAGE = resources.files("lossfleet.runners.data.datasets")


def page_blocks_file() -> pd.DataFrame:
    with (PACKAGE / "page_blocks.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip")


@pytest.mark.parametrize("name", OWN)
def test_every_data_set_is_well_formed(name):
    dataset = open_dataset(choose("data", name))
    values = np.asarray(dataset.features, np.float64)
    assert dataset.name == name
    assert values.shape == (len(dataset.labels), dataset.features.shape[1])
    assert np.isfinite(values).all()
    assert dataset.labels.dtype == np.int64
    assert np.unique(dataset.labels).tolist() == list(range(len(dataset.class_names)))
    np.testing.assert_array_equal(
        dataset.class_counts, [(dataset.labels == label).sum() for label in range(len(dataset.class_names))]
    )
    assert dataset.source
    assert all(note == note.strip() != "" for note in dataset.notes)


def test_configuration_knows_the_classes_before_it_has_the_data():
    assert {name: choose("data", name).classes for name in OWN} == {
        "breast_cancer": 2,
        "digits": 10,
        "page_blocks": 5,
        "page_blocks_binary": 2,
        "wine": 3,
    }


def test_class_names_that_are_not_those_of_the_data_are_refused():
    with pytest.raises(UserError, match=r"data\.class_names is"):
        open_dataset(choose("data", "wine", class_names=["a", "b", "c"]))


def test_the_vendored_file_still_has_its_faults():
    table = page_blocks_file()
    wrong = (table["eccen"] - table["length"] / table["height"]).abs() > 0.01
    assert len(table) == 5472
    assert table.loc[wrong, "eccen"].tolist() == [500.0]
    assert table.duplicated().sum() == 66
    assert table["class"].value_counts().to_dict() == {
        "text": 4913,
        "horizontal_line": 329,
        "picture": 115,
        "vertical_line": 87,
        "graphic": 28,
    }


def test_page_blocks_mends_both_faults_and_says_so():
    dataset = open_dataset(choose("data", "page_blocks"))
    features = dataset.features
    assert features.shape == (5472 - 66, 10)
    assert not features.assign(label=dataset.labels).duplicated().any()
    assert np.abs(features["eccen"] - features["length"] / features["height"]).max() < 0.004
    assert len(dataset.notes) == 3
    assert "row 5: eccen 500 replaced by 0.5" in dataset.notes[0]
    assert dataset.notes[1].startswith("66 rows left out")
    both = pd.concat([features, pd.Series(dataset.labels, name="label")], axis=1)
    torn = both.groupby(list(features))["label"].transform("nunique") > 1
    assert dataset.notes[2] == f"{torn.sum()} rows have the features of a row of another class"


def test_page_blocks_changes_nothing_but_the_faults():
    table = page_blocks_file()
    table.loc[4, "eccen"] = 0.5
    expected = table.drop_duplicates().reset_index(drop=True)
    dataset = open_dataset(choose("data", "page_blocks"))
    pd.testing.assert_frame_equal(dataset.features, expected.drop(columns="class"))
    assert [dataset.class_names[label] for label in dataset.labels] == expected["class"].tolist()


def test_page_blocks_classes_in_the_order_of_uci():
    dataset = open_dataset(choose("data", "page_blocks"))
    assert dataset.class_names == ("text", "horizontal_line", "graphic", "vertical_line", "picture")
    assert dataset.class_counts.tolist() == [4889, 313, 28, 62, 114]
    assert round(dataset.class_counts.max() / dataset.class_counts.min()) == 175


def test_binary_page_blocks_is_text_against_the_rest():
    blocks, binary = (
        open_dataset(choose("data", "page_blocks")),
        open_dataset(choose("data", "page_blocks_binary")),
    )
    # Rows that differ in the joined class alone repeat each other too.
    expected = blocks.features.assign(label=blocks.labels != blocks.class_names.index("text"))
    expected = expected.drop_duplicates(ignore_index=True)
    pd.testing.assert_frame_equal(binary.features, expected.drop(columns="label"))
    np.testing.assert_array_equal(binary.labels == 1, expected["label"])
    assert binary.class_names == ("text", "not_text")
    assert binary.class_counts.tolist() == [4889, 514]
    assert binary.notes[0] == blocks.notes[0]
    assert "not_text" in binary.notes[1]
    assert binary.notes[2].startswith("69 rows left out")


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_sklearn_data_sets_are_untouched(name):
    from sklearn import datasets

    expected = getattr(datasets, f"load_{name}")()
    dataset = open_dataset(choose("data", name))
    np.testing.assert_array_equal(np.asarray(dataset.features), expected.data)
    np.testing.assert_array_equal(dataset.labels, expected.target)
    assert list(dataset.class_names) == [str(class_name) for class_name in expected.target_names]
    assert dataset.notes == ()


def test_breast_cancer_has_the_minority_as_class_1():
    from sklearn import datasets

    expected = datasets.load_breast_cancer()
    dataset = open_dataset(choose("data", "breast_cancer"))
    np.testing.assert_array_equal(np.asarray(dataset.features), expected.data)
    np.testing.assert_array_equal(dataset.labels == 1, expected.target == 0)
    assert dataset.class_names == ("benign", "malignant")
    assert dataset.class_counts.tolist() == [357, 212]
    assert "class 1" in dataset.notes[0]


def test_the_notice_names_author_licence_and_changes():
    notice = (PACKAGE / "NOTICE").read_text()
    for part in ("Donato Malerba", "https://creativecommons.org/licenses/by/4.0/", "Changes made"):
        assert part in notice


def test_an_unknown_name_lists_the_known_ones_and_the_closest():
    with pytest.raises(UserError) as caught:
        open_dataset(choose("data", "page_block"))
    assert "page_block" in caught.value.what
    assert all(name in caught.value.expected for name in ("page_blocks", "page_blocks_binary"))
    assert caught.value.hint == "did you mean page_blocks?"


def test_the_digest_changes_with_the_content():
    wine = open_dataset(choose("data", "wine"))
    assert wine.digest == open_dataset(choose("data", "wine")).digest
    assert re.fullmatch("[0-9a-f]{8}", wine.digest)
    other_value = wine.features.copy()
    other_value.iloc[3, 2] += 1e-9
    other_label = wine.labels.copy()
    other_label[5] = 2
    changed = (
        {"features": other_value},
        {"features": wine.features.rename(columns={"hue": "Hue"})},
        {"features": wine.features.iloc[::-1]},
        {"labels": other_label},
        {"class_names": ("a", "b", "c")},
    )
    digests = [replace(wine, **change).digest for change in changed]
    assert len({wine.digest, *digests}) == 1 + len(changed)
    assert replace(wine, notes=("said otherwise",)).digest == wine.digest


def test_a_description_is_what_json_has():
    wine = open_dataset(choose("data", "wine"))
    described = json.loads(json.dumps(wine.describe()))
    assert described == wine.describe()
    assert described["class_names"] == ["class_0", "class_1", "class_2"]
    assert described["class_counts"] == [59, 71, 48]


USERS = """
import numpy as np
import pandas as pd

def credit(rows: int = 40, broken: str = ""):
    table = pd.DataFrame({"income": np.arange(rows) * 1.5, "job": ["a", "b"] * (rows // 2)})
    table["owner"] = np.arange(rows) % 3 == 0
    labels = np.where(np.arange(rows) % 4 == 0, "bad", "good").astype(object)
    if broken == "length":
        labels = labels[1:]
    elif broken == "one":
        labels[:] = "good"
    elif broken == "missing":
        labels[3] = None
    elif broken == "infinite":
        table.loc[2, "income"] = np.inf
    elif broken == "alone":
        return table
    elif broken == "images":
        return np.arange(rows * 30, dtype=float).reshape(rows, 2, 3, 5), labels
    elif broken == "raises":
        raise KeyError("no such file")
    return table, labels
"""


@pytest.fixture
def credit(tmp_path, monkeypatch):
    """Makes the choice of a data set that a function of the user's returns."""
    (tmp_path / "users_data.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_data", raising=False)

    def make(**settings) -> Data:
        return Data(Part("data", "credit", "users_data.credit", tuple(settings.items())))

    return make


def test_a_users_function_gives_features_and_labels(credit):
    data = described(credit(rows=44))
    assert (data.class_names, data.classes) == (("good", "bad"), 2)
    assert re.fullmatch("credit-[0-9a-f]{8}", data.label)
    dataset = open_dataset(data)
    assert dataset.class_counts.tolist() == [33, 11]
    assert [str(kind) for kind in dataset.features.dtypes] == ["float64", "category", "float64"]
    assert dataset.labels[:5].tolist() == [1, 0, 0, 0, 1]
    assert described(credit(rows=48)).label != data.label
    with pytest.raises(UserError, match="has changed"):
        open_dataset(replace(data, digest="0" * 8))


def test_an_array_of_four_axes_is_one_of_images(credit):
    dataset = open_dataset(credit(broken="images"))
    assert dataset.image_shape == (2, 3, 5)
    np.testing.assert_array_equal(np.asarray(dataset.features)[1], np.arange(30, 60))
    for each in (dataset, dataset.without(np.arange(3))):
        assert make_split(each, Shares(0.2, 0.2), seed=0, split=0).image_shape == (2, 3, 5)
    assert open_dataset(credit()).image_shape is None


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("length", "features (40, 3) and 39 labels"),
        ("one", "one class, good"),
        ("missing", "1 labels that are missing"),
        ("infinite", "infinite numbers in column income"),
        ("alone", "returned DataFrame"),
        ("raises", "users_data.py, line 22: KeyError: 'no such file'"),
    ],
)
def test_what_a_users_function_returns_is_checked(broken, said, credit):
    with pytest.raises(UserError) as caught:
        open_dataset(credit(broken=broken))
    assert said in caught.value.what
    assert "users_data.py, line 5" in caught.value.hint
