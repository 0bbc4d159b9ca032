"""Detectors of both engines: their loss and gradient by definition, their training step by step, what they refuse."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_detectors import (
    EPOCHS,
    IMAGES,
    LOSSES,
    NETWORK,
    check_gradient,
    forward,
    kept_anchors,
    losses,
    noise,
    repeated,
    smaller_batches,
    training,
)

from lossfleet.runners.detection.anchors import IGNORED
from lossfleet.runners.detection.objective import DetectionLoss, HardAnchors
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.solo.detector import SoloDetector
from lossfleet.runners.detection.targets import Targets
from lossfleet.runners.detection.training import Training
from lossfleet.runners.models.initial import Parameters
from lossfleet.runners.portable.objects.anchors import Anchors
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.detector import NativeDetector
from lossfleet.runners.training.native.detector_training import train_epochs
from lossfleet.runners.training.native.translation import flat_parameters

ENGINES = {"native": NativeDetector, "solo": SoloDetector}
# One level, one anchor a place, no convolution in the heads but the last; three levels, more images than a block.
OTHERS = {
    "one level": RetinaNet((1, 9, 13), 1, Anchors((4,), (6.0,)), body=(3, 2), width=3, depth=0),
    "three levels": RetinaNet(
        (1, 33, 17), 2, Anchors((2, 4, 8), (4.0, 6.0, 9.0), ratios=(0.5, 1.0, 2.0)), body=(4, 4, 4), depth=2
    ),
}


@cache
def by_definition(name: str) -> tuple[Training, tuple[float, float], list[tuple[list[Parameters], float]]]:
    """A training, its losses, and along a direction of each convolution's parameters the slope of their sum."""
    made = training(LOSSES[name])
    exact = [tuple(each.astype(float) for each in own) for own in made.initial]
    random, along = np.random.default_rng(5), []
    for layer in range(len(exact)):
        direction = [
            tuple(random.normal(size=each.shape) * (n == layer) for each in own)
            for n, own in enumerate(exact)
        ]
        ends = []
        for step in (1e-6, -1e-6):
            moved = [
                tuple(each + step * way for each, way in zip(*pair, strict=True))
                for pair in zip(exact, direction, strict=True)
            ]
            ends.append(sum(losses(made, moved)))
        along.append((direction, (ends[0] - ends[1]) / 2e-6))
    return made, losses(made, exact), along


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("engine", ENGINES)
def test_loss_and_gradient_are_those_of_the_definition(engine: str, name: str) -> None:
    made, expected, along = by_definition(name)
    check_gradient(ENGINES[engine], made, expected, along)


@pytest.mark.parametrize("name", ["focal", "cross-entropy"])
def test_the_losses_of_anchors_add_up_to_that_of_training(name: str) -> None:
    made, (of_classes, _), _ = by_definition(name)
    rows = made.plan[0]
    labels, _ = made.targets.dense(rows, NETWORK.anchor_count)
    logits, _ = NativeDetector(made).predict(made.images[rows])
    of_anchors = made.loss.of_anchors(logits, labels)
    assert of_anchors.shape == labels.shape
    np.testing.assert_allclose(of_anchors.sum() / (labels >= 0).sum(), of_classes, rtol=1e-5)


def test_the_losses_keep_different_anchors() -> None:
    made = training(LOSSES["focal"])
    rows = made.plan[0]
    labels, _ = made.targets.dense(rows, NETWORK.anchor_count)
    of_anchors = np.random.default_rng(3).random(labels.shape)
    counts = {
        name: [
            len(kept_anchors(loss.mining, own, of_image, NETWORK.anchor_boxes))
            for own, of_image in zip(of_anchors, labels, strict=True)
        ]
        for name, loss in LOSSES.items()
    }
    assert counts["focal"] == (labels != IGNORED).sum(1).tolist()
    assert set(counts["hardest"]) == {9}
    assert set(counts["hardest after suppression"]) == {7}
    assert len(set(counts["ratio"])) > 2
    assert counts["ratio"] != counts["ratio after suppression"]


# Ten epochs of the cheap ones.
@pytest.mark.parametrize(("name", "times"), [("focal", 5), ("hardest after suppression", 1), ("ratio", 5)])
def test_native_training_is_solo_training(name: str, times: int) -> None:
    check_trainings(repeated(smaller_batches(training(LOSSES[name]), 9), times))


@pytest.mark.parametrize(("name", "times"), [("one level", 5), ("three levels", 1)])
def test_native_training_is_solo_training_of_other_networks(name: str, times: int) -> None:
    check_trainings(repeated(training(LOSSES["focal"], OTHERS[name]), times))


def check_trainings(made: Training) -> None:
    """Both have the same losses, and after two epochs the same parameters and finds."""
    native, solo = NativeDetector(made), SoloDetector(made)
    for epoch in range(len(made.plan)):
        np.testing.assert_allclose(native.train_epoch(epoch), solo.train_epoch(epoch), rtol=1e-4)
        if epoch + 1 == EPOCHS:
            check_networks(native, solo, made.network)


def check_networks(native: NativeDetector, solo: SoloDetector, network: RetinaNet) -> None:
    images = noise(network, seed=1).images
    for found, expected in zip(native.predict(images), solo.predict(images), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    for found, expected in zip(native.parameters(), solo.parameters(), strict=True):
        for own, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)
    for found, expected in zip(native.detect(images), solo.detect(images), strict=True):
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", OTHERS)
def test_predictions_are_those_of_the_definition(name: str) -> None:
    network = OTHERS[name]
    made = training(LOSSES["focal"], network)
    images = noise(network, seed=1).images
    mean, factor = made.standardisation.astype(float).reshape(2, *network.image_shape)
    expected = forward(network, made.initial, (images - mean) * factor)
    for found, exact in zip(NativeDetector(made).predict(images), expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)


def test_the_same_bits_on_every_run_in_any_company() -> None:
    trainings = [training(loss, seed=seed) for seed, loss in enumerate(LOSSES.values())]
    alone = [NativeDetector(each) for each in trainings]
    expected = [[each.train_epoch(epoch) for epoch in range(EPOCHS)] for each in alone]
    together = [NativeDetector(each) for each in trainings]
    found = [train_epochs(together, epoch, threads=3) for epoch in range(EPOCHS)]
    assert [list(each) for each in zip(*found, strict=True)] == expected
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(flat_parameters(one.parameters()), flat_parameters(other.parameters()))
    assert len({each[-1] for each in expected}) == len(expected)


@pytest.mark.parametrize("name", ["focal", "hardest after suppression", "ratio"])
def test_nan_is_seen(name: str) -> None:
    made = training(LOSSES[name])
    made = replace(made, rates=np.full_like(made.rates, 1e30))
    detector = NativeDetector(made)
    seen = [detector.train_epoch(epoch) for epoch in range(EPOCHS)]
    assert not np.isfinite(seen[-1]).all()


def test_images_without_objects_teach_that_there_are_none() -> None:
    scenes = noise()
    empty = replace(
        scenes,
        boxes=tuple(each[:0] for each in scenes.boxes),
        labels=tuple(each[:0] for each in scenes.labels),
    )
    made = replace(training(LOSSES["focal"]), targets=Targets.of(empty, NETWORK.anchor_boxes))
    check_trainings(made)


def epoch_inputs() -> list[np.ndarray]:
    """The arrays of a call that trains, and last those that it writes."""
    return [each.copy() for each in NativeDetector(training(LOSSES["ratio"]))._call._arrays]


def told(place: int, value: int) -> np.ndarray:
    changed = epoch_inputs()[0]
    changed[place] = value
    return changed


WRONG = {
    "no body": (0, lambda: epoch_inputs()[0][:8], "a detector without a body"),
    "classes": (0, lambda: told(7, 0), "a size of 0"),
    "depth": (0, lambda: told(5, -1), "a size of -1"),
    "deep": (0, lambda: told(5, 100), "a head of 100 convolutions"),
    "levels": (0, lambda: told(3, 4), "more levels than stages of the body"),
    "large": (0, lambda: np.array([1, 2048, 2048, 1, 4, 1, 2, 3, 2000], np.int32), "numbers an image"),
    "another body": (0, lambda: told(9, 7), "argument 1 has shape"),
    "parameters": (1, lambda: np.zeros(7, np.float32), "argument 1 has shape"),
    "images": (4, lambda: np.zeros((IMAGES, 7), np.uint8), "argument 4 has shape"),
    "starts": (5, lambda: np.zeros(IMAGES, np.int32), "argument 5 has shape"),
    "falling starts": (
        5,
        lambda: np.arange(IMAGES + 1, dtype=np.int32)[::-1].copy(),
        "of image 0 that are not there",
    ),
    "far starts": (5, lambda: np.full(IMAGES + 1, 10**6, np.int32), "of image 0 that are not there"),
    "anchor": (6, lambda: np.full_like(epoch_inputs()[6], NETWORK.anchor_count), "a matched anchor"),
    "label": (6, lambda: np.full_like(epoch_inputs()[6], NETWORK.classes), "a label of 3"),
    "background": (6, lambda: np.full_like(epoch_inputs()[6], 0) - [[0, 1]], "argument 6 is of int64"),
    "deltas": (7, lambda: np.zeros((2, 4), np.float32), "argument 7 has shape"),
    "anchors": (8, lambda: np.zeros((5, 4), np.float32), "argument 8 has shape"),
    "plan": (9, lambda: np.full(IMAGES, IMAGES, np.int32), f"a plan with image {IMAGES}"),
    "batch": (10, lambda: np.array([0, 0], np.int32), "a batch of 0"),
    "optimizer": (10, lambda: np.array([IMAGES, 4], np.int32), "an unknown optimizer"),
    "numbers": (11, lambda: np.zeros(5, np.float32), "argument 11 has shape"),
    "coefficients": (12, lambda: np.zeros((3, 2), np.float32), "argument 12 has shape"),
    "standardisation": (13, lambda: np.zeros((2, 5), np.float32), "argument 13 has shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_errors_and_no_crashes(name: str) -> None:
    index, value, message = WRONG[name]
    inputs = epoch_inputs()
    inputs[index] = value()
    with pytest.raises(ValueError, match=message):
        Call("train_detector_epoch", *inputs)()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: HardAnchors(0.5),
        lambda: RetinaNet((1, 64, 64), 3, Anchors((4, 8), (6.0, 12.0)), body=(8, 8, 8, 8)),
    ],
)
def test_what_cannot_be_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()


def test_mining_of_all_is_none() -> None:
    plain, all_kept = (
        NativeDetector(training(DetectionLoss(0.0, None, mining)))
        for mining in (None, HardAnchors(examples=10**6))
    )
    np.testing.assert_allclose(plain.train_epoch(0), all_kept.train_epoch(0), rtol=1e-6)
