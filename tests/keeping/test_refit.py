"""Training on all rows: a member is its solo training on stock layers, and NumPy says what MindSpore says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mindspore import Tensor
from replicate_runs import config, factory, fill, focal, make_native_fleet, mlp, shape_of_replicate
from toy_tables import toy_dataset

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import named_part
from lossfleet.conf.schema import Budget, choose
from lossfleet.runners.data.splits import long_tail_counts
from lossfleet.runners.models.export import MeanOfMembers, stock_members
from lossfleet.runners.models.weights import layer_weights
from lossfleet.runners.portable.encoder import Encoder
from lossfleet.runners.prediction.stored import read_model, write_model
from lossfleet.runners.tables.reading import MISSING
from lossfleet.runners.training.replicate import drawn_rows
from lossfleet.runners.training.solo import train_solo
from lossfleet.sweeps.keeping.refit import (
    portable_kinds,
    refit,
    training_rows_of_all,
    whole_replicate,
    whole_split,
)

MEMBERS = 2


@pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        ("shuffle", {}),
        ("smote", {}),
        ("undersample", {"members": 3}),
        ("shuffle", {"second_stage": named_part("second_stage", "crt", share=0.5)}),
        ("shuffle", {"second_stage": named_part("second_stage", "tau_norm"), "members": 2}),
    ],
)
def test_the_mean_of_the_members_is_that_of_their_solo_trainings(tmp_path, sampler, settings):
    made = config(focal(2.0, tau=0.5), sampler, model=mlp(11, dropout=0.1), **settings)
    made, dataset = replace(made, budget=Budget(epochs=2, rungs=2)), factory("wine").dataset
    trained = refit(made, dataset, members=MEMBERS)
    assert trained.kinds == ["dense", "relu", "dense"]
    assert trained.class_counts.tolist() == dataset.class_counts.tolist()
    assert len(trained.rows) == len(dataset.labels)
    description = {
        "classes": list(dataset.class_names),
        "columns": trained.columns,
        "missing": MISSING,
        "layers": trained.kinds,
        "networks": made.members,
        "decision": "argmax",
    }
    write_model(tmp_path / "model", description, trained.weights, trained.rows, "")
    model = read_model(tmp_path / "model")

    rows = np.arange(len(dataset.labels))
    features = Encoder(trained.columns, MISSING).features(dataset.features)
    split = whole_split(features, dataset, rows)
    solo = []
    for seed in trained.seeds:
        *_, progress = train_solo(whole_replicate(made, split, seed))
        solo.append(progress.logits(features).T)
    assert np.abs(solo[0] - solo[1]).max() > 1e-2
    np.testing.assert_allclose(model.logits(features), np.mean(solo, axis=0), rtol=0, atol=1e-4)
    exported = MeanOfMembers(stock_members(trained.kinds, trained.weights), made.members)
    np.testing.assert_allclose(exported(Tensor(features)).asnumpy(), np.mean(solo, axis=0), rtol=0, atol=1e-4)


def test_fewer_epochs_are_the_first_ones_of_all():
    """With the learning rates that they have there."""
    schedule = named_part("schedule", "cosine")
    made, dataset = config(focal(1.0), model=mlp(7), schedule=schedule), factory("wine").dataset
    trained = refit(made, dataset, members=1, epochs=2)
    features = Encoder(trained.columns, MISSING).features(dataset.features)
    split = whole_split(features, dataset, np.arange(len(dataset.labels)))
    replicate = whole_replicate(made, split, trained.seeds[0])
    fleet = fill(make_native_fleet([replicate]), [replicate])
    for _ in range(2):
        fleet.train_epoch()
    layers = shape_of_replicate(replicate).layers
    expected = layer_weights(layers, fleet.networks(0))
    assert trained.weights.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(trained.weights[name], values)


def test_a_long_tail_thins_all_rows_as_it_thins_training_parts():
    dataset = factory("wine").dataset
    rows = training_rows_of_all(dataset, 10.0)
    counts = np.bincount(dataset.labels[rows])
    assert counts.tolist() == long_tail_counts(dataset.class_counts, 10.0).tolist()
    assert len(set(rows.tolist())) == len(rows)
    assert rows.tolist() == training_rows_of_all(dataset, 10.0).tolist()


def test_rows_that_are_made_of_all_rows_have_whole_categories(monkeypatch):
    class Stop(Exception):
        pass

    def stop(made, split, seed):
        features = drawn_rows(made, split, seed=seed).features
        assert len(features) > len(split.train_labels)
        assert split.categories is not None
        for places in split.categories.words:
            np.testing.assert_array_equal(
                np.sort(features[:, places], axis=1)[:, -2:], [[0, 1]] * len(features)
            )
        raise Stop

    monkeypatch.setattr("lossfleet.sweeps.keeping.refit.whole_replicate", stop)
    with pytest.raises(Stop):
        refit(config(focal(2.0), "smote"), toy_dataset("numbers words gaps"), members=MEMBERS)


def test_a_cell_of_the_users_cannot_be_kept():
    made, dataset = config(), factory("wine").dataset
    split = whole_split(np.zeros((178, 2), np.float32), dataset, np.arange(178))
    replicate = whole_replicate(made, split, 0)
    object.__setattr__(replicate, "layers", None)
    with pytest.raises(UserError, match="model=mlp cannot be kept"):
        portable_kinds(made, replicate)
    assert portable_kinds(made, whole_replicate(made, split, 0)) == [
        "dense",
        "relu",
        "dense",
        "relu",
        "dense",
    ]


def test_seeds_are_away_from_those_of_the_budget():
    budget = config().budget
    assert not {200, 201, 202, 203, 204} & {*budget.search_seeds, *budget.final_seeds}


def test_without_widths_a_model_is_one_dense_layer():
    made = config(model=named_part("model", "logistic"), data="wine")
    split = whole_split(np.zeros((178, 2), np.float32), factory("wine").dataset, np.arange(178))
    assert portable_kinds(made, whole_replicate(made, split, 0)) == ["dense"]
    assert choose("data", "wine").name == "wine"
