"""Augmentation of images: by its definition in float64, its identities, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from lossfleet.runners.training import augmentation
from lossfleet.runners.training.augmentation import (
    affine_maps,
    standard,
    transformed,
    transformed_in_numpy,
)
from lossfleet.runners.training.native.call import Call

OFF = dict.fromkeys(("shift", "flip", "rotate", "crop", "cut_out", "brightness"), 0.0)
# The core, and what takes its place where there is none.
BOTH = pytest.mark.parametrize("transform", [transformed, transformed_in_numpy])
SHAPES = [(7, 3, 11, 5), (13, 1, 8, 8), (3, 2, 48, 47), (5, 1, 1, 1), (2, 1, 1, 9)]


def images_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def numbers_of(shape: tuple[int, ...], seed: int = 1) -> dict[str, np.ndarray]:
    """What `affine_maps` takes, far beyond what anyone draws."""
    random, sides = np.random.default_rng(seed), np.array(shape[2:])
    return {
        "flipped": random.random(shape[0]) < 0.5,
        "degrees": random.uniform(-180, 180, shape[0]),
        "shift": random.uniform(-0.6, 0.6, (shape[0], 2)) * sides,
        "crop": random.uniform(0, 0.9, shape[0]),
        "middle": random.uniform(-0.4, 0.4, (shape[0], 2)) * sides,
    }


def nothing(count: int) -> dict[str, np.ndarray]:
    """What `affine_maps` takes to leave images as they are."""
    return {
        "flipped": np.zeros(count, bool),
        "degrees": np.zeros(count),
        "shift": np.zeros((count, 2)),
        "crop": np.zeros(count),
        "middle": np.zeros((count, 2)),
    }


def in_turn(image: np.ndarray, number: int, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """The definition: an image (height, width) through one inverse step after the other, from the last to the first."""
    middle = (np.array(image.shape) - 1)[:, None] / 2
    places = np.indices(image.shape).reshape(2, -1) - middle
    places = places - numbers["shift"][number][:, None]
    angle = -np.deg2rad(numbers["degrees"][number])
    down, along = places
    # Rows go down: to the left is counter-clockwise from above.
    places = np.array(
        [down * np.cos(angle) - along * np.sin(angle), down * np.sin(angle) + along * np.cos(angle)]
    )
    if numbers["flipped"][number]:
        places[1] = -places[1]
    places = places * (1 - numbers["crop"][number]) + numbers["middle"][number][:, None]
    found = map_coordinates(image.astype(np.float64), places + middle, order=1, mode="nearest")
    return found.reshape(image.shape)


@BOTH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_are_those_of_the_definition(shape, transform):
    images, numbers, random = images_of(shape), numbers_of(shape), np.random.default_rng(2)
    brightness, (height, width) = random.normal(size=shape[0]), shape[2:]
    first = random.integers(0, shape[2:], (shape[0], 2))
    squares = np.concatenate([first, random.integers(first, np.add(shape[2:], 1))], axis=1)
    expected = np.array(
        [[in_turn(channel, n, numbers) for channel in image] for n, image in enumerate(images)]
    )
    expected += brightness[:, None, None, None]
    for image, (top, left, bottom, right) in zip(expected, squares, strict=True):
        image[:, top:bottom, left:right] = 0
    found = transform(images, affine_maps(**numbers), squares, brightness)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert height * width == 1 or not np.allclose(found, images, atol=0.1)


def through(transform, images: np.ndarray, **numbers: object) -> np.ndarray:
    count = len(images)
    maps = affine_maps(
        **(nothing(count) | {name: np.array([each] * count) for name, each in numbers.items()})
    )
    return transform(images, maps, np.zeros((count, 4), int), np.zeros(count))


@BOTH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_leaves_pixels_whole_gives_their_bits(shape, transform):
    images = images_of(shape)
    np.testing.assert_array_equal(through(transform, images), images)
    mirrored = through(transform, images, flipped=True)
    np.testing.assert_array_equal(mirrored, images[..., ::-1])
    np.testing.assert_array_equal(through(transform, mirrored, flipped=True), images)
    rows, columns = np.arange(shape[2]), np.arange(shape[3])
    moved = through(transform, images, shift=(3, -2))
    expected = images[:, :, np.clip(rows - 3, 0, None)][..., np.clip(columns + 2, None, shape[3] - 1)]
    np.testing.assert_array_equal(moved, expected)
    # A full turn takes a pixel from another one but for 1e-16 of the way.
    np.testing.assert_allclose(through(transform, images, degrees=180.0), images[..., ::-1, ::-1], atol=1e-5)
    if shape[2] == shape[3]:
        turned = through(transform, images, degrees=90.0)
        np.testing.assert_allclose(turned, np.rot90(images, axes=(2, 3)), atol=1e-5)


def test_a_half_of_an_image_is_enlarged_to_twice_its_size():
    ramp = np.tile(np.arange(16, dtype=np.float32), (1, 1, 16, 1))
    found = through(transformed, ramp, crop=0.5, middle=(0.0, -4.0))
    # Columns 0 to 7, the middle of an outer pixel a quarter of one beyond that of the first.
    np.testing.assert_allclose(found[0, 0, 3], np.clip(np.arange(16) / 2 - 0.25, 0, None), atol=1e-6)


def maps_found(count: int, size: tuple[int, int], **strengths: float) -> np.ndarray:
    """The matrices (n, 2, 3) that images were transformed by, read off images that show where pixels come from."""
    height, width = size
    ramps = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).astype(np.float32)
    images = np.repeat(ramps[None], count, axis=0) - (np.array(size)[:, None, None] - 1) / 2
    found = standard(images.astype(np.float32), random=np.random.default_rng(0), **{**OFF, **strengths})
    middle = found[:, :, height // 2, width // 2]
    down = found[:, :, height // 2 + 1, width // 2] - middle
    along = found[:, :, height // 2, width // 2 + 1] - middle
    return np.stack([down, along, middle], axis=2)


def test_each_strength_moves_images_as_it_says_and_nothing_else():
    size, still = (41, 21), np.eye(2, 3)

    def found(**strengths: float) -> np.ndarray:
        return maps_found(1000, size, **strengths)

    moved = found(shift=0.2)
    np.testing.assert_allclose(moved[..., :2], np.broadcast_to(still[:, :2], (1000, 2, 2)), atol=1e-5)
    check_uniform(moved[..., 2] / size, -0.2, 0.2)
    turned = found(rotate=30.0)
    np.testing.assert_allclose(turned[..., 2], 0, atol=1e-5)
    np.testing.assert_allclose(
        turned[..., :2] @ turned[..., :2].transpose(0, 2, 1), np.tile(np.eye(2), (1000, 1, 1)), atol=1e-4
    )
    check_uniform(np.rad2deg(np.arctan2(turned[:, 0, 1], turned[:, 0, 0])), -30, 30)
    cropped = found(crop=0.4)
    scale = cropped[:, 0, 0]
    check_uniform(1 - scale, 0, 0.4)
    np.testing.assert_allclose(cropped[..., :2], scale[:, None, None] * still[:, :2], atol=1e-5)
    # What is left may be anywhere in the image, and is never beyond it.
    check_uniform(cropped[..., 2] / size / (1 - scale)[:, None], -0.5, 0.5)
    mirrored = found(flip=0.3)[:, 1, 1]
    assert set(np.round(mirrored, 5)) == {-1, 1}
    assert abs((mirrored < 0).mean() - 0.3) < 0.05
    # They are drawn apart from each other.
    all_at_once = found(flip=0.5, rotate=30.0, crop=0.4)
    scale = np.hypot(all_at_once[:, 0, 0], all_at_once[:, 0, 1])
    angle = np.arctan2(all_at_once[:, 0, 1], all_at_once[:, 0, 0])
    drawn = np.stack([scale, angle, np.sign(all_at_once[:, 1, 1])])
    np.testing.assert_allclose(np.corrcoef(drawn), np.eye(3), atol=0.1)


def check_uniform(found: np.ndarray, least: float, most: float) -> None:
    assert found.min() >= least - 1e-4
    assert found.max() <= most + 1e-4
    np.testing.assert_allclose(found.mean(0), (least + most) / 2, atol=0.08 * (most - least))
    np.testing.assert_allclose(found.std(0), (most - least) / 12**0.5, rtol=0.08)
    if found.ndim == 2:
        assert abs(np.corrcoef(found.T)[0, 1]) < 0.1


def test_strengths_do_not_change_what_the_others_draw():
    images = images_of((19, 2, 9, 9))
    alone = standard(images, random=np.random.default_rng(3), **{**OFF, "brightness": 0.5})
    both = standard(images, random=np.random.default_rng(3), **{**OFF, "brightness": 0.5, "flip": 1.0})
    np.testing.assert_array_equal(both, alone[..., ::-1])
    added = alone - images
    np.testing.assert_allclose(added, added[:, :1, :1, :1].repeat(2, 1).repeat(9, 2).repeat(9, 3), atol=1e-6)
    assert 0.4 < np.abs(added).max() <= 0.5
    assert added.min() < 0 < added.max()


def test_squares_become_the_mean():
    images = images_of((500, 2, 9, 14)) + 10
    covered = standard(images, random=np.random.default_rng(3), **{**OFF, "cut_out": 0.4}) == 0
    np.testing.assert_array_equal(covered[:, 0], covered[:, 1])
    # 0.4 of 9 pixels is 4, where none of it is beyond the image.
    heights, widths = covered[:, 0].any(2).sum(1), covered[:, 0].any(1).sum(1)
    np.testing.assert_array_equal(covered[:, 0].sum((1, 2)), heights * widths)
    assert (set(heights), set(widths)) == ({2, 3, 4}, {2, 3, 4})
    assert covered[:, 0].any(0).all()
    np.testing.assert_array_equal(
        standard(images, random=np.random.default_rng(3), **{**OFF, "cut_out": 0.05}), images
    )


def test_without_strengths_images_are_what_they_were():
    images = images_of((3, 1, 4, 4))
    assert standard(images, random=np.random.default_rng(0), **OFF) is images


def test_numpy_takes_the_place_of_the_core(monkeypatch):
    images = images_of((29, 3, 12, 10))
    found, draws = {}, {"cut_out": 0.3, "flip": 0.5}
    for reason in (None, "no compiler"):
        monkeypatch.setattr(augmentation, "obstacle", lambda reason=reason: reason)
        found[reason] = standard(images, random=np.random.default_rng(7), **draws)
    assert (found[None] != images).any()
    np.testing.assert_allclose(found["no compiler"], found[None], atol=1e-5)


IMAGES = np.zeros((2, 1, 3, 4), np.float32)
MAPS, SQUARES, BRIGHTNESS = np.zeros((2, 6), np.float32), np.zeros((2, 4), np.int32), np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("place", "array", "message"),
    [
        (0, np.zeros((2, 3, 4), np.float32), r"argument 0 has shape \(2, 3, 4\)"),
        (0, IMAGES.astype(np.int32), "argument 0 is of int32; expected float32"),
        (1, MAPS[:1], r"argument 1 has shape \(1, 6\); expected \(2, 6\)"),
        (2, SQUARES + np.int32([0, 0, 4, 1]), "a square beyond its image"),
        (2, SQUARES + np.int32([0, 0, 1, 5]), "a square beyond its image"),
        (2, SQUARES - np.int32([0, 1, 0, 0]), "a square beyond its image"),
        (3, BRIGHTNESS[:1], "argument 3 has shape"),
        (4, IMAGES[..., :3].copy(), "argument 4 has shape"),
    ],
)
def test_the_core_refuses_what_does_not_fit(place, array, message):
    arguments = [IMAGES, MAPS, SQUARES, BRIGHTNESS, np.empty_like(IMAGES)]
    arguments[place] = array
    with pytest.raises(ValueError, match=message):
        Call("augment_images", *arguments)()


@BOTH
def test_an_image_is_made_of_itself_alone(transform):
    shape = (5, 3, 6, 4)
    images, numbers = np.full(shape, np.nan, np.float32), numbers_of(shape)
    images[2] = 1
    found = transform(images, affine_maps(**numbers), np.zeros((5, 4), int), np.zeros(5))
    np.testing.assert_array_equal(found[2], images[2])
    assert np.isnan(found[[0, 1, 3, 4]]).all()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e38])
def test_no_map_leads_beyond_the_image(number):
    images = images_of((2, 1, 3, 4))
    found = transformed(images, np.full((2, 6), number, np.float32), SQUARES, BRIGHTNESS)
    assert np.isin(found, images).all()
