"""Occlusion maps: by the definition, pixel by pixel, and which images they are of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.images.pixels import Images
from lossfleet.sweeps.report import images as report
from lossfleet.sweeps.report.figures.marks import VIRIDIS
from lossfleet.sweeps.report.figures.occlusion import (
    MOST_IMAGES,
    MOST_PIXELS,
    occlude,
    occlusion_of,
    over,
    squares_of,
)

SHAPE, GREY = (2, 11, 13), (30.0, 200.0)


def predict(images: np.ndarray) -> np.ndarray:
    """Three classes of random weights, in float64."""
    weights = np.random.default_rng(3).normal(0, 0.002, (images.shape[1], 3))
    powers = np.exp(images.astype(np.float64) @ weights)
    return powers / powers.sum(1, keepdims=True)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)


def test_a_map_is_the_mean_fall_under_the_squares_that_cover_a_pixel():
    images = pictures(3)
    side, tops, lefts = 3, range(9), range(11)
    for image, found in zip(images, occlude(predict, images, GREY), strict=True):
        probabilities = predict(image.reshape(1, -1))[0]
        assert found.label == probabilities.argmax()
        assert found.probability == pytest.approx(probabilities.max(), rel=1e-12)
        falls = np.empty((9, 11))
        for top in tops:
            for left in lefts:
                covered = image.astype(float)
                covered[:, top : top + side, left : left + side] = np.reshape(GREY, (2, 1, 1))
                falls[top, left] = probabilities.max() - predict(covered.reshape(1, -1))[0, found.label]
        for y in range(11):
            for x in range(13):
                own = falls[max(0, y - side + 1) : y + 1, max(0, x - side + 1) : x + 1]
                assert found.falls[y, x] == pytest.approx(own.mean(), rel=1e-9)
        assert found.least == pytest.approx(probabilities.max() - falls.max(), rel=1e-9)
        place = np.unravel_index(falls.argmax(), falls.shape)
        changed = (found.covered != image).any(axis=0)
        assert not np.delete(
            np.delete(changed, range(place[0], place[0] + 3), 0), range(place[1], place[1] + 3), 1
        ).any()


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (48, 48), (7, 5), (1, 1), (3, 50), (2, 9)])
def test_squares_cover_every_pixel_and_are_few(size):
    counts = np.zeros(size)
    for square in squares_of(*size):
        assert counts[square].shape == (max(1, round(min(size) / 4)),) * 2
        counts[square] += 1
    assert counts.min() > 0
    assert len(squares_of(*size)) <= 169


def dataset(count: int) -> Dataset:
    return Dataset("toy", Images.of(pictures(count)), np.arange(count) % 3, ("a", "b", "c"), (), "")


def model() -> SimpleNamespace:
    encoder = SimpleNamespace(columns=[{"mean": GREY}], pixels=lambda images: images)
    return SimpleNamespace(
        encoder=encoder, logits=lambda features: features, probabilities=predict, classes=["a", "b", "c"]
    )


def mistakes(count: int) -> pd.DataFrame:
    probability = np.random.default_rng(1).permutation(count) / count
    columns = {"class": "a", "taken_for": "b", "probability": probability}
    return pd.DataFrame(columns, index=np.random.default_rng(2).permutation(count))


def test_the_most_confident_mistakes_have_maps():
    table = mistakes(MOST_IMAGES + 7)
    sheet = occlusion_of(dataset(len(table)), table, model(), "focal")
    worst = table.sort_values("probability", ascending=False).index[:MOST_IMAGES].to_numpy()
    maps = occlude(predict, pictures(len(table))[worst], GREY)
    assert [words.split("\n") for words, _ in sheet.rows] == [
        [
            "a taken for b",
            f"kept model: {'abc'[each.label]} {each.probability:.2f}",
            f"covered: {each.least:.2f}",
        ]
        for each in maps
    ]
    assert {images.shape for _, images in sheet.rows} == {(3, 3, *SHAPE[1:])}
    largest = max(each.falls.max() for each in maps)
    assert f"by {largest:.2f}." in sheet.caption
    assert occlusion_of(dataset(3), mistakes(3)[:0], model(), "focal") is None


def test_a_map_is_violet_where_nothing_falls_and_yellow_where_most_does():
    falls = np.array([[-0.2, 0.0, 0.25, 0.5]])
    found = over(np.zeros((3, 1, 4), np.uint8), falls, 0.5)
    ends = [
        [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
        for colour in (VIRIDIS[0], VIRIDIS[4], VIRIDIS[-1])
    ]
    np.testing.assert_allclose(found[:, 0].T, 0.7 * np.array(ends)[[0, 0, 1, 2]], atol=0.51)
    # Without any fall there is no scale.
    assert over(np.zeros((3, 1, 4), np.uint8), np.zeros((1, 4)), 0.0).shape == (3, 1, 4)


def test_why_there_are_no_maps_is_said(tmp_path, capsys):
    final = SimpleNamespace(strategy="focal", trial=3)
    assert report._occlusion(dataset(3), mistakes(3), final, tmp_path, None) is None
    assert capsys.readouterr().err == "there are no occlusion maps, as no model of focal is kept\n"
    # Nor is one of another final evaluation its model.
    (tmp_path / "models/focal/data").mkdir(parents=True)
    (tmp_path / "models/focal/data/model.json").write_text('{"made": {"trial": 2}}')
    assert report._occlusion(dataset(3), mistakes(3), final, tmp_path, None) is None
    assert "as no model of focal is kept" in capsys.readouterr().err
    large = np.zeros((1, 1, 1, MOST_PIXELS + 1), np.uint8)
    images = Dataset("toy", Images.of(large), np.zeros(1, int), ("a",), (), "")
    assert report._occlusion(images, mistakes(1), final, tmp_path, None) is None
    assert "of images of more than 4,096 pixels" in capsys.readouterr().err
