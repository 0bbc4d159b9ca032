"""Data sets against the files and libraries they come from, and against UCI's own counts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import DATASET_CLASSES
from lossfleet.runners.data.builtin import LOADERS, load_dataset

PACKAGE = resources.files("lossfleet.runners.data.datasets")


def page_blocks_file() -> pd.DataFrame:
    with (PACKAGE / "page_blocks.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip")


@pytest.mark.parametrize("name", LOADERS)
def test_every_data_set_is_well_formed(name):
    dataset = load_dataset(name)
    values = dataset.features.to_numpy(np.float64)
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


def test_configuration_knows_the_same_data_sets():
    assert {name: len(load_dataset(name).class_names) for name in LOADERS} == DATASET_CLASSES


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
    dataset = load_dataset("page_blocks")
    features = dataset.features
    assert features.shape == (5472 - 66, 10)
    assert not features.assign(label=dataset.labels).duplicated().any()
    assert np.abs(features["eccen"] - features["length"] / features["height"]).max() < 0.004
    assert len(dataset.notes) == 2
    assert "row 5: eccen 500 replaced by 0.5" in dataset.notes[0]
    assert dataset.notes[1].startswith("66 rows")


def test_page_blocks_changes_nothing_but_the_faults():
    table = page_blocks_file()
    table.loc[4, "eccen"] = 0.5
    expected = table.drop_duplicates().reset_index(drop=True)
    dataset = load_dataset("page_blocks")
    pd.testing.assert_frame_equal(dataset.features, expected.drop(columns="class"))
    assert [dataset.class_names[label] for label in dataset.labels] == expected["class"].tolist()


def test_page_blocks_classes_in_the_order_of_uci():
    dataset = load_dataset("page_blocks")
    assert dataset.class_names == ("text", "horizontal_line", "graphic", "vertical_line", "picture")
    assert dataset.class_counts.tolist() == [4889, 313, 28, 62, 114]
    assert round(dataset.class_counts.max() / dataset.class_counts.min()) == 175


def test_binary_page_blocks_is_text_against_the_rest():
    blocks, binary = load_dataset("page_blocks"), load_dataset("page_blocks_binary")
    pd.testing.assert_frame_equal(binary.features, blocks.features)
    np.testing.assert_array_equal(binary.labels == 0, blocks.labels == blocks.class_names.index("text"))
    assert binary.class_names == ("text", "not_text")
    assert binary.class_counts.tolist() == [4889, 517]
    assert binary.notes[:2] == blocks.notes
    assert "not_text" in binary.notes[2]


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_sklearn_data_sets_are_untouched(name):
    from sklearn import datasets

    expected = getattr(datasets, f"load_{name}")()
    dataset = load_dataset(name)
    np.testing.assert_array_equal(dataset.features.to_numpy(), expected.data)
    np.testing.assert_array_equal(dataset.labels, expected.target)
    assert list(dataset.class_names) == [str(class_name) for class_name in expected.target_names]
    assert dataset.notes == ()


def test_breast_cancer_has_the_minority_as_class_1():
    from sklearn import datasets

    expected = datasets.load_breast_cancer()
    dataset = load_dataset("breast_cancer")
    np.testing.assert_array_equal(dataset.features.to_numpy(), expected.data)
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
        load_dataset("page_block")
    assert "'page_block'" in caught.value.what
    assert all(name in caught.value.expected for name in LOADERS)
    assert caught.value.hint == "did you mean page_blocks?"


def test_the_digest_changes_with_the_content():
    wine = load_dataset("wine")
    assert wine.digest == load_dataset("wine").digest
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
    wine = load_dataset("wine")
    described = json.loads(json.dumps(wine.describe()))
    assert described == wine.describe()
    assert described["class_names"] == ["class_0", "class_1", "class_2"]
    assert described["class_counts"] == [59, 71, 48]
