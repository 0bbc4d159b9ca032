"""Samplers that make rows: imbalanced-learn as the oracle, ratios, categories and weights."""

from __future__ import annotations

import numpy as np
import pytest
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import ADASYN, SMOTE, SMOTEN, SMOTENC, BorderlineSMOTE
from imblearn.under_sampling import RandomUnderSampler
from toy_tables import split_of, table

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import named_part
from lossfleet.runners import streams
from lossfleet.runners.data import made_rows
from lossfleet.runners.data.encoding import categories_of, encode
from lossfleet.runners.data.filling import tell_once
from lossfleet.runners.data.samplers import index_plan, makes_rows, training_rows, weighted_rows
from lossfleet.runners.data.splits import Split
from lossfleet.runners.prediction.columns import describe_columns, described_categories

SEED = 5
STATE = streams.random_state(streams.Stream.RESAMPLE, SEED)
MAKERS = ("smote", "smotenc", "borderline_smote", "adasyn", "smote_tomek", "smote_enn")
every_maker = pytest.mark.parametrize("name", MAKERS)


def goals(counts: np.ndarray, ratio: float) -> dict[int, int]:
    least = int(np.ceil(ratio * counts.max()))
    return {label: least for label, count in enumerate(counts) if count < least}


def stock(name: str, goals):
    """The sampler of imbalanced-learn that one of ours is."""
    within = SMOTE(sampling_strategy=goals, k_neighbors=3, random_state=STATE)
    settings = {"sampling_strategy": goals, "random_state": STATE}
    return {
        "smote": lambda: within,
        "smotenc": lambda: within,
        "borderline_smote": lambda: BorderlineSMOTE(k_neighbors=3, **settings),
        "adasyn": lambda: ADASYN(n_neighbors=3, **settings),
        "smote_tomek": lambda: SMOTETomek(smote=within),
        "smote_enn": lambda: SMOTEENN(smote=within),
    }[name]()


@every_maker
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_rows_are_those_of_imbalanced_learn(name, ratio):
    split = split_of()
    found = training_rows(named_part("sampler", name, neighbors=3, ratio=ratio), split, seed=SEED)
    strategy = "auto" if ratio == 1 else goals(split.class_counts, ratio)
    expected = stock(name, strategy).fit_resample(split.train_features, split.train_labels)
    assert len(expected[1]) != len(split.train_labels)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_maker
def test_more_neighbors_than_a_class_has_are_lowered(name):
    split = split_of()
    most = int(split.class_counts.min()) - 1
    found, expected = (
        training_rows(named_part("sampler", name, neighbors=neighbors), split, seed=SEED)
        for neighbors in (50, most)
    )
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.62, 1.0])
@pytest.mark.parametrize("name", ["oversample", "smote", "smotenc", "borderline_smote", "adasyn"])
def test_filling_up_brings_every_class_to_the_ratio(name, ratio):
    split = split_of()
    counts = split.class_counts
    sampler = named_part("sampler", name, ratio=ratio)
    features, labels = training_rows(sampler, split, seed=SEED)
    if not makes_rows(sampler):
        labels = labels[index_plan(sampler, 10_000, features, labels, seed=SEED, epochs=1)[0]]
        shares = np.bincount(labels) / len(labels)
        expected = np.maximum(counts, np.ceil(ratio * counts.max()))
        # Whole rounds of the stream, and a part of one.
        np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.005)
        return
    made = np.bincount(labels)
    # ADASYN rounds for each example.
    slack = counts / 2 if name == "adasyn" else 0
    assert (np.abs(made - np.maximum(counts, np.ceil(ratio * counts.max()))) <= slack).all()
    assert (made[counts >= ratio * counts.max()] == counts[counts >= ratio * counts.max()]).all()


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.7, 1.0])
def test_undersampling_brings_every_class_down_to_the_ratio(ratio):
    split = split_of()
    counts = split.class_counts
    sampler = named_part("sampler", "undersample", ratio=ratio)
    plan = index_plan(sampler, 1000, split.train_features, split.train_labels, seed=SEED, epochs=1)
    kept = np.bincount(split.train_labels[np.unique(plan)])
    np.testing.assert_array_equal(kept, np.minimum(counts, np.floor(counts.min() / ratio + 1e-9)))


def test_undersampling_of_equal_rarest_classes_draws_as_imbalanced_learn_does():
    labels = np.repeat([0, 1, 2, 3], [7, 31, 7, 19]).astype(np.int32)
    features = np.zeros((64, 1), np.float32)
    plan = index_plan(named_part("sampler", "undersample"), 640, features, labels, seed=SEED, epochs=1)
    stock = RandomUnderSampler(random_state=STATE)
    stock.fit_resample(features, labels)
    assert set(plan[0]) == set(stock.sample_indices_)


def test_shares_of_a_class_size_are_exact():
    # In floating point 0.55 of 100 is above 55.
    labels = np.repeat([0, 1], [100, 2]).astype(np.int32)
    _, made = training_rows(
        named_part("sampler", "smote", ratio=0.55, neighbors=1), split_like(labels), seed=SEED
    )
    assert np.bincount(made).tolist() == [100, 55]


def split_like(
    labels: np.ndarray, features: np.ndarray | None = None, class_names: tuple[str, ...] = ()
) -> Split:
    if features is None:
        features = np.random.default_rng(0).normal(size=(len(labels), 2)).astype(np.float32)
    nothing = features[:0], labels[:0], features[:0], labels[:0], np.arange(0)
    counts = np.bincount(labels)
    return Split(
        features, labels, *nothing, counts, int(counts.argmin()), len(labels), class_names=class_names
    )


# ---- categories and missing numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", ["numbers", "words", "numbers words", "numbers words gaps"])
def test_categories_are_where_encoding_puts_them(kinds):
    frame = table(kinds)
    (encoded,) = encode(frame, [np.arange(len(frame))])
    categories = categories_of(frame)
    assert described_categories(describe_columns(frame)) == categories
    if kinds == "numbers":
        assert categories is None
        return
    assert categories is not None
    assert categories.width == encoded.shape[1]
    assert len(categories.words) == frame.select_dtypes("category").shape[1]
    for places in categories.words:
        np.testing.assert_array_equal(encoded[:, places].sum(axis=1), 1)
    assert len(categories.flags) == int(frame.select_dtypes("number").isna().any().sum())
    for number, flag in zip(categories.flagged, categories.flags, strict=True):
        np.testing.assert_array_equal(encoded[:, flag] == 1, frame.iloc[:, -1].isna())
        assert frame.select_dtypes("number").columns[number] == "age"
    np.testing.assert_array_equal(categories.decoded(categories.coded(encoded), like=encoded), encoded)
    np.testing.assert_array_equal(categories.whole(encoded, like=encoded), encoded)


@every_maker
@pytest.mark.parametrize("kinds", ["words", "numbers words gaps"])
def test_every_row_that_is_made_could_have_been_read(name, kinds):
    split = split_of(kinds)
    features, labels = training_rows(named_part("sampler", name), split, seed=SEED)
    if name not in ("smote_tomek", "smote_enn"):
        np.testing.assert_array_equal(features[: len(split.train_labels)], split.train_features)
        assert len(labels) > len(split.train_labels)
    assert split.categories is not None
    for places in split.categories.words:
        np.testing.assert_array_equal(np.sort(features[:, places], axis=1)[:, :-1], 0)
        np.testing.assert_array_equal(features[:, places].max(axis=1), 1)
    for number, flag in zip(split.categories.flagged, split.categories.flags, strict=True):
        assert set(np.unique(features[:, flag])) == {0, 1}
        assert len(np.unique(features[features[:, flag] == 1, number])) == 1
    # Numbers are still between others.
    if split.categories.numbers and name == "smote":
        lengths = features[len(split.train_labels) :, 0]
        assert not np.isin(lengths, split.train_features[:, 0]).any()


@pytest.mark.parametrize(("kinds", "nominal"), [("numbers words gaps", True), ("words", False)])
def test_smote_of_categories_is_that_of_imbalanced_learn_on_codes(kinds, nominal, capsys):
    tell_once.cache_clear()
    split = split_of(kinds)
    sampler = named_part("sampler", "smote", neighbors=3)
    features, labels = training_rows(sampler, split, seed=SEED)
    told = capsys.readouterr().err
    assert ("SMOTE is SMOTE-NC here" if nominal else "SMOTE is SMOTE-N here") in told
    training_rows(sampler, split, seed=SEED)
    assert capsys.readouterr().err == ""
    categories = split.categories
    assert categories is not None
    # Codes by hand: numbers, then the place of the 1 among those of each column, then flags.
    codes = np.column_stack(
        [
            split.train_features[:, list(categories.numbers)],
            *(split.train_features[:, list(places)] @ np.arange(len(places)) for places in categories.words),
            split.train_features[:, list(categories.flags)],
        ]
    ).astype(np.float32)
    columns = list(range(len(categories.numbers), codes.shape[1]))
    settings = {"k_neighbors": 3, "random_state": STATE}
    stock = SMOTENC(columns, **settings) if nominal else SMOTEN(**settings)
    expected, expected_labels = stock.fit_resample(codes, split.train_labels)
    np.testing.assert_array_equal(labels, expected_labels)
    found = categories.coded(features)
    np.testing.assert_array_equal(found[:, columns], expected[:, columns])
    same = [place for place in range(len(categories.numbers)) if place not in categories.flagged]
    np.testing.assert_array_equal(found[:, same], expected[:, same].astype(np.float32))


def test_distances_that_memory_does_not_hold_are_refused_before_they_are_taken(monkeypatch):
    split = split_of("words")
    largest = np.sort(split.class_counts)[-2]
    monkeypatch.setattr(made_rows, "memory", lambda: 2 * 8 * largest**2)
    training_rows(named_part("sampler", "smote"), split, seed=SEED)
    monkeypatch.setattr(made_rows, "memory", lambda: 2 * 8 * largest**2 - 1)
    with pytest.raises(
        UserError, match=rf"SMOTE-N of a class of {largest} rows compares all of them"
    ) as caught:
        training_rows(named_part("sampler", "smote"), split, seed=SEED)
    assert "sampler=borderline_smote" in caught.value.hint
    training_rows(named_part("sampler", "borderline_smote"), split, seed=SEED)


def test_smotenc_without_categories_is_smote_and_says_so(capsys):
    tell_once.cache_clear()
    split = split_of()
    found, expected = (
        training_rows(named_part("sampler", name), split, seed=SEED)[0] for name in ("smotenc", "smote")
    )
    np.testing.assert_array_equal(found, expected)
    assert "sampler=smotenc is sampler=smote here" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["smote", "borderline_smote", "adasyn", "smote_tomek", "smote_enn"])
def test_weights_of_rows_with_categories(name):
    plain = split_of("numbers words gaps")
    weights = np.random.default_rng(4).uniform(0.5, 2, len(plain.train_labels))
    weighted = Split(**{**vars(plain), "train_weights": weights})
    sampler = named_part("sampler", name)
    features, labels, found = weighted_rows(sampler, weighted, seed=SEED)
    expected, expected_labels = training_rows(sampler, plain, seed=SEED)
    np.testing.assert_array_equal(features, expected)
    np.testing.assert_array_equal(labels, expected_labels)
    assert found is not None
    rows = zip(plain.train_features, plain.train_labels, weights, strict=True)
    known = {(row.tobytes(), int(label)): weight for row, label, weight in rows}
    np.testing.assert_array_less(0.5 - 1e-6, found)
    np.testing.assert_array_less(found, 2 + 1e-6)
    for row, label, weight in zip(features, labels, found, strict=True):
        if (row.tobytes(), int(label)) in known:
            assert weight == pytest.approx(known[row.tobytes(), int(label)], rel=1e-6)
        elif name == "smote":
            assert weight == pytest.approx(weights[plain.train_labels == label].mean(), rel=1e-6)


# ---- classes without rows to make ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["borderline_smote", "adasyn"])
def test_classes_that_lie_apart_stay_as_they_are_and_are_told(name, capsys):
    tell_once.cache_clear()
    labels = np.repeat([0, 1, 2], [61, 23, 31]).astype(np.int32)
    features = np.random.default_rng(0).normal(size=(115, 2)).astype(np.float32)
    features[labels == 1] += 100
    split = split_like(labels, features, ("text", "graphic", "line"))
    _, made = training_rows(named_part("sampler", name), split, seed=SEED)
    counts = np.bincount(made)
    assert counts[:2].tolist() == [61, 23]
    assert counts[2] > 50
    assert f"sampler={name} leaves class 'graphic' as it is" in capsys.readouterr().err


@every_maker
def test_classes_of_equal_size_get_no_rows(name):
    labels = np.repeat([0, 1], 41).astype(np.int32)
    _, made = training_rows(named_part("sampler", name), split_like(labels), seed=SEED)
    assert (np.bincount(made) <= 41).all()
