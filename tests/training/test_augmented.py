"""Training on augmented images: which rows an epoch has, the same in every engine, and who sees none of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from replicate_runs import (
    EPOCHS,
    Curves,
    config,
    fleet_curves,
    focal,
    mlp,
    replicate,
    shape_of_replicate,
    solo_curves,
)
from test_cells import PLAIN

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part
from lossfleet.conf.schema import Config, choose
from lossfleet.runners.images.pixels import BLOCK_ROWS
from lossfleet.runners.training.build import build_slots
from lossfleet.runners.training.ensembles import members_of
from lossfleet.runners.training.epoch_rows import at_epoch, augmented, try_augmentation
from lossfleet.runners.training.replicate import Replicate, mixture
from lossfleet.runners.training.second_stages import first_replicate, retraining_of, second_replicate

SHAPE = (1, 8, 8)
STANDARD = named_part("augmentation", "standard", flip=0.5, cut_out=0.3)
NONE = named_part("augmentation", "none")
MIXUP = named_part("mixing", "mixup", alpha=1.0)
CNN = named_part("model", "cnn", channels=(4,), halving="stride", head="global_average")


def images(**changes: object) -> Config:
    return config(**{"data": "digits", "augmentation": STANDARD, "model": CNN, "batch_size": 512, **changes})


def own(name: str, **settings: object) -> Part:
    return Part("augmentation", name, f"augmentations.{name}", tuple(settings.items()))


def weighed(each: Replicate) -> Replicate:
    weights = np.random.default_rng(1).uniform(0.1, 3, len(each.labels)).astype(np.float32)
    return replace(each, rows=replace(each.rows, weights=weights))


def test_without_augmentation_an_epoch_has_the_rows_of_its_replicate():
    each = replicate(config())
    assert at_epoch(each, 3) is each


def test_an_epoch_has_an_image_for_each_draw():
    each = weighed(replicate(images(sampler="oversample", augmentation=own("negative")), seed=4))
    for epoch in range(2):
        found, draws = at_epoch(each, epoch), each.plan[epoch]
        assert len(np.unique(draws)) < len(draws)
        assert found.features.dtype == np.float32
        np.testing.assert_array_equal(found.features, -each.features[draws])
        np.testing.assert_array_equal(found.labels, each.labels[draws])
        np.testing.assert_array_equal(found.weights, each.weights[draws])
        np.testing.assert_array_equal(found.plan, [np.arange(len(draws))] * EPOCHS)


def test_an_image_that_is_drawn_twice_is_seen_in_two_forms():
    each = replicate(images(sampler="oversample"), seed=4)
    found = at_epoch(each, 0)
    _, first, counts = np.unique(each.plan[0], return_index=True, return_counts=True)
    twice = first[counts > 1]
    again = [np.flatnonzero(each.plan[0] == each.plan[0][place])[1] for place in twice]
    assert (found.features[twice] != found.features[again]).any(1).all()


def test_images_depend_on_seed_split_and_epoch_alone():
    made = replicate(images(), seed=4, split=1)
    found = at_epoch(made, 2).features
    other_loss = replicate(images(loss=focal(2.0), batch_size=64), seed=4, split=1)
    np.testing.assert_array_equal(at_epoch(other_loss, 2).features, found)
    # The same draws of images, of which the augmentation alone is another one.
    for other in (replace(made, random_seed=5), replace(made, split_number=2)):
        assert not np.array_equal(at_epoch(other, 2).features, found)
    plan = np.broadcast_to(made.plan[2], made.plan.shape)
    assert not np.array_equal(at_epoch(replace(made, plan=plan), 1).features, found)
    # Blocks of images have draws of their own.
    part, rows = own("noisy"), np.zeros(2 * BLOCK_ROWS, np.int32)
    blocks = np.split(augmented(part, made.features, rows, SHAPE, np.random.default_rng(0)), 2)
    assert not np.array_equal(*blocks)


def test_mixup_mixes_augmented_images_as_it_mixes_plain_ones():
    plain = weighed(replicate(images(augmentation=NONE, mixing=MIXUP), seed=4))
    found = at_epoch(replace(plain, config=images(mixing=MIXUP)), 1)
    mixed, expected = mixture(found, 1), mixture(plain, 1)
    np.testing.assert_array_equal(plain.plan[1][mixed.partners], expected.partners)
    np.testing.assert_array_equal(mixed.shares, expected.shares)


# Each with whether the core trains it; a graph takes seconds to compile.
CASES = {
    "mixup": (images(loss=focal(1.0, tau=0.5), sampler="class_balanced", mixing=MIXUP), (True, False)),
    "made rows, several networks, an augmentation of the user's": (
        images(sampler="smote", members=2, augmentation=own("noisy", strength=0.5), model=mlp(5)),
        (True,),
    ),
    "a cell": (images(model=PLAIN), (False,)),
}


def curves(each: Replicate, *, native: bool) -> Curves:
    shape = shape_of_replicate(each, image_shape=SHAPE)
    rows = len(each.split.validation_labels)
    # A graph fleet has a page a slot for augmented rows whatever is asked for.
    slots = build_slots(shape, native=native, slots=2, pages=1 + native, page_rows=1, evaluation_rows=rows)
    company = weighed(replicate(each.config, seed=8))
    slots.enter(0, company)
    assert slots.has_room(each.rows_key)
    slots.leave(0)
    return tuple(curve[1] for curve in fleet_curves(slots, [company, each]))


@pytest.mark.parametrize("name", CASES)
def test_engines_train_on_the_same_images(name):
    made, engines = CASES[name]
    each = weighed(replicate(made, seed=5, split=1))
    expected = solo_curves(each)
    for native in engines:
        for found, curve in zip(curves(each, native=native), expected, strict=True):
            np.testing.assert_allclose(found, curve, rtol=1e-4)


def test_augmentation_changes_what_is_learnt_and_not_what_is_evaluated():
    made = images(model=mlp(5))
    plain, each = (weighed(replicate(replace(made, augmentation=part), seed=5)) for part in (NONE, STANDARD))
    for part in ("validation", "test"):
        features = (np.asarray(getattr(one.split, f"{part}_features")) for one in (plain, each))
        np.testing.assert_array_equal(*features)
    of_plain, found = curves(plain, native=True), curves(each, native=True)
    assert of_plain[2][-1] < 0.97 * found[2][-1]


def test_members_of_an_ensemble_see_images_of_their_own():
    each = replicate(images(members=2), seed=4)
    first, second = (replace(member, plan=each.plan) for member in members_of(each))
    assert not np.array_equal(at_epoch(first, 0).features, at_epoch(second, 0).features)


def test_a_second_stage_trains_on_images_as_they_are():
    each = replicate(images(second_stage=named_part("second_stage", "crt", share=0.5)), seed=4)
    stage = retraining_of(each)
    first = first_replicate(each, stage)
    assert not np.array_equal(at_epoch(first, 0).features, each.features[each.plan[0]])
    second = second_replicate(each, stage, each.split.train_features)
    assert at_epoch(second, 0) is second


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (own("rows"), r"returned float32 of the shape \(5, 64\); expected finite images \(5, 1, 8, 8\)"),
        (own("infinite"), r"augmentation=infinite returned numbers that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_no_image_is_refused(augmentation, message):
    with pytest.raises(UserError, match=message) as refused:
        try_augmentation(augmentation, replicate(images()).split, "digits")
    assert "augmentations.py, line" in str(refused.value)


def test_rows_of_a_table_are_no_images():
    expected = (
        "augmentation=standard is set beside data=wine, whose rows are no images; .*; write augmentation=none"
    )
    with pytest.raises(UserError, match=expected):
        try_augmentation(STANDARD, replicate(config()).split, choose("data", "wine").label)
    with pytest.raises(UserError, match="whose rows are no images"):
        at_epoch(replicate(config(augmentation=STANDARD)), 0)
