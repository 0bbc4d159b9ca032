"""What each reader of images gives, against what was written and what Pillow reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_files import brought, faces_row, picture, write_folder, write_idx, write_picture
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import choose
from lossfleet.runners.data.loading import described, open_dataset
from lossfleet.runners.images import decoding, store
from lossfleet.runners.images.parts import TEST, TRAINING, VALIDATION
from lossfleet.runners.portable.images import read_header, read_pixels

COUNTS = {"rust": 5, "blight": 7, "healthy": 11}


def chw(pixels: np.ndarray) -> np.ndarray:
    """Pixels as the rows of a data set have them."""
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)).ravel()


def test_a_folder_a_class(tmp_path):
    written = write_folder(tmp_path / "leaves", COUNTS)
    dataset = open_dataset(brought("images", tmp_path / "leaves"))
    assert dataset.class_names == ("healthy", "blight", "rust")
    assert dataset.class_counts.tolist() == [11, 7, 5]
    assert dataset.image_shape == (3, 7, 5)
    found = dict(zip(dataset.file_names.tolist(), np.asarray(dataset.features), strict=True))
    assert found.keys() == written.keys()
    for name, pixels in written.items():
        np.testing.assert_array_equal(found[name], chw(pixels))
    of_names = [name.split("/")[0] for name in dataset.file_names]
    assert [dataset.class_names[label] for label in dataset.labels] == of_names
    assert dataset.parts is None
    assert dataset.lines()[0] == "23 images; 5 x 7 pixels, colour"


@pytest.mark.parametrize(
    ("ending", "settings"),
    [("png", {}), ("bmp", {}), ("tiff", {}), ("jpg", {"quality": 95}), ("webp", {"lossless": True})],
)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_picture_of_each_format_turned_as_its_exif_says(tmp_path, ending, settings, orientation):
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    if ending != "bmp":
        settings = settings | {"exif": exif}
    write_picture(path, picture(3), **settings)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    header = read_header(path)
    assert (header.height, header.width) == expected.shape[:2]
    assert (header.height == 7) == (ending == "bmp" or orientation < 5)
    np.testing.assert_array_equal(read_pixels(path, (3, *expected.shape[:2])).ravel(), chw(expected))


@pytest.mark.parametrize(
    ("mode", "is_grey"), [("L", True), ("1", True), ("RGBA", False), ("P", False), ("CMYK", False)]
)
def test_modes_become_grey_or_colour(tmp_path, mode, is_grey):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(picture(1)).convert(mode).save(path)
    header = read_header(path)
    assert (header.is_grey, header.is_transparent) == (is_grey, mode == "RGBA")
    with Image.open(path) as image:
        colour, grey = np.asarray(image.convert("RGB")), np.asarray(image.convert("L"))
    np.testing.assert_array_equal(read_pixels(path, (3, 7, 5)).ravel(), chw(colour))
    np.testing.assert_array_equal(read_pixels(path, (1, 7, 5))[0], grey)


def test_of_sixteen_bits_the_upper_eight_are_taken(tmp_path):
    deep = np.arange(35).reshape(7, 5).astype(np.uint16) * 1800
    write_picture(tmp_path / "a.png", deep)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png", (1, 7, 5))[0], deep // 256)
    assert read_header(tmp_path / "a.png").has_sixteen_bits


def test_resizing_is_pillows_and_told(tmp_path):
    root = tmp_path / "leaves"
    written = write_folder(root, COUNTS)
    written["rust/z.png"] = write_picture(root / "rust/z.png", picture(90, height=9, width=17))
    dataset = open_dataset(brought("images", root, size=6, channels=1))
    assert dataset.image_shape == (1, 6, 6)
    for name, pixels in zip(dataset.file_names, np.asarray(dataset.features), strict=True):
        expected = Image.fromarray(written[name]).convert("L").resize((6, 6), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(pixels, np.asarray(expected).ravel())
    assert dataset.lines()[0] == "24 images; 6 x 6 pixels, resized from 5 x 7 to 17 x 9, grey"
    assert "24 of 24 images have colours, and are made grey" in dataset.notes


def test_grey_unless_one_image_has_colours(tmp_path):
    root = tmp_path / "leaves"
    write_folder(root, COUNTS, channels=1)
    assert open_dataset(brought("images", root)).image_shape == (1, 7, 5)
    write_picture(root / "rust/z.png", picture(90))
    dataset = open_dataset(brought("images", root))
    assert dataset.image_shape == (3, 7, 5)
    assert "23 of 24 images are grey, and are read as the others in colour" in dataset.notes


def test_folders_for_parts_are_used_as_they_are(tmp_path):
    root = tmp_path / "leaves"
    for part in ("train", "valid", "test"):
        write_folder(root / part, COUNTS)
    dataset = open_dataset(brought("images", root, repeated="keep"))
    found = {name.split("/")[0]: part for name, part in zip(dataset.file_names, dataset.parts, strict=True)}
    assert found == {"train": TRAINING, "valid": VALIDATION, "test": TEST}
    assert dataset.class_counts.tolist() == [33, 21, 15]
    # They are the same images three times.
    assert any(note.startswith("leak: 46 of 46 validation and test rows") for note in dataset.notes)


def test_what_systems_leave_is_left_out_and_told(tmp_path):
    root = tmp_path / "leaves"
    write_folder(root, COUNTS)
    write_folder(root / ".git", {"a": 1})
    for name in ("rust/Thumbs.db", "rust/.DS_Store", "rust/notes.txt", "README.md", "blight/._00.png"):
        (root / name).write_bytes(b"x")
    dataset = open_dataset(brought("images", root))
    assert len(dataset.labels) == 23
    assert dataset.notes[0] == (
        "5 files left out that are no images by their names: "
        ".DS_Store (1), ._00.png (1), .md (1), .txt (1), Thumbs.db (1)"
    )


def table(tmp_path: Path, **columns: object) -> Path:
    written = write_folder(tmp_path / "all", COUNTS)
    frame = pd.DataFrame({"id": [f"all/{name}" for name in written], "kind": [name[0] for name in written]})
    frame = frame.assign(**columns)
    frame.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def test_a_table_of_file_names_and_classes(tmp_path):
    part = ["Train", "val", "test"] * 7 + ["train", "test"]
    path = table(tmp_path, use=part, who=np.arange(23) // 3)
    dataset = open_dataset(brought("images", path, part="use"))
    assert dataset.class_names == ("h", "b", "r")
    assert dataset.parts.tolist() == [*[TRAINING, VALIDATION, TEST] * 7, TRAINING, TEST]
    assert dataset.groups is None
    grouped = open_dataset(brought("images", path, file="id", target="kind", group="who"))
    np.testing.assert_array_equal(grouped.groups, np.arange(23) // 3)
    np.testing.assert_array_equal(np.asarray(grouped.features), np.asarray(dataset.features))
    # Names without their endings, from a folder of their own.
    frame = pd.read_csv(path).replace(r"^all/(.*)\.png$", r"\1", regex=True)
    frame.to_csv(tmp_path / "bare.csv", index=False)
    bare = open_dataset(brought("images", tmp_path / "bare.csv", folder=str(tmp_path / "all")))
    np.testing.assert_array_equal(np.asarray(bare.features), np.asarray(dataset.features))
    assert bare.class_names == ("h", "b", "r")


def medmnist(path: Path, *, channels: int = 1) -> dict[str, np.ndarray]:
    arrays = {}
    for seed, (part, count) in enumerate({"train": 23, "val": 11, "test": 13}.items()):
        random = np.random.default_rng([seed, channels])
        shape = (count, 7, 5) if channels == 1 else (count, 7, 5, channels)
        arrays[f"{part}_images"] = random.integers(0, 256, shape, np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize("channels", [1, 3])
def test_the_parts_of_medmnist(tmp_path, channels):
    arrays = medmnist(tmp_path / "blood.npz", channels=channels)
    dataset = open_dataset(brought("npz", tmp_path / "blood.npz"))
    assert dataset.image_shape == (channels, 7, 5)
    images = np.concatenate([arrays[f"{part}_images"] for part in ("train", "val", "test")])
    expected = images[:, None] if channels == 1 else images.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(np.asarray(dataset.features), expected.reshape(47, -1))
    np.testing.assert_array_equal(dataset.parts, np.repeat([TRAINING, VALIDATION, TEST], [23, 11, 13]))
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.labels[:4].tolist() == [0, 1, 2, 0]
    named = open_dataset(brought("npz", tmp_path / "blood.npz", names=("basophil", "eosinophil", "platelet")))
    assert named.class_names == ("basophil", "eosinophil", "platelet")
    np.testing.assert_array_equal(named.labels, dataset.labels)


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d"), ("a", "b", "a")])
def test_names_of_other_classes_are_refused(tmp_path, names):
    medmnist(tmp_path / "blood.npz")
    with pytest.raises(
        UserError, match=r"data\.names is \['a', .*expected 3 different names, of the classes 0, 1, 2"
    ):
        open_dataset(brought("npz", tmp_path / "blood.npz", names=names))


def test_x_and_y_of_images_and_of_embeddings(tmp_path):
    random = np.random.default_rng(5)
    names = np.array(["cat", "dog", "owl", "owl"] * 10)
    floats = random.normal(size=(40, 3, 6, 4))
    np.savez_compressed(tmp_path / "a.npz", X=floats, Y=names)
    dataset = open_dataset(brought("npz", tmp_path / "a.npz"))
    assert (dataset.image_shape, dataset.class_names) == ((3, 6, 4), ("owl", "cat", "dog"))
    np.testing.assert_array_equal(np.asarray(dataset.features), floats.reshape(40, -1).astype(np.float32))
    rows = random.normal(size=(40, 9))
    np.savez(tmp_path / "b.npz", x=rows, y=np.arange(40) % 2 == 0)
    assert open_dataset(brought("npz", tmp_path / "b.npz", names=("odd", "even"))).class_names == (
        "odd",
        "even",
    )
    dataset = open_dataset(brought("npz", tmp_path / "b.npz"))
    assert dataset.image_shape is None
    assert list(dataset.features) == [f"e{place}" for place in range(9)]
    np.testing.assert_allclose(dataset.features, rows, rtol=1e-6)
    assert dataset.class_names == ("False", "True")


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_the_files_of_mnist(tmp_path, packed):
    random = np.random.default_rng(7)
    images = random.integers(0, 256, (29, 6, 6), np.uint8)
    labels = np.array([3, 8, 8] * 9 + [8, 3], np.uint8)
    for part, rows in (("train", slice(0, 17)), ("t10k", slice(17, 29))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{packed}", images[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{packed}", labels[rows])
    dataset = open_dataset(brought("idx", tmp_path))
    np.testing.assert_array_equal(np.asarray(dataset.features), images.reshape(29, -1))
    assert dataset.class_names == ("8", "3")
    # By number, of those that are there.
    assert open_dataset(brought("idx", tmp_path, names=("three", "eight"))).class_names == ("eight", "three")
    np.testing.assert_array_equal(dataset.labels, labels == 3)
    np.testing.assert_array_equal(dataset.parts, [TRAINING] * 17 + [TEST] * 12)
    file = open_dataset(brought("idx", tmp_path / f"train-images-idx3-ubyte{packed}", size=3))
    assert file.image_shape == (1, 3, 3)
    expected = [Image.fromarray(image).resize((3, 3), Image.Resampling.BILINEAR) for image in images]
    np.testing.assert_array_equal(np.asarray(file.features), np.stack(expected).reshape(29, -1))
    clothes = open_dataset(brought("fashion_mnist", tmp_path))
    assert clothes.class_names == ("dress", "bag")


def test_the_faces_of_fer2013(tmp_path):
    usages = ["Training", "PublicTest", "PrivateTest"]
    faces = [picture(n, height=4, width=4, channels=1) for n in range(21)]
    rows = [faces_row(n % 7, face, usages[n % 3]) for n, face in enumerate(faces)]
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(rows))
    dataset = open_dataset(brought("fer2013", tmp_path / "fer2013.csv"))
    np.testing.assert_array_equal(np.asarray(dataset.features), np.stack(faces).reshape(21, -1))
    assert dataset.class_names == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    np.testing.assert_array_equal(dataset.labels, np.arange(21) % 7)
    np.testing.assert_array_equal(dataset.parts, np.arange(21) % 3)


def test_fashion_mnist_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr("lossfleet.runners.images.sources.FASHION_MNIST", tmp_path / "nowhere")
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        open_dataset(choose("data", "fashion_mnist"))


def test_a_limit_takes_its_share_of_each_class_and_part(tmp_path):
    medmnist(tmp_path / "blood.npz")
    full, half, again = (
        open_dataset(brought("npz", tmp_path / "blood.npz", limit=limit)) for limit in (None, 24, 24)
    )
    # Of nine shares each to the nearest whole number.
    assert len(half.labels) == 25
    np.testing.assert_array_equal(half.features.rows, again.features.rows)
    shares = [
        [np.sum((each.parts == part) & (each.labels == label)) for part in range(3) for label in range(3)]
        for each in (half, full)
    ]
    assert np.abs(np.array(shares[0]) - np.array(shares[1]) * 24 / 47).max() <= 1
    assert "data.limit=24: 25 of 47 rows kept, drawn from each class and part alike" in half.notes
    kept = np.asarray(full.features)[half.row_numbers - 1]
    np.testing.assert_array_equal(np.asarray(half.features), kept)


def test_pixels_are_kept_and_told_apart_by_content_and_settings(tmp_path, monkeypatch):
    root = tmp_path / "leaves"
    write_folder(root, COUNTS)
    first = described(brought("images", root))
    dataset = open_dataset(first)
    assert isinstance(dataset.features.pixels, np.memmap)
    assert not dataset.features.pixels.flags.writeable
    monkeypatch.setattr("lossfleet.runners.data.images.decode", None)
    # What is kept needs no decoding, and of the same content wherever it is.
    moved = root.rename(tmp_path / "moved")
    again = open_dataset(brought("images", moved))
    np.testing.assert_array_equal(np.asarray(again.features), np.asarray(dataset.features))
    monkeypatch.setattr("lossfleet.runners.data.images.decode", decoding.decode)
    assert open_dataset(brought("images", moved, size=4)).image_shape == (3, 4, 4)
    write_picture(moved / "rust/00.png", picture(77))
    assert described(brought("images", moved)).label != first.label.replace("leaves", "moved")
    assert len(list((tmp_path / "cache/images").glob("*/pixels.npy"))) == 3


def test_without_a_cache_folder_pixels_last_as_long_as_the_process(tmp_path, monkeypatch):
    write_folder(tmp_path / "leaves", COUNTS)
    (tmp_path / "file").touch()
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "file")
    monkeypatch.setattr(store, "_own_folder", None)
    assert len(open_dataset(brought("images", tmp_path / "leaves")).labels) == 23
    assert store._own_folder is not None
