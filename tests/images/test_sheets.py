"""Sheets of images: which images they have, where, and that the page has them."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from figures_frame import figures_frame
from image_files import brought, write_folder
from PIL import Image

from lossfleet.conf.parts import named_part
from lossfleet.runners.data.builtin import Dataset, wine
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import make_split
from lossfleet.runners.images.pixels import Images
from lossfleet.sweeps.report import figures
from lossfleet.sweeps.report.figures.sheets import (
    GAP,
    MOST_IMAGES,
    Sheet,
    augmented_examples,
    canvas_of,
    coloured,
    examples_of,
    mistakes_of,
)
from lossfleet.sweeps.report.images import draw_examples

COUNTS = {"blight": 7, "healthy": 17, "rust": 11}


def test_examples_are_images_of_their_class(tmp_path):
    write_folder(tmp_path / "leaves", COUNTS)
    dataset = open_dataset(brought("images", tmp_path / "leaves"))
    sheet = examples_of(dataset)
    assert [label for label, _ in sheet.rows] == ["blight\n7", "rust\n11", "healthy\n17"]
    assert [len(images) for _, images in sheet.rows] == [7, MOST_IMAGES, MOST_IMAGES]
    pixels = np.asarray(dataset.features).reshape(-1, 3, 7, 5)
    for label, images in sheet.rows:
        own = pixels[dataset.labels == dataset.class_names.index(label.split("\n")[0])]
        for image in images:
            assert (own == image).all((1, 2, 3)).sum() == 1
    assert [label for label, _ in examples_of(dataset).rows] == [label for label, _ in sheet.rows]


def test_mistakes_are_those_of_a_pair_of_classes_by_confidence(tmp_path):
    write_folder(tmp_path / "leaves", COUNTS)
    dataset = open_dataset(brought("images", tmp_path / "leaves"))
    table = pd.DataFrame(
        {
            "class": ["rust", "blight", "rust"],
            "taken_for": ["healthy", "rust", "healthy"],
            "probability": [0.6, 0.9, 0.8],
        },
        index=[3, 20, 5],
    )
    sheet = mistakes_of(dataset, table, "focal")
    assert [label for label, _ in sheet.rows] == ["rust\nfor healthy: 2", "blight\nfor rust: 1"]
    pixels = np.asarray(dataset.features).reshape(-1, 3, 7, 5)
    np.testing.assert_array_equal(sheet.rows[0][1], pixels[[5, 3]])
    np.testing.assert_array_equal(sheet.rows[1][1], pixels[[20]])
    assert mistakes_of(dataset, table[:0], "focal") is None


def test_the_first_of_augmented_images_is_as_it_is(tmp_path):
    write_folder(tmp_path / "leaves", COUNTS)
    dataset = open_dataset(brought("images", tmp_path / "leaves"))
    split = make_split(dataset, Shares(0.2, 0.2), seed=0, split=0)
    off = dict.fromkeys(("shift", "rotate", "crop"), 0.0)
    # Brightness alone adds the same to all pixels of an image.
    part = named_part("augmentation", "standard", brightness=0.3, **off)
    sheet = augmented_examples(part, split, dataset)
    pixels = np.asarray(dataset.features).reshape(-1, 3, 7, 5)
    for _, images in sheet.rows:
        assert (pixels == images[0]).all((1, 2, 3)).sum() == 1
        added = images[1:].astype(int) - images[0]
        inside = (images[1:] > 0) & (images[1:] < 255)
        assert all(np.ptp(each[own]) <= 30 for each, own in zip(added, inside, strict=True))
        assert np.abs(added[inside]).max() > 1


def test_dark_bytes_and_small_numbers_are_drawn_from_black_to_white(tmp_path):
    dark = np.random.default_rng(0).integers(0, 17, (10, 1, 4, 4), np.uint8)
    dark[0, 0, 0, :2] = 0, 16
    for array in (dark, dark / 64 - 0.125):
        dataset = dataset_of(array)
        drawn = np.concatenate([images for _, images in examples_of(dataset).rows])
        assert (drawn.min(), drawn.max()) == (0, 255)
        expected = np.rint(dark / 16 * 255).astype(np.uint8)
        assert all((expected == image).all((1, 2, 3)).any() for image in drawn)
    split = make_split(dataset, Shares(0.2, 0.2), seed=0, split=0)
    sheet = augmented_examples(named_part("augmentation", "standard"), split, dataset)
    first = [images[0] for _, images in sheet.rows]
    assert all((np.abs(expected.astype(int) - image) <= 1).all((1, 2, 3)).any() for image in first)


def dataset_of(array: np.ndarray) -> Dataset:
    return Dataset("toy", Images.of(array), np.arange(len(array)) % 2, ("a", "b"), (), "")


@pytest.mark.parametrize(
    ("height", "width", "drawn"),
    [(8, 8, (64, 64)), (20, 30, (40, 60)), (70, 40, (70, 40)), (224, 101, (56, 25))],
)
def test_images_are_drawn_in_whole_pixels_of_about_one_size(height, width, drawn):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, height, width), np.uint8)
    canvas = canvas_of([images, images[:1]])
    down, right = drawn
    assert canvas.shape == (GAP + 2 * (down + GAP), 2 * (right + GAP), 3)
    first = canvas[GAP : GAP + down, :right].transpose(2, 0, 1)
    if down >= height:
        expected = images[0].repeat(down // height, axis=1).repeat(right // width, axis=2)
    else:
        blocks = images[0][:, :, : 4 * right].reshape(3, down, 4, right, 4)
        expected = np.rint(blocks.mean((2, 4)))
    np.testing.assert_array_equal(first, expected)
    assert (canvas[GAP + down + GAP :, right:] == 255).all()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_images_than_of_three_colours_are_grey(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, channels, 4, 3), np.uint8)
    mean = np.rint(images.mean(1, keepdims=True))
    np.testing.assert_array_equal(coloured(images), np.repeat(mean, 3, axis=1))


def test_a_sheet_is_drawn_and_on_the_page(tmp_path):
    rows = [("cat", np.full((2, 1, 8, 8), 7, np.uint8)), ("狗", np.full((1, 1, 8, 8), 250, np.uint8))]
    numbers: dict[str, str] = {}
    sheet = Sheet("examples", "Examples <1>", "Two classes.", rows)
    picture = np.asarray(Image.open(io.BytesIO(sheet.png(numbers))).convert("L"))
    assert (picture[GAP : GAP + 64, -2 * (64 + GAP) : -GAP - 64 - GAP] == 7).all()
    assert (picture[-GAP - 64 : -GAP, -2 * (64 + GAP) : -GAP - 64 - GAP] == 250).all()
    # The words stand before them, and nothing is cut off.
    assert (picture[:, :5] == 255).all()
    assert (picture[GAP : GAP + 64, : -2 * (64 + GAP)] < 128).any()
    paths = figures.write_figures(figures_frame(), tmp_path, sheets=lambda: [sheet])
    assert tmp_path / "examples.png" in paths
    page = (tmp_path / "figures.html").read_text()
    assert "Examples &lt;1&gt;" in page
    assert re.search('<img class="sheet" alt="Examples [^"]*" src="data:image/png;base64,', page)


def test_examples_are_there_before_training_and_none_of_a_table(tmp_path, capsys):
    made = dataset_of(np.zeros((4, 1, 8, 8), np.uint8))
    draw_examples(made, tmp_path)
    file = tmp_path / "figures/examples.png"
    assert capsys.readouterr().err == f"{file} has examples of each class\n"
    assert file.read_bytes() == examples_of(made).png({})
    draw_examples(wine(), tmp_path / "table")
    assert not (tmp_path / "table").exists()
