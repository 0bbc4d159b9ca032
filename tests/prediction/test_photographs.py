"""What a kept detector finds in files, as tables that are annotations, and how right it is in annotated ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kept_detectors import make_detector, square_training
from kept_models import make_model
from PIL import Image

from lossfleet.runners.detection.annotations.finding import find_annotations
from lossfleet.runners.detection.annotations.photographs import Unusable
from lossfleet.runners.detection.drawing import RIGHT
from lossfleet.runners.tables.faults import Faults
from lossfleet.sweeps.commands.cli import main

# Of nothing but this, about the mean of noise, the detector says nothing.
GREY = (127, 127, 127)
CORNERS = ["xmin", "ymin", "xmax", "ymax"]


@pytest.fixture
def detector(workdir):
    """A detector that cuts photographs into tiles, and says little of one colour."""
    return make_detector(workdir / "model", square_training(), tile=31, least_score=0.45)


def photograph(path: Path, height: int, width: int, seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels.transpose(2, 0, 1)


def test_finds_of_a_folder_are_a_table_that_is_read_as_annotations(detector, capsys):
    pixels = {name: photograph(Path("photographs", name), 50, 70, n) for n, name in enumerate(NAMES)}
    Image.new("RGB", (40, 40), GREY).save("photographs/nothing.png")
    arguments = ("--output", "photographs/finds.csv", "--draw", "drawn")
    assert main(["predict", "model", "photographs", *arguments]) == 0
    table = pd.read_csv("photographs/finds.csv")
    assert list(table) == ["image", "class", "score", *CORNERS]
    expected = {name: detector.find(each) for name, each in pixels.items()}
    count, sure = (sum(len(each.of_at_least(score)) for each in expected.values()) for score in (0, 0.5))
    assert 20 < sure < count
    said = f"{count} finds, {sure} of them with a score of 0.5 or more, in 3 photographs in "
    assert capsys.readouterr().out.startswith(f"photographs/finds.csv: {said}")
    read = find_annotations(Path("photographs"), None, Unusable(Faults("finds"), "refuse"))
    assert read.others == []
    by_name = {each.name: each for each in read.photographs}
    assert by_name.keys() == {*NAMES, "nothing.png"}
    assert by_name["nothing.png"].boxes == []
    for name, found in expected.items():
        rows = table[table["image"] == name]
        np.testing.assert_allclose(rows["score"], found.scores, atol=6e-5)
        np.testing.assert_allclose(rows[CORNERS], found.boxes, atol=6e-3)
        assert by_name[name].classes == [detector.classes[label] for label in found.labels]
        assert by_name[name].boxes == [tuple(row) for row in rows[CORNERS].to_numpy()]
        # The first edge of the surest find, and no more edges than there are finds.
        drawn = np.asarray(Image.open(f"drawn/{name}{'' if name.endswith('.png') else '.png'}"))
        assert drawn.shape == (50, 70, 3)
        assert (drawn != pixels[name].transpose(1, 2, 0)).any()
    assert not (np.asarray(Image.open("drawn/nothing.png")) != GREY).any()


NAMES = ["a.png", "b/c.bmp"]


def test_arrays_are_photographs_called_by_their_rows(detector, capfd):
    pixels = np.random.default_rng(5).integers(0, 256, (2, 40, 31, 3)).astype(np.uint8)
    np.savez("new.npz", X=pixels)
    assert main(["predict", "model", "new.npz"]) == 0
    lines = [line.split(",")[0].strip('"') for line in capfd.readouterr().out.splitlines()]
    counts = [len(detector.find(each.transpose(2, 0, 1))) for each in pixels]
    assert lines == ["image", *["1"] * counts[0], *["2"] * counts[1]]


def test_boxes_are_drawn_where_they_are_found(workdir):
    from lossfleet.runners.detection.drawing import draw_finds
    from lossfleet.runners.portable.objects.detections import Detections

    boxes = np.array([[5, 20, 25, 45], [40, 2, 40.4, 2.4], [0, 0, 60, 60]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.1], np.float32), np.zeros(3, np.int32))
    draw_finds(Path("new/d.png"), np.full((1, 60, 60), 90, np.uint8), found, ["a"], least_score=0.3)
    drawn = np.asarray(Image.open("new/d.png"))
    green = (drawn == tuple(bytes.fromhex(RIGHT[1:]))).all(axis=2)
    assert green[44, 5:25].all()
    assert not green[46:].any()
    assert green[2, 40]


def write_kinds() -> None:
    """Files that cannot be used."""
    photograph(Path("photographs/a.png"), 30, 30, 0)
    for name in ("b.png", "c.jpg"):
        Path("photographs", name).write_bytes(b"x")
    whole = Path("photographs/a.png").read_bytes()
    Path("cut").mkdir()
    Path("cut/d.png").write_bytes(whole[: len(whole) // 2])
    Path("empty").mkdir()
    np.savez("floats.npz", X=np.random.default_rng(0).random((2, 9, 9)))
    Path("rows.csv").write_text("a,b\n1,2\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "model", "nowhere"], "nowhere is no file"),
        (["predict", "model", "rows.csv"], "rows.csv is no image, and the model finds objects"),
        (["predict", "model", "empty"], "empty has no image; expected JPEG, PNG"),
        (["predict", "model", "photographs"], "photographs has 2 faults:\n  1. b.png is no JPEG"),
        (["predict", "model", "cut"], "d.png cannot be read"),
        (["predict", "model", "floats.npz"], "floats.npz has images of float64"),
        (["predict", "model", "cut", "--decision", "prior"], "--decision is prior for a model that finds"),
        (["predict", "model", "empty", "--draw", "./empty"], "--draw is empty, where the photographs are"),
        (["predict", "model", "photographs/a.png", "--draw", "rows.csv"], "a.png cannot be written"),
        (["predict", "rows", "rows.csv", "--draw", "d"], "--draw for a model that classifies"),
        (["evaluate", "model", "nowhere"], "the path is .*nowhere, and there is no such file"),
        (["evaluate", "model", "empty"], "empty has no annotations in it"),
        (["evaluate", "model", "cut", "--target", "y"], "--target is y for a model that finds objects"),
        (["evaluate", "model", "cut", "--importance", "i.png"], "--importance is i.png for a model"),
        (["export", "model", "--format", "ckpt"], "trees finds objects, and only classifiers are exported"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(detector, arguments, words, capsys):
    write_kinds()
    make_model(Path("rows"))
    output = ["--output", "p.csv"] if arguments[0] == "predict" else []
    assert main([*arguments, *output]) == 2
    told = capsys.readouterr().err
    assert re.search(words, told), told
    assert "data." not in told
    assert not list(Path().glob("p.*"))


def test_its_own_finds_are_all_right(workdir, capsys):
    """Annotations that are what the detector finds have an average precision of 1, and half of them less."""
    detector = make_detector(Path("model"), square_training(), least_score=0.4, most_given=6)
    names = [f"{n}.png" for n in range(5)]
    found = [detector.find(photograph(Path("photographs", name), 30, 30, n)) for n, name in enumerate(names)]
    table = detector.table(names, found)
    table.to_csv("photographs/all.csv", index=False)
    assert main(["evaluate", "model", "photographs"]) == 0
    printed = capsys.readouterr().out
    said = f"trees on photographs: {table['image'].nunique()} photographs with {len(table)} objects\n"
    assert said in printed
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert lines["ap50"] == ["1.0000", "0.4000", "(0.300", "to", "0.500)"]
    assert (lines["ap"][0], lines["class_ap[b]"]) == ("1.0000", ["1.0000", "unknown"])
    # One that is of another class is missed, and found where it is not.
    wrong = table.assign(**{"class": table["class"].where(table.index > 0, "a")})
    wrong.to_csv("photographs/all.csv", index=False)
    assert main(["evaluate", "model", "photographs/all.csv"]) == 0
    assert float(re.search(r"^ap50 +(\S+)", capsys.readouterr().out, re.MULTILINE)[1]) < 1
    table.assign(**{"class": "oak"}).to_csv("photographs/all.csv", index=False)
    assert main(["evaluate", "model", "photographs"]) == 2
    told = capsys.readouterr().err
    assert "the unknown class oak; expected one of a, b; correct it" in told
    assert "data." not in told
