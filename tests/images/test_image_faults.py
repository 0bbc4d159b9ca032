"""Images that cannot be used: each fault is named with its file, all at once, or left out where the user says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_files import brought, faces_row, picture, write_folder, write_idx, write_picture
from PIL import Image

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.portable import images

COUNTS = {"blight": 6, "healthy": 9}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def animate(path: Path) -> None:
    frames = [Image.fromarray(picture(n)) for n in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def empty_class(root: Path) -> None:
    (root / "rust").mkdir()
    (root / "rust/readme.txt").touch()


# What is done to a folder, what is said, and how many images are left where faults are skipped.
OF_FOLDERS: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "cut": (lambda root: cut(root / "blight/02.png"), "blight/02.png cannot be read (", 14),
    "empty": (lambda root: (root / "blight/02.png").write_bytes(b""), "blight/02.png is empty", 14),
    "text": (
        lambda root: (root / "blight/02.png").write_text("x"),
        "blight/02.png is no JPEG, PNG, BMP, TIFF",
        14,
    ),
    "gif": (
        lambda root: Image.fromarray(picture(1)).save(root / "blight/02.png", format="GIF"),
        "blight/02.png is no JPEG, PNG, BMP, TIFF or WebP",
        14,
    ),
    "animated": (
        lambda root: animate(root / "blight/02.png"),
        "blight/02.png has 3 pictures, as an animation",
        14,
    ),
    "endless": (
        lambda root: write_picture(root / "blight/02.png", picture(1, height=90, width=80)),
        "blight/02.png has 80 x 90 pixels, more than 5,000",
        14,
    ),
    "deep": (
        lambda root: Image.fromarray(np.ones((7, 5), np.float32)).save(root / "blight/zz.tif"),
        "blight/zz.tif has 32 bits a pixel",
        15,
    ),
    "no image of a class": (empty_class, "the folder rust has no image", 15),
    "loose": (
        lambda root: write_picture(root / "lost.png", picture(1)),
        "1 image is in no folder of a class: lost.png",
        15,
    ),
}


@pytest.mark.parametrize(("harm", "said", "left"), OF_FOLDERS.values(), ids=OF_FOLDERS)
def test_a_fault_of_a_folder_is_named_or_left_out(tmp_path, monkeypatch, harm, said, left):
    monkeypatch.setattr(images, "MOST_PIXELS", 5000)
    written = write_folder(tmp_path / "leaves", COUNTS)
    harm(tmp_path / "leaves")
    with pytest.raises(UserError) as caught:
        open_dataset(brought("images", tmp_path / "leaves"))
    assert caught.value.what.startswith(said)
    assert "data.broken=skip" in caught.value.hint
    dataset = open_dataset(brought("images", tmp_path / "leaves", broken="skip"))
    assert len(dataset.labels) == left
    assert any(said.split(" cannot")[0] in note for note in dataset.notes)
    for name, pixels, label in zip(
        dataset.file_names, np.asarray(dataset.features), dataset.labels, strict=True
    ):
        np.testing.assert_array_equal(pixels, written[name].transpose(2, 0, 1).ravel())
        assert name.startswith(dataset.class_names[label])


def test_all_faults_come_at_once_the_first_ten_of_them(tmp_path):
    write_folder(tmp_path / "leaves", COUNTS)
    for path in sorted((tmp_path / "leaves").rglob("*.png"))[:12]:
        path.write_bytes(b"")
    empty_class(tmp_path / "leaves")
    with pytest.raises(UserError) as caught:
        open_dataset(brought("images", tmp_path / "leaves"))
    assert caught.value.what.startswith("leaves has 13 faults:\n  1. the folder rust has no image")
    assert "2. blight/00.png is empty" in caught.value.what
    assert caught.value.what.endswith("and 3 more\n")


def test_mixed_sizes_name_two_files_and_the_mend(tmp_path):
    root = tmp_path / "leaves"
    write_folder(root, COUNTS)
    write_picture(root / "healthy/03.png", picture(1, height=20, width=30))
    cut(root / "healthy/07.png")
    with pytest.raises(UserError) as caught:
        open_dataset(brought("images", root))
    assert "leaves has 2 faults" in caught.value.what
    assert (
        "blight/00.png is 5 x 7 pixels and healthy/03.png 30 x 20, as 2 sizes there are" in caught.value.what
    )
    assert "write for example data.size=5" in caught.value.what
    with pytest.raises(UserError, match=r"healthy/07\.png"):
        open_dataset(brought("images", root, size=5))
    assert open_dataset(brought("images", root, size=5, broken="skip")).image_shape == (3, 5, 5)


# What the folder has, settings, what is said and the hint.
OF_STRUCTURE: dict[str, tuple[dict[str, dict[str, int]], dict[str, str], str, str]] = {
    "no folders": ({}, {}, "leaves has no folders in it", "data.path=labels.csv"),
    "no test": (
        {"train": COUNTS, "val": COUNTS},
        {},
        "the parts train, val and no test part",
        "rename one of them",
    ),
    "no training": ({"val": COUNTS, "test": COUNTS}, {}, "no training part", "rename one of them"),
    "one class": ({"": {"blight": 3}}, {}, "leaves has one class, blight", "correct data.path"),
    "column": ({"": COUNTS}, {"target": "kind"}, "data.target is for tables", "leave data.target out"),
}


@pytest.mark.parametrize(("folders", "settings", "said", "hint"), OF_STRUCTURE.values(), ids=OF_STRUCTURE)
def test_what_is_no_folder_of_classes_is_refused(tmp_path, folders, settings, said, hint):
    (tmp_path / "leaves").mkdir()
    for name, counts in folders.items():
        write_folder(tmp_path / "leaves" / name, counts)
    with pytest.raises(UserError) as caught:
        open_dataset(brought("images", tmp_path / "leaves", **settings))
    assert said in caught.value.what
    assert hint in caught.value.hint


def rows(**columns: object) -> pd.DataFrame:
    names = [f"{name}/{number:02d}.png" for name, count in COUNTS.items() for number in range(count)]
    return pd.DataFrame({"id": names, "kind": [name[0] for name in names]}).assign(**columns)


# A change of the table, settings, what is said, and the images that are left where faults are skipped.
OF_TABLES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], dict[str, str], str, int | None]] = {
    "missing file": (
        lambda table: table.replace("blight/02.png", "blight/99.png"),
        {},
        "row 3 names blight/99.png, and there is no such file",
        14,
    ),
    "missing class": (
        lambda table: table.assign(kind=table["kind"].where(table.index % 4 > 0)),
        {},
        "the target 'kind' is missing in 4 of 15 rows: 1, 5, 9, 13",
        11,
    ),
    "missing group": (
        lambda table: table.assign(who=np.where(table.index == 3, None, "a")),
        {"group": "who"},
        "the group 'who' is missing in 1 of 15 rows: 4",
        14,
    ),
    "no column": (
        lambda table: table,
        {"target": "knid"},
        "data.target names 'knid', and labels.csv has",
        None,
    ),
    "one column": (lambda table: table[["id"]], {}, "data.target is not set, and labels.csv has", None),
    "no part": (
        lambda table: table.assign(use=["train", "test", "dev"] * 5),
        {"part": "use"},
        "column 'use' has 'dev' in row 3",
        None,
    ),
}


@pytest.mark.parametrize(("change", "settings", "said", "left"), OF_TABLES.values(), ids=OF_TABLES)
def test_a_fault_of_a_table_is_named_or_left_out(tmp_path, change, settings, said, left):
    write_folder(tmp_path, COUNTS)
    change(rows()).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(UserError) as caught:
        open_dataset(brought("images", tmp_path / "labels.csv", **settings))
    assert caught.value.what.startswith(said)
    if left is not None:
        dataset = open_dataset(brought("images", tmp_path / "labels.csv", broken="skip", **settings))
        assert len(dataset.labels) == left
        assert any("rows left out: row" in note for note in dataset.notes)


IMAGES = np.zeros((6, 4, 4), np.uint8)
LABELS = np.arange(6) % 2
# The arrays of an archive, settings, and what is said.
OF_ARCHIVES: dict[str, tuple[dict[str, np.ndarray], dict[str, int], str]] = {
    "other names": ({"a": IMAGES, "b": LABELS}, {}, "a.npz has the arrays a, b"),
    "no test": (
        {"train_images": IMAGES, "train_labels": LABELS},
        {},
        "a.npz has the arrays train_images, train_labels",
    ),
    "several labels": (
        {"X": IMAGES, "y": np.zeros((6, 14))},
        {},
        "y of a.npz has the shape (6, 14), several numbers",
    ),
    "fewer labels": ({"X": IMAGES, "y": LABELS[:5]}, {}, "a.npz has 6 rows in X and y of the shape (5,)"),
    "measurements": ({"X": IMAGES, "y": LABELS + 0.5}, {}, "y of a.npz has float64 that are no classes"),
    "volumes": ({"X": np.zeros((6, 4, 4, 4)), "y": LABELS}, {}, "X has the shape (6, 4, 4, 4)"),
    "no numbers": ({"X": IMAGES.astype("U1"), "y": LABELS}, {}, "X is of <U1"),
    "not finite": ({"X": IMAGES + np.float32(np.nan), "y": LABELS}, {}, "X has numbers that are not finite"),
    "objects": (
        {"X": IMAGES, "y": LABELS.astype(object)},
        {},
        "a.npz cannot be read as NPZ (Object arrays cannot",
    ),
    "floats to resize": ({"X": IMAGES * 1.0, "y": LABELS}, {"size": 2}, "X has float64 in its pixels"),
    "rows to resize": (
        {"X": np.eye(6), "y": LABELS},
        {"size": 2},
        "data.size for a.npz, whose arrays are rows",
    ),
    "other sizes": (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, 1:], "y_test": LABELS},
        {},
        "x_train has images of (1, 4, 4) and x_test of (1, 3, 4)",
    ),
}


@pytest.mark.parametrize(("arrays", "settings", "said"), OF_ARCHIVES.values(), ids=OF_ARCHIVES)
def test_an_archive_of_other_arrays_is_refused(tmp_path, arrays, settings, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError) as caught:
        open_dataset(brought("npz", tmp_path / "a.npz", **settings))
    assert caught.value.what.startswith(said)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match="cannot be read as NPZ"):
        open_dataset(brought("npz", tmp_path / "a.npz"))
    with pytest.raises(UserError, match="is the folder"):
        open_dataset(brought("npz", tmp_path))
    with pytest.raises(UserError, match="no such file or folder"):
        open_dataset(brought("npz", tmp_path / "b.npz"))


TRAIN = "train-images-idx3-ubyte"
# What is done to the files of MNIST, and what is said.
OF_IDX: dict[str, tuple[Callable[[Path], object], str]] = {
    "no labels": (
        lambda root: (root / "train-labels-idx1-ubyte").unlink(),
        f"has {TRAIN} and no train-labels-idx1-ubyte",
    ),
    "cut": (lambda root: cut(root / TRAIN), f"{TRAIN} says that it has 6 x 4 x 4 bytes and has 56"),
    "other": (
        lambda root: (root / TRAIN).write_bytes(b"x" * 99),
        f"{TRAIN} begins with 78 78 78 78, not with 00 00 08 03",
    ),
    "no gzip": (
        lambda root: (root / TRAIN).rename(root / f"{TRAIN}.gz"),
        f"{TRAIN}.gz cannot be read (Not a gzipped",
    ),
    "fewer labels": (
        lambda root: write_idx(root / "train-labels-idx1-ubyte", LABELS[:5].astype(np.uint8)),
        f"{TRAIN} has 6 images and train-labels-idx1-ubyte 5 labels",
    ),
    "two sets": (
        lambda root: write_idx(root / f"emnist-{TRAIN}", IMAGES),
        f"has the files of 2 data sets: emnist-{TRAIN}, {TRAIN}",
    ),
    "none": (lambda root: (root / TRAIN).unlink(), "has no train-images-idx3-ubyte"),
}


@pytest.mark.parametrize(("harm", "said"), OF_IDX.values(), ids=OF_IDX)
def test_files_that_are_not_those_of_mnist_are_refused(tmp_path, harm, said):
    write_idx(tmp_path / TRAIN, IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS.astype(np.uint8))
    harm(tmp_path)
    with pytest.raises(UserError) as caught:
        open_dataset(brought("idx", tmp_path))
    assert said in caught.value.what


def test_the_faults_of_fer2013_come_at_once(tmp_path):
    face = picture(1, height=4, width=4, channels=1)
    harmed = [
        faces_row(0, face, "Training"),
        faces_row(7, face, "Training"),
        faces_row(1, face[:3], "Training"),
        faces_row(1, face, "Test"),
        faces_row(1, face.astype(int) * 9, "Training"),
        faces_row("x", np.full((4, 4), 0.5), ""),
    ]
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(harmed))
    with pytest.raises(UserError) as caught:
        open_dataset(brought("fer2013", tmp_path / "fer2013.csv"))
    for said in (
        "fer2013.csv has 7 faults",
        "row 2 has the emotion '7'",
        "row 3 has 12 pixels; expected 16",
        "row 4 has the Usage 'Test'; expected one of Training, PublicTest, PrivateTest",
        "row 5 has pixels that are something else; expected whole numbers from 0 to 255",
        "row 6 has the emotion 'x'",
        "row 6 has pixels that are something else",
        "row 6 has the Usage ''",
    ):
        assert said in caught.value.what
    (tmp_path / "fer2013.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no column emotion and no pixels"):
        open_dataset(brought("fer2013", tmp_path / "fer2013.csv"))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("images", {}, "data=images has no data.path"),
        ("images", {"path": "http://a/b"}, "an address"),
        ("images", {"path": "a", "channels": 2}, "data.channels is 2"),
        ("images", {"path": "a", "file": "x", "target": "x"}, "data.file and data.target both name 'x'"),
        ("npz", {"path": "a", "size": 0}, "data.size is 0"),
        ("images", {"path": "a", "broken": "drop"}, "data.broken is 'drop'"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(name, settings, said):
    from lossfleet.conf.schema import choose

    with pytest.raises(UserError) as caught:
        choose("data", name, **settings)
    assert said in caught.value.what
