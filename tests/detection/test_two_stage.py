"""Detectors of two stages by both engines: loss, gradient and finds by definition, trainings, what they refuse."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_detectors import (
    EPOCHS,
    IMAGES,
    check_gradient,
    forward,
    noise,
    pyramid,
    repeated,
    smaller_batches,
    training,
)
from small_two_stage import (
    ANCHORS,
    LOSS,
    SCALES,
    TWO_STAGE,
    Drawn,
    drawn,
    losses,
    proposed,
    second_stage,
    standard,
)

from lossfleet.runners.detection.objective import SampledLoss
from lossfleet.runners.detection.solo.two_stage import SoloTwoStage
from lossfleet.runners.detection.targets import Objects, Targets
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.portable.objects.anchors import Anchors
from lossfleet.runners.portable.objects.boxes import clip, decode, suppress_by_class
from lossfleet.runners.portable.objects.regions import shares
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.detector_training import train_epochs
from lossfleet.runners.training.native.translation import flat_parameters
from lossfleet.runners.training.native.two_stage import NativeTwoStage

ENGINES = {"native": NativeTwoStage, "solo": SoloTwoStage}
# One level, no hidden layer; and three levels with two of them.
OTHERS = {
    "one level": TwoStage(
        (1, 9, 13), 1, Anchors((4,), (6.0,)), (3, 2), width=3, depth=0, hidden=(), cells=2, proposals=5
    ),
    "three levels": TwoStage(
        (1, 33, 17), 2, Anchors((2, 4, 8), (4.0, 6.0, 9.0)), (4, 4, 4), hidden=(8, 7), region_size=4
    ),
}


def made_of(loss: SampledLoss, network: TwoStage, seed: int = 0) -> Training:
    """A training whose first stage moves boxes little, so that there are many different ones."""
    made = training(loss, network, seed)
    head = len(made.initial) - len(network.dense) - 1
    made.initial[head] = tuple(each / 5 for each in made.initial[head])
    return made


@cache
def made_here(seed: int = 0) -> Training:
    return made_of(LOSS, TWO_STAGE, seed)


@cache
def by_definition() -> tuple[list[Drawn], tuple[float, float], list[tuple[list[Parameters], float]]]:
    """What is drawn, the losses, and along a direction of each two layers' parameters the slope of their sum."""
    made = made_here()
    exact = [tuple(each.astype(float) for each in own) for own in made.initial]
    of_images, random, along = drawn(made, exact), np.random.default_rng(5), []
    for pair_of_layers in range(-(-len(exact) // 2)):
        direction = [
            tuple(random.normal(size=each.shape) * (n // 2 == pair_of_layers) for each in own)
            for n, own in enumerate(exact)
        ]
        ends = []
        for step in (1e-6, -1e-6):
            moved = [
                tuple(each + step * way for each, way in zip(*pair, strict=True))
                for pair in zip(exact, direction, strict=True)
            ]
            ends.append(sum(losses(made, moved, of_images)))
        along.append((direction, (ends[0] - ends[1]) / 2e-6))
    return of_images, losses(made, exact, of_images), along


def test_the_examples_are_of_all_kinds() -> None:
    of_images, _, _ = by_definition()
    of_regions = [[label < 3 for _, label, _ in own.regions] for own in of_images]
    assert {len(own.anchors) for own in of_images} == {30}
    assert {len(each) for each in of_regions} == {10}
    assert {sum(each) for each in of_regions} >= {0, 2}
    sides = [np.sqrt(np.prod(box[2:] - box[:2])) for own in of_images for box, *_ in own.regions]
    assert min(sides) < TWO_STAGE.region_size < max(sides)


@pytest.mark.parametrize("engine", ENGINES)
def test_loss_and_gradient_are_those_of_the_definition(engine: str) -> None:
    made, (_, expected, along) = made_here(), by_definition()
    check_gradient(ENGINES[engine], made, expected, along)


def check_trainings(made: Training) -> None:
    """Both have the same losses, and after two epochs the same parameters and finds."""
    native, solo = NativeTwoStage(made), SoloTwoStage(made)
    for epoch in range(len(made.plan)):
        np.testing.assert_allclose(native.train_epoch(epoch), solo.train_epoch(epoch), rtol=1e-4)
        if epoch + 1 == EPOCHS:
            check_networks(native, solo, made.network)


def check_networks(native: NativeTwoStage, solo: SoloTwoStage, network: TwoStage) -> None:
    for found, expected in zip(native.parameters(), solo.parameters(), strict=True):
        for own, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)
    images = noise(network, seed=1).images
    for found, expected in zip(native.detect(images), solo.detect(images), strict=True):
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-3, atol=1e-2)


def test_native_training_is_solo_training() -> None:
    check_trainings(repeated(smaller_batches(made_here(), 9), 5))


@pytest.mark.parametrize(("name", "times"), [("one level", 5), ("three levels", 1)])
def test_native_training_is_solo_training_of_other_networks(name: str, times: int) -> None:
    check_trainings(repeated(made_of(SampledLoss(anchors=8, regions=5), OTHERS[name]), times))


def test_images_without_objects_teach_that_there_are_none() -> None:
    scenes = noise(TWO_STAGE)
    empty = replace(
        scenes,
        boxes=tuple(each[:0] for each in scenes.boxes),
        labels=tuple(each[:0] for each in scenes.labels),
    )
    targets = Targets.of(empty, TWO_STAGE.anchor_boxes)
    made = replace(made_here(), targets=targets, objects=Objects.of(empty))
    exact = [tuple(each.astype(float) for each in own) for own in made.initial]
    expected = losses(made, exact, drawn(made, exact))
    assert expected[1] == 0
    np.testing.assert_allclose(
        NativeTwoStage(replace(made, plan=made.plan[:1])).train_epoch(0), expected, rtol=2e-5
    )


def test_found_are_the_refined_proposals_of_each_class_without_doubles() -> None:
    made, images = made_here(), noise(TWO_STAGE, seed=1).images
    parameters = [tuple(each.astype(float) for each in own) for own in made.initial]
    standard_images = standard(made, images)
    logits, deltas = forward(TWO_STAGE.proposer, parameters, standard_images)
    levels = pyramid(TWO_STAGE.proposer, iter(parameters), standard_images)
    for image, found in enumerate(NativeTwoStage(made).detect(images)):
        boxes, scores, labels = [], [], []
        for box in proposed(TWO_STAGE, logits[image, :, 0], deltas[image], TWO_STAGE.proposals):
            of_classes, moved = second_stage(TWO_STAGE, parameters, [each[image] for each in levels], box)
            for label in np.flatnonzero(of_classes[:-1] > 0.05):
                moved_box = clip(decode(moved[None] / SCALES, box[None]), *TWO_STAGE.image_shape[1:])[0]
                boxes.append(moved_box)
                scores.append(of_classes[label])
                labels.append(label)
        kept = suppress_by_class(np.array(boxes), np.array(scores), np.array(labels), iou_threshold=0.5)
        assert len(kept) > 2
        np.testing.assert_array_equal(found.labels, np.array(labels)[kept])
        np.testing.assert_allclose(found.scores, np.array(scores)[kept], atol=1e-5)
        np.testing.assert_allclose(found.boxes, np.array(boxes)[kept], atol=1e-3)


def test_features_of_what_rises_evenly_are_where_they_lie() -> None:
    starts, ends = np.array([3.0, 8.0, 0.0]), np.array([17.0, 13.0, 40.0])
    found = shares(starts, ends, stride=4, pixels=10, cells=7)
    np.testing.assert_allclose(found.sum(axis=2), 1)
    middles = 4 * np.arange(10) + 2.0
    expected = starts[:, None] + (np.arange(7) + 0.5) / 7 * (ends - starts)[:, None]
    np.testing.assert_allclose(found @ middles, np.clip(expected, 2, 38))


def test_the_same_bits_on_every_run_in_any_company() -> None:
    trainings = [made_here(seed) for seed in range(3)]
    trainings.append(replace(trainings[0], seeds=trainings[1].seeds))
    alone = [NativeTwoStage(each) for each in trainings]
    expected = [[each.train_epoch(epoch) for epoch in range(EPOCHS)] for each in alone]
    together = [NativeTwoStage(each) for each in trainings]
    found = [train_epochs(together, epoch, threads=3) for epoch in range(EPOCHS)]
    assert [list(each) for each in zip(*found, strict=True)] == expected
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(flat_parameters(one.parameters()), flat_parameters(other.parameters()))
    # Other seeds draw others of the same images.
    assert len({each[-1] for each in expected}) == 4


def test_nan_is_seen_and_finds_nothing() -> None:
    made = made_here()
    detector = NativeTwoStage(replace(made, rates=np.full_like(made.rates, 1e30)))
    seen = [detector.train_epoch(epoch) for epoch in range(EPOCHS)]
    assert not np.isfinite(seen[-1]).all()
    detector.load([tuple(np.full_like(each, np.nan) for each in own) for own in made.initial])
    assert {len(each) for each in detector.detect(made.images)} == {0}


def epoch_inputs() -> list[np.ndarray]:
    """The arrays of a call that trains, and last those that it writes."""
    return [each.copy() for each in NativeTwoStage(made_here())._call._arrays]


def two_classes_first() -> np.ndarray:
    told = epoch_inputs()[0]
    told[7] = 2
    return told


WRONG = {
    "numbers": (11, lambda: np.zeros(9, np.float32), "as many examples of an image as 0"),
    "positives": (11, lambda: np.array([4, 5, 4, 4, *[1] * 5], np.float32), "more positives than examples"),
    "first stage": (0, two_classes_first, "a first stage of 2 classes"),
    "no second": (14, lambda: np.ones(3, np.int32), "no second stage"),
    "classes": (14, lambda: np.array([0, 3, 6, 7], np.int32), "a number of 0 of regions"),
    "cells": (14, lambda: np.array([3, 4000, 6, 7], np.int32), "features"),
    "hidden": (14, lambda: np.array([3, 3, 6, 7, 8], np.int32), "argument 1 has shape"),
    "starts": (15, lambda: np.full(IMAGES + 1, 10**6, np.int32), "objects of image 0 that are not there"),
    "objects": (16, lambda: np.zeros((len(epoch_inputs()[17]), 3), np.float32), "argument 16 has shape"),
    "label": (17, lambda: np.full_like(epoch_inputs()[17], 3), "a label of 3"),
    "labels": (17, lambda: np.zeros(1, np.int32), "argument 17 has shape"),
    "seeds": (18, lambda: np.zeros(2, np.int32), "argument 18 has shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_errors_and_no_crashes(name: str) -> None:
    index, value, message = WRONG[name]
    inputs = epoch_inputs()
    inputs[index] = value()
    with pytest.raises(ValueError, match=message):
        Call("train_two_stage_epoch", *inputs)()


# That are no place of a box.
NUMBERS = (np.nan, np.inf, -np.inf, 1e30)


@pytest.mark.parametrize("number", NUMBERS)
def test_no_box_leads_beyond_the_image(number: float) -> None:
    inputs = epoch_inputs()
    inputs[16][:] = number
    Call("train_two_stage_epoch", *inputs)()
    # Such a box is on no object, itself included, and teaches what all regions beside objects do.
    assert np.isfinite(inputs[-1]).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        TwoStage((1, 64, 64), 3, ANCHORS, body=(8, 8, 8, 8))


def test_a_network_counts_its_parameters() -> None:
    parameters = TWO_STAGE.initial(np.random.default_rng(0))
    assert sum(each.size for own in parameters for each in own) == TWO_STAGE.parameter_count
    of_classes, of_boxes = np.split(parameters[-1][0], [4])
    np.testing.assert_allclose([of_classes.std(), of_boxes.std()], [0.01, 0.001], rtol=0.3)
