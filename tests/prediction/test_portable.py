"""Prediction without MindSpore: against scikit-learn's encoding, stock layers, and the definition in float64."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from kept_models import CLASSES, MEMBERS, WIDTH, bank, make_model

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.encoding import encode
from lossfleet.runners.metrics.calibration import softmax
from lossfleet.runners.metrics.decided import decide_by_costs, decide_by_threshold
from lossfleet.runners.metrics.prior_correction import correct_for_prior
from lossfleet.runners.portable.encoder import Encoder
from lossfleet.runners.portable.files import FORMATS, ModelError
from lossfleet.runners.portable.model import BLOCK_ROWS
from lossfleet.runners.prediction.columns import describe_columns
from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.tables.reading import MISSING


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


def test_features_are_those_of_scikit_learn():
    table = bank(rows=307)
    encoder = Encoder(describe_columns(table), MISSING)
    (expected,) = encode(table, [np.arange(len(table))])
    features = encoder.features(table)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=0, atol=2e-6)
    # Further rows too, in another order of columns, as text and as categories of their own.
    later = bank(rows=97, seed=1)
    both = pd.concat([table.astype(object), later.astype(object)]).astype(table.dtypes.to_dict())
    expected = encode(both, [np.arange(307), np.arange(307, 404)])[1]
    as_text = later[later.columns[::-1]].astype({"job": object, "contact": object})
    np.testing.assert_allclose(encoder.features(as_text), expected, rtol=0, atol=2e-6)


def test_logits_are_the_mean_of_the_members(model):
    features = model.encoder.features(bank(rows=83, seed=2)).astype(np.float64)
    weights = {name: values.astype(np.float64) for name, values in model.weights.items()}
    members = []
    for member in range(MEMBERS):
        hidden = np.maximum(features @ weights["0.weight"][member].T + weights["0.bias"][member], 0)
        assert hidden.shape == (83, WIDTH)
        members.append(hidden @ weights["2.weight"][member].T + weights["2.bias"][member])
    assert np.abs(members[0] - members[1]).max() > 0.1
    logits = model.logits(features.astype(np.float32))
    np.testing.assert_allclose(logits, np.mean(members, axis=0), rtol=0, atol=1e-5)


def test_probabilities_and_decisions(model):
    rows = bank(rows=83, seed=2)
    logits = model.logits(model.encoder.features(rows)).astype(np.float64)
    predicted = model.predict(rows)
    assert list(predicted) == ["class", *(f"probability_{name}" for name in CLASSES)]
    np.testing.assert_allclose(
        predicted.iloc[:, 1:].to_numpy().T, softmax(logits.T / 1.7), rtol=1e-12, atol=0
    )
    assert predicted["class"].tolist() == [CLASSES[label] for label in logits.argmax(axis=1)]
    counts = np.array([151, 47, 13])
    corrected = correct_for_prior(logits.T, np.array(0.6), counts).argmax(axis=0)
    by_prior = model.predict(rows, decision="prior")["class"].tolist()
    assert by_prior == [CLASSES[label] for label in corrected]
    assert by_prior != predicted["class"].tolist()


@pytest.mark.parametrize("rows", [1, 3, BLOCK_ROWS, BLOCK_ROWS + 5])
def test_a_row_has_the_same_bits_in_any_company(model, rows):
    table = bank(rows=2 * BLOCK_ROWS + 17, seed=3)
    together = model.predict(table).iloc[-rows:].reset_index(drop=True)
    alone = model.predict(table.iloc[-rows:])
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_what_training_never_saw_says_nothing_and_is_counted(model):
    rows = bank(rows=5).astype({"job": object})
    rows.loc[[1, 3], "job"] = "astronaut"
    rows.loc[2, "job"] = "?"
    rows.loc[0, "age"] = np.nan
    told: Counter = Counter()
    features = model.encoder.features(rows, told=told)
    assert {(name, what.split(",")[0]): count for (name, what), count in told.items()} == {
        ("job", "of a category that training never saw; it was left out"): 2,
        ("job", "missing"): 1,
        ("age", "missing"): 1,
    }
    # Numbers (age, balance, campaign), the gap of balance, then the three jobs.
    assert not features[[1, 2, 3], 4:7].any()
    assert features[[0, 4], 4:7].sum() == 2
    table = bank()
    median = (table["age"].median() - table["age"].mean()) / table["age"].std(ddof=0)
    assert features[0, 0] == pytest.approx(median, abs=1e-6)


def test_truth_values_and_whole_numbers_are_words_as_in_a_table():
    trained = pd.DataFrame({"flag": ["true", "false"], "code": ["7", "12"]}, dtype="category")
    encoder = Encoder(describe_columns(trained), MISSING)
    rows = pd.DataFrame({"flag": [False, True], "code": [12.0, 7.0]}, dtype=object)
    np.testing.assert_array_equal(encoder.features(rows), encoder.features(trained.iloc[::-1]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop(columns=["age", "job"]), "no column 'age', 'job'"),
        (lambda rows: rows.assign(age=["34", "old", *["5"] * 9]), "'age' has 'old' in row 42"),
        (lambda rows: rows.assign(balance=[1.0] * 3 + [np.inf] + [2.0] * 7), "'balance' has inf in row 44"),
    ],
)
def test_cells_that_cannot_be_used_are_named(model, change, words):
    with pytest.raises(ModelError, match=words):
        model.predict(change(bank(rows=11)), first_row=41)


def test_numbers_as_text_are_numbers(model):
    rows = bank(rows=11)
    as_text = rows.assign(age=rows["age"].map(str))
    pd.testing.assert_frame_equal(model.predict(as_text), model.predict(rows))


@pytest.mark.parametrize(("positive", "fitted"), [(0, 0.37), (1, 0.63)])
def test_a_threshold_decides_as_it_was_fitted(tmp_path, positive, fitted):
    stored = {"class": CLASSES[positive], "at_least": fitted}
    two = {"classes": CLASSES[:2], "decision": "threshold", "threshold": stored}
    model = make_model(tmp_path / "model", **two)
    rows = bank(rows=197, seed=2)
    probabilities = softmax(model.logits(model.encoder.features(rows)).astype(np.float64).T / 1.7)
    decided = {}
    for decision, threshold in (
        (None, fitted),
        ("threshold", fitted),
        ("threshold=0.8", 0.8),
        ("threshold=0", 0),
    ):
        expected = decide_by_threshold(probabilities, np.array(threshold), positive)
        decided[decision] = model.predict(rows, decision=decision)["class"].tolist()
        assert decided[decision] == [CLASSES[label] for label in expected]
    half, argmax = (
        model.predict(rows, decision=each)["class"].tolist() for each in ("threshold=0.5", "argmax")
    )
    assert half == argmax
    assert len({tuple(each) for each in decided.values()}) == 3


def test_a_threshold_of_the_users_is_on_the_rarest_class(tmp_path):
    model = make_model(tmp_path / "model", classes=CLASSES[:2], class_counts=[31, 170])
    assert set(model.predict(bank(rows=29), decision="threshold=0")["class"]) == {CLASSES[0]}


def test_costs_decide_as_they_were_measured(tmp_path):
    costs = [[0, 1, 1], [1, 0, 1], [4, 9, 0.5]]
    model = make_model(tmp_path / "model", decision="costs", costs=costs)
    rows = bank(rows=197, seed=2)
    probabilities = softmax(model.logits(model.encoder.features(rows)).astype(np.float64).T / 1.7)
    expected = [CLASSES[label] for label in decide_by_costs(probabilities, np.array(costs))]
    assert model.predict(rows)["class"].tolist() == expected
    assert model.predict(rows, decision="argmax")["class"].tolist() != expected


@pytest.mark.parametrize(
    ("changes", "decision", "known"),
    [
        ({}, "guess", "argmax, prior;"),
        ({}, "threshold", "argmax, prior;"),
        ({}, "threshold=0.3", "argmax, prior;"),
        ({}, "costs", "argmax, prior;"),
        ({"costs": [[0] * 3] * 3}, "threshold=0.3", "argmax, prior, costs;"),
        ({"classes": CLASSES[:2]}, "threshold", "argmax, prior, threshold=NUMBER from 0 to 1;"),
        ({"classes": CLASSES[:2]}, "threshold=1.01", "argmax, prior, threshold=NUMBER from 0 to 1;"),
        ({"classes": CLASSES[:2]}, "threshold=nan", "argmax, prior, threshold=NUMBER from 0 to 1;"),
        ({"classes": CLASSES[:2]}, "threshold=", "argmax, prior, threshold=NUMBER from 0 to 1;"),
    ],
)
def test_an_unknown_decision_is_refused(tmp_path, changes, decision, known):
    model = make_model(tmp_path / "model", **changes)
    with pytest.raises(ModelError, match=f"the decision is {decision}; expected one of {known}"):
        model.predict(bank(rows=2), decision=decision)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: (data / "weights.safetensors").unlink(), "no .*weights.safetensors"),
        (lambda data: flip(data / "weights.safetensors"), "weights.safetensors is damaged"),
        (lambda data: (data / "model.json").unlink(), "no .*model.json"),
        (lambda data: (data / "model.json").write_text('{"format": 1, "cla'), "model.json cannot be read"),
        (
            lambda data: other_format(data / "model.json"),
            "format 7; expected one of the formats 1, 2, 3, 4, 5, 6; .*0.2.0",
        ),
    ],
)
def test_a_damaged_model_is_refused(tmp_path, damage, words):
    make_model(tmp_path / "model")
    damage(tmp_path / "model" / "data")
    with pytest.raises(UserError, match=words):
        read_model(tmp_path / "model")


@pytest.mark.parametrize("kept", FORMATS)
def test_a_model_of_an_earlier_format_is_read(model, tmp_path, kept):
    file = tmp_path / "model/data/model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": kept}))
    rows = bank(rows=7)
    pd.testing.assert_frame_equal(read_model(tmp_path / "model").predict(rows), model.predict(rows))


def flip(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def other_format(file):
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 7}))
