"""Scenes made of digits: their boxes are those of the ink, and their settings are what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.runners.detection import scenes as making
from lossfleet.runners.detection.scenes import SIDES, SOURCES, make_scenes
from lossfleet.runners.portable.objects.boxes import area, intersection


@pytest.fixture
def plain_canvas(monkeypatch: pytest.MonkeyPatch) -> int:
    """Its grey level; there is nothing but digits on it, all equally dark."""
    for name, value in (("CANVAS", (180, 180)), ("CONTRAST", (90, 90)), ("TEXTURE", 0), ("NOISE", 0)):
        monkeypatch.setattr(making, name, value)
    return 180


def test_boxes_are_tight_around_the_ink(plain_canvas: int) -> None:
    made = make_scenes(images=400, size=64, density=1, clutter=0, seed=3).scenes
    seen = []
    for image, boxes in zip(made.images[:, 0], made.boxes, strict=True):
        ink = image != plain_canvas
        for x1, y1, x2, y2 in boxes.astype(int):
            if len(boxes) == 1:
                rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
                assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x1, y1, x2, y2)
                seen.append(y2 - y1)
            ink[y1:y2, x1:x2] = False
        assert not ink.any()
    # Each of the sizes was there.
    assert len(seen) > 100
    assert set(SIDES) <= set(seen)


def test_what_a_box_holds_differs_from_what_is_around_it() -> None:
    made = make_scenes(images=200, density=2, clutter=0).scenes
    contrasts = []
    for image, boxes in zip(made.images[:, 0].astype(float), made.boxes, strict=True):
        around = np.ones_like(image, bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            around[y1:y2, x1:x2] = False
        level = np.median(image[around])
        for x1, y1, x2, y2 in boxes.astype(int):
            contrasts.append(np.abs(image[y1:y2, x1:x2] - level).max())
    # The least contrast, less what texture and noise may take.
    assert min(contrasts) > 40


def test_boxes_are_inside_and_cover_little_of_each_other() -> None:
    made = make_scenes(images=100, size=96, density=4, seed=5)
    scenes = made.scenes
    assert scenes.images.shape == (100, 1, 96, 96)
    assert scenes.images.dtype == np.uint8
    assert len(scenes) == len(scenes.boxes) == len(scenes.labels) == len(scenes.sources) == 100
    largest = 0.0
    for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True):
        assert (boxes.dtype, labels.dtype) == (np.float32, np.int32)
        assert boxes.shape == (len(labels), 4)
        assert (boxes >= 0).all()
        assert (boxes <= 96).all()
        shared = intersection(boxes, boxes) / np.minimum.outer(area(boxes), area(boxes))
        np.fill_diagonal(shared, 0)
        largest = max(largest, shared.max(initial=0))
    assert 0 < largest <= 0.1
    # Some found no place among so many.
    assert "digits left out, which found no place" in made.notes[0]
    # 4 in 64 x 64 pixels are 9 in 96 x 96, within 4 deviations of a Poisson sum, but for those left out.
    left_out = int(made.notes[0].split()[0])
    assert abs(scenes.class_counts.sum() + left_out - 900) < 4 * 30


def test_a_seed_says_the_scenes_however_many_there_are() -> None:
    few, many = make_scenes(images=23, seed=7).scenes, make_scenes(images=41, seed=7).scenes
    other = make_scenes(images=23, seed=8).scenes
    np.testing.assert_array_equal(few.images, many.images[:23])
    for name in ("boxes", "labels"):
        for one, same in zip(getattr(few, name), getattr(many, name), strict=False):
            np.testing.assert_array_equal(one, same)
    assert (few.images != other.images).any(axis=(1, 2, 3)).all()


def test_the_last_class_is_as_rare_as_the_setting_says() -> None:
    made = make_scenes(images=1000, classes=3, imbalance=25, density=2, clutter=0)
    counts = made.scenes.class_counts
    assert made.scenes.class_names == ("0", "1", "2")
    expected = counts.sum() * np.array([25, 5, 1]) / 31
    np.testing.assert_array_less(np.abs(counts - expected), 4 * np.sqrt(expected))
    empty = sum(not len(labels) for labels in made.scenes.labels)
    # exp(-2) of them.
    assert abs(empty - 1000 * np.exp(-2)) < 4 * np.sqrt(1000 * np.exp(-2))
    assert made.reading.said == (
        "64 x 64 pixels",
        "grey",
        f"{counts.sum():,} digits of 3 classes",
        f"{empty:,} scenes without any",
    )


def test_no_two_sources_show_the_same_digit(plain_canvas: int) -> None:
    made = make_scenes(images=400, size=64, density=1.5, classes=2, clutter=0).scenes
    shown: dict[bytes, set[int]] = {}
    for image, boxes, labels, source in zip(
        made.images[:, 0], made.boxes, made.labels, made.sources, strict=True
    ):
        for (x1, y1, x2, y2), label in zip(boxes.astype(int), labels, strict=True):
            if len(boxes) == 1:
                key = bytes([label, x2 - x1]) + image[y1:y2, x1:x2].tobytes()
                shown.setdefault(key, set()).add(int(source))
    assert len(shown) > 100
    assert max(map(len, shown.values())) == 1
    assert set(made.sources.tolist()) == set(range(SOURCES))


def test_clutter_adds_pieces_that_cover_little_of_the_digits(plain_canvas: int) -> None:
    without, cluttered = (make_scenes(images=60, density=1, clutter=clutter, seed=2) for clutter in (0, 9))
    for place in range(60):
        np.testing.assert_array_equal(without.scenes.boxes[place], cluttered.scenes.boxes[place])
    changed = without.scenes.images != cluttered.scenes.images
    assert changed.any(axis=(1, 2, 3)).mean() > 0.9
    inside = [
        changed[place, 0, y1:y2, x1:x2].mean()
        for place, boxes in enumerate(without.scenes.boxes)
        for x1, y1, x2, y2 in boxes.astype(int)
    ]
    assert changed.mean() > 0.05
    assert np.mean(inside) < 0.01


def test_scenes_are_taken_by_index() -> None:
    made = make_scenes(images=30).scenes
    some = made.take(np.array([4, 2, 2]))
    np.testing.assert_array_equal(some.images[0], made.images[4])
    np.testing.assert_array_equal(some.boxes[1], made.boxes[2])
    np.testing.assert_array_equal(some.labels[2], made.labels[2])
    assert some.sources.tolist() == [4, 2, 2]
    assert len(some) == 3


@pytest.mark.parametrize("field", ["images", "boxes", "labels", "class_names", "sources"])
def test_the_digest_changes_with_every_field(field: str) -> None:
    made, same = (make_scenes(images=30, density=3).scenes for _ in range(2))
    assert made.digest == same.digest
    changed = {
        "images": same.images ^ (np.arange(30) == 7)[:, None, None, None].astype(np.uint8),
        "boxes": (same.boxes[0] + 1, *same.boxes[1:]),
        "labels": (same.labels[0] ^ 1, *same.labels[1:]),
        "class_names": ("null", *same.class_names[1:]),
        "sources": same.sources[::-1],
    }
    assert len(same.labels[0]) > 0
    assert replace(same, **{field: changed[field]}).digest != made.digest


def test_the_digest_changes_where_a_box_moves_to_the_next_image() -> None:
    made = make_scenes(images=2, density=3).scenes
    boxes, labels = np.concatenate(made.boxes), np.concatenate(made.labels)
    digests = {
        replace(made, boxes=(boxes[:count], boxes[count:]), labels=(labels[:count], labels[count:])).digest
        for count in range(len(boxes) + 1)
    }
    assert len(digests) == len(boxes) + 1 > 2


def test_scenes_without_a_digit_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.density=0 have no digit.*write data\.density=2"):
        make_scenes(images=5, density=0)
