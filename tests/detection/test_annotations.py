"""Each format of annotations says the same; tiles are what they are said to be; nothing that is wrong passes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from annotated_files import FORMATS, Objects, write_coco, write_photograph, write_table, write_voc

from lossfleet.conf.errors import UserError
from lossfleet.runners.detection.annotations import reading
from lossfleet.runners.images.parts import TEST, TRAINING
from lossfleet.runners.portable.objects.tiles import windows

# Whole photographs where a test says nothing else.
read_boxes = partial(reading.read_boxes, tile=None)
IMAGES: dict[str, Objects] = {
    "a.png": [((3, 5, 33, 25), "tree"), ((40, 8, 60, 28), "car"), ((70, 2, 80, 30), "tree")],
    "deep/b.png": [((1, 2, 21, 12), "tree")],
    "c.png": [],
}
SIZES = {"a.png": (32, 96), "deep/b.png": (64, 48), "c.png": (32, 32)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the photographs."""
    for number, (file, size) in enumerate(SIZES.items()):
        write_photograph(tmp_path / "photos" / file, *size, number)
    return tmp_path / "photos"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("named", ["folder", "file"])
def test_every_format_says_the_same(folder: Path, kind: str, named: str) -> None:
    path = FORMATS[kind](folder, IMAGES, SIZES)
    made = read_boxes(str(folder if named == "folder" else path), size=32)
    scenes = made.scenes
    assert tuple(dict.fromkeys(made.file_names)) == ("a.png", "c.png", "deep/b.png")
    assert scenes.class_names == ("tree", "car")
    assert scenes.images.shape == (3, 3, 32, 32)
    assert scenes.sources.tolist() == [0, 1, 2]
    # The longer side of 96 and 64 pixels becomes 32.
    for image, file, scale in ((0, "a.png", 3), (2, "deep/b.png", 2)):
        expected = np.array([box for box, _ in IMAGES[file]]) / scale
        np.testing.assert_allclose(scenes.boxes[image], expected, rtol=1e-6)
        names = [scenes.class_names[label] for label in scenes.labels[image]]
        assert names == [name for _, name in IMAGES[file]]
    assert scenes.boxes[1].shape == (0, 4)
    assert made.notes == (
        "1 of 4 boxes are less than 4 pixels wide or high once resized to data.size=32; smaller tiles (data.tile) make "
        "them larger",
    )
    assert made.parts is None
    assert made.reading.said[1:] == (
        "3 photographs",
        "resized to 32 x 32",
        "colour",
        "4 boxes",
        "the median 8 x 7",
    )


@pytest.mark.parametrize(
    ("length", "overlap", "starts"),
    [
        (128, 0.0, [0, 64]),
        (64, 0.5, [0]),
        (50, 0.0, [0]),
        (129, 0.0, [0, 32, 65]),
        (128, 0.5, [0, 32, 64]),
        (140, 0.25, [0, 38, 76]),
    ],
)
def test_tiles_cover_a_photograph_evenly(length: int, overlap: float, starts: list[int]) -> None:
    found = windows(64, length, 64, overlap)
    assert [(each.x, each.y, each.side) for each in found] == [(start, 0, 64) for start in starts]
    turned = windows(length, 64, 64, overlap)
    assert [(each.x, each.y) for each in turned] == [(0, start) for start in starts]
    assert len(windows(length, 128, 64, 0)) == len(windows(64, length, 64, 0)) * 2


def test_tiles_have_the_pixels_and_the_boxes_of_their_place(tmp_path: Path) -> None:
    pixels = write_photograph(tmp_path / "a.png", 64, 96, 3)
    small = write_photograph(tmp_path / "small.png", 20, 30, 4)
    # In the first tile; across two, its centre in the second one; on the edge, of which that is the second one's first.
    inside, across, on_edge = (2, 3, 12, 23), (20, 40, 50, 50), (27, 4, 37, 8)
    images: dict[str, Objects] = {
        "a.png": [(inside, "t"), (across, "t"), (on_edge, "u")],
        "small.png": [((1, 2, 29, 19), "u")],
    }
    made = read_boxes(str(write_table(tmp_path, images, {})), tile=32, size=32)
    scenes = made.scenes
    assert scenes.sources.tolist() == [0] * 6 + [1]
    for place in range(6):
        row, column = divmod(place, 3)
        own = pixels[:, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        np.testing.assert_array_equal(scenes.images[place], own)
    found = {place: boxes.tolist() for place, boxes in enumerate(scenes.boxes) if len(boxes)}
    assert found == {
        0: [[2, 3, 12, 23]],
        1: [[0, 4, 5, 8]],
        4: [[0, 8, 18, 18]],
        6: [[1, 2, 29, 19]],
    }
    np.testing.assert_array_equal(scenes.images[6][:, :20, :30], small)
    mean = np.rint(small.mean(axis=(1, 2)))
    np.testing.assert_array_equal(scenes.images[6][:, 20:], np.broadcast_to(mean[:, None, None], (3, 12, 32)))
    assert made.notes == ("2 of 4 boxes clipped at the edges of their tiles",)
    assert "2 photographs in 7 tiles of 32 x 32 pixels" in made.reading.said


def test_without_overlap_each_object_is_in_one_tile_and_resized_with_it(tmp_path: Path) -> None:
    write_photograph(tmp_path / "a.png", 128, 128, 3, channels=1)
    random = np.random.default_rng(5)
    corners = random.integers(0, 110, (50, 2))
    boxes = np.concatenate([corners, corners + random.integers(4, 18, (50, 2))], axis=1)
    table = write_table(tmp_path, {"a.png": [(tuple(box), "t") for box in boxes.tolist()]}, {})
    scenes = read_boxes(str(table), tile=64, size=32).scenes
    assert scenes.images.shape == (4, 1, 32, 32)
    assert sum(map(len, scenes.boxes)) == 50
    for place, own in enumerate(scenes.boxes):
        y, x = 64 * np.array(divmod(place, 2))
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        here = boxes[((centres >= [x, y]) & (centres < [x + 64, y + 64])).all(axis=1)]
        np.testing.assert_allclose(own, np.clip(here - [x, y, x, y], 0, 64) / 2)
    overlapping = read_boxes(str(table), tile=64, overlap=0.5, size=32)
    assert len(overlapping.scenes) == 9
    assert f"50 boxes, {sum(map(len, overlapping.scenes.boxes))} in tiles" in overlapping.reading.said
    assert sum(map(len, overlapping.scenes.boxes)) > 80


@pytest.mark.parametrize(
    ("widths", "boxes", "tile"),
    [
        # Whole where the shorter side of most boxes is 8 pixels of 64 or more, 12 of 96.
        ([96, 96], [(0, 12, 30), (0, 40, 13), (1, 4, 60)], None),
        ([96, 96], [(0, 11, 30), (0, 11, 13), (1, 60, 60)], 44),
        # Resized with their photographs 5, 5 and 40 pixels.
        ([512, 64], [(0, 40, 41), (0, 40, 40), (1, 40, 42)], 160),
        ([96], [(0, 3, 50)], 16),
    ],
)
def test_a_tile_that_suits_the_boxes(
    tmp_path: Path, widths: list[int], boxes: list[tuple[int, int, int]], tile: int | None
) -> None:
    names = [f"{number}.png" for number in range(len(widths))]
    for number, (name, width) in enumerate(zip(names, widths, strict=True)):
        write_photograph(tmp_path / name, 2 * width // 3, width, number)
    objects: dict[str, Objects] = {
        name: [((0, 0, width, height), "t") for place, width, height in boxes if names[place] == name]
        for name in names
    }
    table = str(write_table(tmp_path, objects, {}))
    made = reading.read_boxes(table)
    assert made.tile == tile
    assert made.digest == read_boxes(table, tile=tile).digest
    (said,) = (line for line in made.reading.said if "photograph" in line)
    assert said.endswith(f" tiles of {tile} x {tile} pixels (data.tile=auto)" if tile else "photographs")
    assert "auto" not in str(read_boxes(table, tile=tile).reading.said)


def test_folders_of_parts_are_the_parts(tmp_path: Path) -> None:
    for part, number in (("train", 1), ("test", 2)):
        write_photograph(tmp_path / part / "a.png", 32, 48, number)
    write_coco(tmp_path / "train", {"a.png": [((1, 1, 9, 9), "t")]}, {"a.png": (32, 48)})
    write_voc(tmp_path / "test", {"a.png": [((2, 2, 9, 9), "t")]}, {"a.png": (32, 48)})
    made = read_boxes(str(tmp_path), tile=32, size=32)
    assert tuple(dict.fromkeys(made.file_names)) == ("test/a.png", "train/a.png")
    assert made.parts is not None
    assert made.parts.tolist() == [TEST] * 2 + [TRAINING] * 2
    assert made.scenes.sources.tolist() == [0, 0, 1, 1]
    assert made.reading.said[:2] == (
        "test: Pascal VOC's XML in a.xml, its pixels counted from 1",
        "train: COCO's JSON in annotations.json",
    )
    (tmp_path / "test").rename(tmp_path / "rest")
    with pytest.raises(UserError, match=r"has the parts train and no test part.*data.path=.*/train"):
        read_boxes(str(tmp_path))


def test_a_tool_that_counts_pixels_from_0_is_noticed(folder: Path) -> None:
    images = {"a.png": [((-1, 5, 33, 25), "tree")], "c.png": [((3, 4, 9, 9), "car")]}
    made = read_boxes(str(write_voc(folder, images, SIZES)), size=96, classes=["car", "tree"])
    # As they stand: `write_voc` adds 1.
    np.testing.assert_allclose(made.scenes.boxes[0], [[0, 6, 33, 25]])
    np.testing.assert_allclose(made.scenes.boxes[1], np.array([[4, 5, 9, 9]]) * 3)
    assert made.reading.said[0] == "Pascal VOC's XML in 2 files, its pixels counted from 0"
    assert made.scenes.class_names == ("car", "tree")
    assert made.notes == ("images left out that have no annotations (1): deep/b.png",)


def test_all_faults_are_told_at_once_by_file_and_box_or_left_out(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    images: dict[str, Objects] = {
        "a.png": [
            ((3, 5, 33, 25), "tree"),
            ((100, 5, 120, 25), "tree"),
            ((9, 9, 9, 25), "tree"),
            ((9, 9, 29, 25), "house"),
            ((9, 9, float("nan"), 25), "tree"),
            ((9, 9, 29, 25), ""),
            # Clipped.
            ((90, -2, 99, 20), "tree"),
        ],
        "broken.png": [((1, 1, 9, 9), "tree")],
        "gone.png": [((1, 1, 9, 9), "tree"), ((2, 2, 9, 9), "tree")],
    }
    table = write_table(folder, images, {})
    expected = [
        "boxes.csv row 9 names gone.png, and there is no such file in photos",
        "boxes.csv row 2, in a.png, is outside of the image, which is 96 x 32 pixels: 100, 5, 120, 25",
        "boxes.csv row 3, in a.png, is empty: 9, 9, 9, 25",
        "boxes.csv row 4, in a.png, has the unknown class house",
        "boxes.csv row 5, in a.png, lacks a number of its box",
        "boxes.csv row 6, in a.png, has no class",
        "broken.png is no JPEG, PNG, BMP, TIFF or WebP",
    ]
    with pytest.raises(UserError) as error:
        read_boxes(str(table), classes=["tree", "car"])
    lines = error.value.what.splitlines()
    assert lines[0] == "boxes.csv has 7 faults:"
    for number, (line, what) in enumerate(zip(lines[1:], expected, strict=True), start=1):
        assert line.strip().startswith(f"{number}. {what}; expected ")
        assert line.endswith(", or write data.broken=skip to leave out what cannot be used")
    made = read_boxes(str(table), classes=["tree", "car"], broken="skip", size=96)
    np.testing.assert_allclose(made.scenes.boxes[0], [[3, 5, 33, 25], [90, 0, 96, 20]])
    assert made.scenes.class_names == ("tree", "car")
    assert len(made.scenes) == 1
    assert made.notes == (
        f"photographs left out (2): {expected[0]}, {expected[-1]}",
        f"boxes left out (5): {', '.join(expected[1:-1])}",
        "images left out that have no annotations (2): c.png, deep/b.png",
        "1 of 2 boxes clipped at the edges of their photographs",
    )


def test_what_a_cut_off_image_lacks_is_a_fault(folder: Path) -> None:
    # What JPEG says of itself comes first: that pixels are missing is seen when they are read.
    write_photograph(folder / "a.jpg", 32, 96, 5)
    whole = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(whole[:-40])
    images = {"a.jpg": IMAGES["a.png"], "c.png": [((1, 1, 9, 9), "tree")]}
    table = str(write_table(folder, images, {}))
    for _ in range(2):
        with pytest.raises(UserError, match=r"^a\.jpg cannot be read .*; expected a whole image"):
            read_boxes(table)
        made = read_boxes(table, broken="skip")
    assert set(made.file_names) == {"c.png"}
    assert made.notes[1].startswith("photographs left out (1): a.jpg cannot be read")
    write_table(folder, {"a.jpg": IMAGES["a.png"]}, {})
    with pytest.raises(UserError, match="has no box that can be used"):
        read_boxes(table, broken="skip")


BOMB = (
    '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;">]>'
    "<annotation><filename>&c;</filename></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>'
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, r"a\.xml has entities; expected Pascal VOC's XML, an <annotation>; mend it"),
        (OUTSIDE, r"a\.xml has entities;"),
        ("<annotation>", r"a\.xml cannot be read \(no element found"),
        ("<svg></svg>", r"a\.xml begins with <svg>;"),
    ],
)
def test_xml_that_is_none_is_refused(folder: Path, content: str, message: str) -> None:
    write_voc(folder, {"c.png": [((1, 1, 9, 9), "t")]}, SIZES)
    (folder / "a.xml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_boxes(str(folder))
    made = read_boxes(str(folder), broken="skip")
    assert tuple(dict.fromkeys(made.file_names)) == ("c.png",)
    assert made.notes[0].startswith("files left out (1): a.xml")


def changed(content: dict, path: str, value: object) -> dict:
    """With one value changed: `annotations.0.bbox`."""
    *outer, last = path.split(".")
    at = content
    for key in outer:
        at = at[int(key) if key.isdigit() else key]
    at[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("annotations", {}, r"annotations\.json has no list of annotations; expected COCO's JSON"),
        ("images.1", 5, r"annotations\.json has no list of images"),
        ("annotations.0.bbox", [1, 2, "3", 4], r"annotation 1 \(id 100\) has the bbox \[1, 2, '3', 4\]"),
        ("annotations.0.bbox", [1, 2, 3], r"annotation 1 \(id 100\) has the bbox \[1, 2, 3\]"),
        ("annotations.1.category_id", 8, r"annotation 2 \(id 101\) has the unknown class 8"),
        ("annotations.1.category_id", [0], r"annotation 2 \(id 101\) has the unknown class \[0\]"),
        ("annotations.2.image_id", 8, r"annotation 3 \(id 102\) has the image_id 8, which no image has"),
        (
            "annotations.2.bbox",
            [1, 2, 3, float("nan")],
            r"annotation 3 \(id 102\) has the bbox \[1, 2, 3, nan\]",
        ),
        ("annotations.2.bbox", [1, 2, 3, 10**400], r"annotation 3 \(id 102\) has the bbox"),
        (
            "images.2.id",
            {},
            r"annotations\.json image 3 has the id \{\} and the file_name 'c\.png'; expected an id",
        ),
        (
            "images.2.id",
            0,
            r"annotations\.json image 3 has the id 0 and the file_name 'c\.png'; expected an id th",
        ),
        ("categories.1.name", None, r"annotations\.json category 2 has the id 3 and the name None"),
        ("images.2.file_name", "c" * 9999, r"annotations\.json image 3 names c+, and there is no such file"),
        ("images.0.width", 95, r"a\.png has 96 x 32 pixels, and by its annotations 95 x 32"),
        ("images.0.file_name", "d.png", r"annotations\.json image 1 names d\.png, and there is no such file"),
    ],
)
def test_json_that_is_wrong_is_refused(folder: Path, path: str, value: object, message: str) -> None:
    file = write_coco(folder, IMAGES, SIZES)
    content = json.loads(file.read_text())
    if path == "images.1":
        content["images"][1] = value
    else:
        changed(content, path, value)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_boxes(str(folder))


def test_crowds_are_left_out(folder: Path) -> None:
    file = write_coco(folder, IMAGES, SIZES)
    file.write_text(json.dumps(changed(json.loads(file.read_text()), "annotations.1.iscrowd", 1)))
    made = read_boxes(str(folder))
    assert made.reading.said[:2] == ("COCO's JSON in annotations.json", "crowds left out (1)")
    assert made.scenes.class_counts.tolist() == [3]


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        ({}, {}, "photos has no annotations in it; expected a folder of images with COCO's JSON"),
        (
            {"a.csv": "", "a.xml": ""},
            {},
            r"photos has 2 files that may be annotations: a\.csv, a\.xml.*data\.path=photos/a\.csv",
        ),
        ({"a.json": "{"}, {}, r"a\.json cannot be read as JSON"),
        ({"a.csv": "image_path,xmin,ymin,xmax,ymax\na.png,1,2,3,4"}, {}, r"a\.csv has no column label, but"),
        ({"a.csv": "image,x1,y1,x2,y2,class\n,1,2,3,4,t"}, {}, r"a\.csv row 1 has no image"),
        ({"a.csv": "image,x1,y1,x2,y2,class\na.png,1,2,x,4,t"}, {}, r"a\.csv row 1, in a\.png, lacks a num"),
        ({"a.csv": "image,x1,y1,x2,y2,class\na.png,,,,,"}, {}, "photos has no box that can be used"),
        ({}, {"folder": "elsewhere"}, "data.folder is for a file of annotations, and data.path is the fold"),
    ],
)
def test_what_cannot_be_read_is_said(
    folder: Path, files: dict[str, str], settings: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_boxes(str(folder), **settings)


def test_names_of_files_start_from_a_folder_and_must_be_one(folder: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path, {"b": [((1, 1, 9, 9), "t")]}, {})
    assert set(read_boxes(str(table), folder=str(folder / "deep")).file_names) == {"b.png"}
    write_photograph(folder / "deeper/b.png", 32, 32, 9)
    with pytest.raises(
        UserError, match=r"row 1 names b, and there are photos/deep/b\.png, photos/deeper/b\.png"
    ):
        read_boxes(str(table))
    # The one that the name leads to is none of several.
    write_photograph(folder / "b.png", 32, 32, 8)
    assert set(read_boxes(str(table), folder=str(folder)).file_names) == {"b.png"}
    with pytest.raises(UserError, match="there is no such file or folder"):
        read_boxes(str(tmp_path / "nowhere"))


def test_a_photograph_is_there_once(folder: Path) -> None:
    alone = read_boxes(str(write_table(folder, IMAGES, {})))
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    made = read_boxes(str(write_table(folder, IMAGES | {"b.png": [((1, 1, 30, 30), "bus")]}, {})))
    assert made.scenes.class_names == ("tree", "car")
    assert tuple(dict.fromkeys(made.file_names)) == ("a.png", "c.png", "deep/b.png")
    assert made.scenes.class_counts.tolist() == [3, 1]
    assert made.notes[0] == (
        "photographs left out that repeat another exactly, which would leak across parts (1): b.png repeats a.png"
    )
    np.testing.assert_array_equal(made.scenes.images, alone.scenes.images)


def test_squares_are_kept_and_annotations_read_again(folder: Path, tmp_path: Path, monkeypatch) -> None:
    first = read_boxes(str(write_table(folder, IMAGES, {})), tile=32, size=16)
    assert isinstance(first.scenes.images, np.memmap)
    assert not first.scenes.images.flags.writeable
    with monkeypatch.context() as patch:
        # What is kept needs no decoding.
        patch.setattr("lossfleet.runners.detection.annotations.squares.read_pixels", None)
        images = IMAGES | {"c.png": [((1, 1, 30, 30), "bus")]}
        again = read_boxes(str(write_table(folder, images, {})), tile=32, size=16)
    np.testing.assert_array_equal(again.scenes.images, first.scenes.images)
    assert again.class_names == ("tree", "bus", "car")
    read_boxes(str(folder), tile=32, size=16, overlap=0.5)
    write_photograph(folder / "c.png", 32, 32, 77)
    changed = read_boxes(str(folder), tile=32, size=16)
    assert (changed.scenes.images != first.scenes.images).any(axis=(1, 2, 3)).sum() == 1
    assert len(list((tmp_path / "cache/images").glob("*/pixels.npy"))) == 3


def test_a_limit_takes_whole_photographs_of_each_class_and_part(tmp_path: Path) -> None:
    for part, count in (("train", 20), ("test", 10)):
        names = [f"{number:02}.png" for number in range(count)]
        for name in names:
            write_photograph(tmp_path / part / name, 32, 64, len(part) * 100 + int(name[:2]))
        # Of every fifth photograph the rarest class is another one.
        boxes = {name: [((1, 1, 9, 9), "u"), ((40, 1, 50, 9), "u")] for name in names}
        write_table(
            tmp_path / part, boxes | {name: [((1, 1, 9, 9), "t"), *boxes[name]] for name in names[::5]}, {}
        )
    full, half, again = (read_boxes(str(tmp_path), tile=32, size=32, limit=limit) for limit in (None, 15, 15))
    assert half.notes[0] == "data.limit=15: 15 of 30 photographs kept, drawn from each class and part alike"
    assert half.file_names.tolist() == again.file_names.tolist()
    # Two tiles each.
    assert np.bincount(half.parts).tolist() == [20, 0, 10]
    rows = np.flatnonzero(np.isin(full.file_names, half.file_names))
    assert len(rows) == 30
    np.testing.assert_array_equal(half.scenes.images, full.scenes.images[rows])
    assert half.scenes.class_counts.tolist() == [30, 3]
