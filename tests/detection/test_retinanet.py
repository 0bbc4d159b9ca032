"""The network as data, what it learns, and from what it says to objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_detectors import NETWORK, noise

from lossfleet.runners.detection.anchors import BACKGROUND, IGNORED, match
from lossfleet.runners.detection.targets import Targets
from lossfleet.runners.portable.objects.boxes import clip, decode, encode, suppress_by_class
from lossfleet.runners.portable.objects.decoding import Suppression, detections, suppress_in_numpy
from lossfleet.runners.training.native.detector_training import suppress_natively


def test_a_network_counts_its_parameters_and_begins_with_its_prior() -> None:
    parameters = NETWORK.initial(np.random.default_rng(0))
    assert sum(each.size for own in parameters for each in own) == NETWORK.parameter_count
    assert len(NETWORK.anchor_boxes) == NETWORK.anchor_count
    assert NETWORK.sizes == [(6, 7), (3, 4)]
    of_classes = parameters[-3][1]
    assert len(of_classes) == 2 * NETWORK.classes
    np.testing.assert_allclose(1 / (1 + np.exp(-of_classes)), 0.2, rtol=1e-6)
    np.testing.assert_allclose(parameters[-3][0].std(), 0.01, rtol=0.2)
    even = replace(NETWORK, prior=None).initial(np.random.default_rng(0))
    assert not even[-3][1].any()


def test_targets_are_the_matched_boxes_as_deltas() -> None:
    scenes, anchors = noise(), NETWORK.anchor_boxes
    images = np.array([4, 0, 9, 3, 2])
    labels, deltas = Targets.of(scenes, anchors).dense(images, len(anchors))
    for image, own, of_image in zip(images, labels, deltas, strict=True):
        box = match(anchors, scenes.boxes[image])
        np.testing.assert_array_equal(own[box < 0], box[box < 0])
        np.testing.assert_array_equal(own[box >= 0], scenes.labels[image][box[box >= 0]])
        expected = encode(scenes.boxes[image][box[box >= 0]], anchors[box >= 0])
        np.testing.assert_allclose(of_image[box >= 0], expected, rtol=1e-4, atol=1e-5)
        assert not of_image[box < 0].any()
    assert {BACKGROUND, IGNORED, 0, 1, 2} == set(labels.ravel())


@pytest.mark.parametrize("suppression", [suppress_in_numpy, suppress_natively])
def test_found_are_the_best_of_each_image_without_doubles(suppression: Suppression) -> None:
    random, anchors = np.random.default_rng(3), NETWORK.anchor_boxes
    logits = random.normal(-3, 2, (4, len(anchors), NETWORK.classes)).astype(np.float32)
    deltas = random.normal(0, 0.5, (4, len(anchors), 4)).astype(np.float32)
    logits[0] -= 2
    logits[2] = -9
    found = detections(logits, deltas, anchors, NETWORK.image_shape, suppression=suppression)
    for image, own in enumerate(found):
        scores = 1 / (1 + np.exp(-logits[image]))
        anchor, label = np.nonzero(scores > 0.05)
        boxes = clip(decode(deltas[image][anchor], anchors[anchor]), *NETWORK.image_shape[1:])
        kept = suppress_by_class(boxes, scores[anchor, label], label, iou_threshold=0.5)[:100]
        np.testing.assert_array_equal(own.labels, label[kept])
        np.testing.assert_allclose(own.scores, scores[anchor, label][kept], rtol=1e-5)
        np.testing.assert_allclose(own.boxes, boxes[kept], rtol=1e-5, atol=1e-4)
    assert 10 < len(found[0]) < 100
    assert [len(each) for each in found[1:3]] == [100, 0]


def test_natively_nothing_is_suppressed_of_nothing() -> None:
    empty = np.zeros((0, 4), np.float32)
    kept = suppress_natively(empty, np.zeros(0, np.int32), np.zeros(3, np.int32), 0.5)
    assert kept.shape == (0,)
