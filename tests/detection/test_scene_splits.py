"""Scenes as a data set: what stands for a row's class, whole sources in one part, and what is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.detection.dataset import SceneDataset, scene_dataset
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.detection.splits import make_scene_split
from lossfleet.runners.images.parts import TEST, TRAINING

SHARES = Shares(0.2, 0.25)
# Of each image the classes of its objects, of three; class 2 is the rarest, class 0 the most frequent.
OBJECTS = [(0, 0, 1), (), (0, 2), (1, 0), (0,), (2, 1, 0), (1, 1, 0)]
RAREST = [1, 0, 2, 1, 0, 2, 1]


def dataset(copies: int = 11, **changes) -> SceneDataset:
    labels = tuple(np.array(each, np.int32) for each in OBJECTS * copies)
    boxes = tuple(np.tile(np.array([[1, 2, 5, 9]], np.float32), (len(each), 1)) for each in labels)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 11, 13), np.uint8)
    # Sources of three images each.
    scenes = Scenes(images, boxes, labels, ("a", "b", "c"), np.arange(len(labels)) // 3)
    return scene_dataset("toy", scenes, source="here", said=("small",), **changes)


def test_the_class_of_an_image_is_its_rarest_and_counts_are_of_objects():
    found = dataset(copies=2)
    assert found.labels.tolist() == RAREST * 2
    assert found.class_counts.tolist() == [14, 10, 4]
    assert found.counts_among(np.arange(7)).tolist() == [6, 4, 2]
    assert found.lines() == ["14 images; small", "classes (3): a 14, b 10, c 4; the rarest is c"]
    assert found.describe()["class_counts"] == [14, 10, 4]


def test_the_digest_is_of_boxes_and_parts_too():
    plain = dataset()
    moved = replace(plain.scenes, boxes=tuple(each + 1 for each in plain.scenes.boxes))
    given = np.zeros(len(plain.labels), np.int8)
    digests = {plain.digest, replace(plain, scenes=moved).digest, replace(plain, parts=given).digest}
    assert len(digests) == 3
    assert dataset().digest == plain.digest


@pytest.mark.parametrize("seed", range(3))
def test_whole_sources_are_in_one_part(seed):
    found = dataset()
    split = make_scene_split(found, SHARES, seed=seed, split=seed)
    parts = [split.train_rows, split.validation_rows, split.test_rows]
    assert sorted(np.concatenate(parts)) == list(range(77))
    sources = [set(found.scenes.sources[rows]) for rows in parts]
    assert sum(map(len, sources)) == len(set().union(*sources)) == 26
    assert (found.counts_among(split.test_rows) > 0).all()
    assert split.draws == len(split.train_rows)
    np.testing.assert_array_equal(split.class_counts, found.scenes.take(split.train_rows).class_counts)
    np.testing.assert_array_equal(split.test_labels, found.labels[split.test_rows])
    other = make_scene_split(found, SHARES, seed=seed, split=seed + 1)
    assert set(other.test_rows) != set(split.test_rows)


def test_given_parts_are_kept_and_one_without_objects_is_refused():
    parts = np.full(77, TRAINING, np.int8)
    parts[66:] = TEST
    split = make_scene_split(dataset(parts=parts), SHARES, seed=0, split=0)
    assert split.test_rows.tolist() == list(range(66, 77))
    assert len(split.validation_rows) > 0
    nothing = dataset(copies=1, parts=np.array([TRAINING] * 6 + [TEST], np.int8))
    empty = [*nothing.scenes.labels[:6], np.zeros(0, np.int32)]
    scenes = replace(nothing.scenes, labels=tuple(empty), sources=np.arange(7))
    with pytest.raises(UserError, match="the test part of toy, 1 of 7 images, has no object"):
        make_scene_split(replace(nothing, scenes=scenes, groups=scenes.sources), SHARES, seed=0, split=0)
