"""Images in training: the core takes their bytes, and gives what the numbers give that they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from image_files import brought
from replicate_runs import config, fill, shape_of_replicate

from lossfleet.conf.parts import named_part
from lossfleet.runners.images.pixels import StandardisedImages
from lossfleet.runners.training.native.examples import Examples
from lossfleet.runners.training.native.fleet import NativeFleet
from lossfleet.runners.training.replicate import Replicate, ReplicateFactory, Rows
from lossfleet.runners.training.solo import train_solo
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.running.local import LocalEngine

ROWS, SHAPE = 101, (3, 8, 8)


@pytest.fixture
def made(tmp_path):
    """A replicate of weighted classes on images of an archive, with its rows in another order than the file's."""
    random = np.random.default_rng(2)
    labels = np.arange(ROWS) % 3
    images = random.integers(0, 160, (ROWS, *SHAPE), np.uint8)
    images[np.arange(ROWS), 0, labels, :] += 80
    np.savez(tmp_path / "a.npz", X=images, y=labels)
    data = brought("npz", tmp_path / "a.npz")

    def make(**changes: object) -> Replicate:
        own = replace(config(model=named_part("model", "cnn"), **changes), data=data)
        return ReplicateFactory(data).replicate(own, seed=3, split=5)

    return make


def as_numbers(each: Replicate) -> Replicate:
    """The same replicate with features that are there as float32."""
    parts = ("train_features", "validation_features", "test_features")
    split = replace(each.split, **{name: np.asarray(getattr(each.split, name)) for name in parts})
    return replace(each, split=split, rows=Rows(split.train_features, each.labels, each.weights))


def trained(each: Replicate) -> list[np.ndarray]:
    shape = shape_of_replicate(each, image_shape=SHAPE)
    fleet = NativeFleet(shape, slots=1, threads=1)
    fill(fleet, [each])
    losses = [fleet.train_epoch() for _ in range(3)]
    (network,) = fleet.networks(0)
    return [
        np.array(losses),
        fleet.logits("validation"),
        fleet.logits("test"),
        *(array for arrays in network for array in arrays),
    ]


@pytest.mark.parametrize("mixing", ["none", "mixup"])
def test_the_core_gives_the_same_bits_of_bytes_and_of_numbers(made, mixing):
    each = made(mixing=named_part("mixing", mixing))
    assert isinstance(each.features, StandardisedImages)
    for found, expected in zip(trained(each), trained(as_numbers(each)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_of_rows_go_with_their_images(made):
    each = made()
    weights = np.random.default_rng(1).uniform(0.1, 3, len(each.labels)).astype(np.float32)
    weighed = replace(each, rows=replace(each.rows, weights=weights))
    for found, expected in zip(trained(weighed), trained(as_numbers(weighed)), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (trained(weighed)[3] != trained(each)[3]).any()


def test_solo_is_the_oracle_of_the_core_on_images(made):
    each = made()
    progress = next(train_solo(each))
    np.testing.assert_allclose(trained(each)[0][0], progress.training_loss, rtol=1e-5)


def test_a_sampler_that_makes_rows_makes_them_of_images(made):
    each = made(sampler="smote")
    assert isinstance(each.features, np.ndarray)
    originals = np.asarray(each.split.train_features)
    np.testing.assert_array_equal(each.features[: len(originals)], originals)


def test_the_core_has_slots_where_a_graph_has_no_memory(monkeypatch):
    """It evaluates few images at once, so that their activations do not decide how many slots there are."""
    plans: list = []
    for native in ("on", "off"):
        run_sweeper(["strategy=ce", "data=digits", "model=cnn", f"engine.native={native}"], plans.append)
    factory = ReplicateFactory.of(plans[0].studies[0].config)
    monkeypatch.setattr("lossfleet.sweeps.running.slots.memory", lambda: 100 * 2**20)
    slots = []
    for plan in plans:
        engine = LocalEngine(plan, factory, lambda *records: None)
        slots.append(engine._fleet(engine._keys[0]).slots)
    assert slots[0] > 2 * slots[1]


def test_a_replicate_copies_no_images(made, monkeypatch):
    def copied(*arguments: object) -> None:
        raise AssertionError("pixels became numbers before a batch was trained on")

    monkeypatch.setattr(StandardisedImages, "__getitem__", copied)
    monkeypatch.setattr(StandardisedImages, "__array__", copied)
    each = made()
    member = Examples.of(each)
    assert np.shares_memory(member.features, each.features.images.pixels)
    assert each.split.nbytes < each.features.images.pixels.nbytes
