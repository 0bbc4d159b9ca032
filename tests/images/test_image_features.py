"""Images as features: a mean and a deviation a channel, the same numbers in every engine, no copies of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from lossfleet.runners.images.pixels import Images, standardised

COUNT, SHAPE = 2053, (3, 5, 7)


def images(kind: type, *, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    channels = random.normal([[90.0], [30.0], [200.0]], [[40.0], [9.0], [25.0]], (COUNT, 3, 35))
    return np.clip(channels, 0, 255).round().astype(kind).reshape(COUNT, *SHAPE)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_each_channel_is_standardised_by_the_training_part(kind):
    array = images(kind)
    whole = Images.of(array)
    train, test = np.arange(0, COUNT, 2), np.arange(1, COUNT, 2)
    parts = standardised([whole.take(train), whole.take(test)])
    own = array[train].astype(np.float64)
    mean, deviation = own.mean((0, 2, 3)), own.std((0, 2, 3))
    for part, rows in zip(parts, (train, test), strict=True):
        expected = (array[rows] - mean[:, None, None]) / deviation[:, None, None]
        found = np.asarray(part)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.reshape(len(rows), -1), atol=2e-6)
        np.testing.assert_array_equal(found[5:9], part[5:9])
        np.testing.assert_array_equal(found[3], part[3])
        assert part.shape == found.shape
    # Pixels of a channel are moved alike, so that one that is brighter everywhere stays so.
    assert len(np.unique(parts[0].mean)) == 3


@pytest.mark.parametrize("value", [7, 0.1])
def test_a_channel_that_does_not_vary_in_training_is_0_everywhere(value):
    array = images(np.uint8 if value == 7 else np.float32)
    array[: COUNT // 2, 1] = value
    whole = Images.of(array)
    parts = standardised([whole.take(np.arange(COUNT // 2)), whole.take(np.arange(COUNT // 2, COUNT))])
    for part in parts:
        found = np.asarray(part).reshape(-1, *SHAPE)
        assert np.abs(found[:, 1]).max() == 0
        assert found[:, 0].std() > 0.5


def test_equal_images_are_found_wherever_they_are():
    array = images(np.uint8)
    array[[1500, 1900]] = array[3]
    array[1901] = array[1900] + 1
    expected = np.arange(COUNT)
    expected[[1500, 1900]] = 3
    np.testing.assert_array_equal(Images.of(array).equal(), expected)
    some = Images.of(array).take(np.array([1900, 4, 3]))
    np.testing.assert_array_equal(some.equal(), [0, 1, 0])


def test_a_digest_tells_pixels_and_shapes_apart():
    array = images(np.uint8)
    changed = array.copy()
    changed[2000, 2, 4, 6] += 1
    digests = [
        Images.of(each).digest()
        for each in (array, changed, array.astype(float), array.reshape(COUNT, 1, 15, 7), array[::-1])
    ]
    assert len(set(digests)) == 5
    assert Images.of(array).digest() == digests[0]
