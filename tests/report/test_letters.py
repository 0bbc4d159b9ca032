"""Letters that matplotlib's font lacks: another font draws them, or numbers stand for the words."""

from __future__ import annotations

import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from lossfleet.sweeps.report.figures import letters
from lossfleet.sweeps.report.figures.letters import changed, fonts_with, lettered, tell_numbers
from lossfleet.sweeps.report.figures.marks import Axis, Figure, Label, Panel
from lossfleet.sweeps.report.figures.png import png

FAULT, NORMAL = "故障", "正常"


def figure(*names: str) -> Figure:
    axis = Axis("größe", names=dict(enumerate(names)))
    label = Label(0.5, 0.5, f"{names[0]}: 0.7")
    return Figure("confusion", f"recall[{names[0]}]", "A caption.", [Panel([label], axis, Axis("y"))])


@pytest.fixture
def font(tmp_path, monkeypatch):
    """Makes a font with some letters that matplotlib knows."""
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    fonts_with.cache_clear()

    def make(family: str, text: str) -> None:
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        pen.lineTo((500, 0))
        pen.lineTo((250, 700))
        pen.closePath()
        glyphs = [".notdef", *(f"u{ord(letter)}" for letter in text)]
        builder = FontBuilder(1000)
        builder.setupGlyphOrder(glyphs)
        builder.setupCharacterMap({ord(letter): f"u{ord(letter)}" for letter in text})
        builder.setupGlyf({name: pen.glyph() for name in glyphs})
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 0)))
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": family, "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        path = tmp_path / f"{family}.ttf"
        builder.save(path)
        manager.addfont(path)

    yield make
    fonts_with.cache_clear()


def test_what_the_font_has_stays(capsys):
    drawing = figure("größe", "naïve", "Ω")
    numbers: dict[str, str] = {}
    assert lettered(drawing, numbers) == (drawing, ["DejaVu Sans"])
    tell_numbers(numbers)
    assert capsys.readouterr().err == ""


def test_a_font_with_the_letters_is_used(font):
    font("Cjk", FAULT + NORMAL)
    numbers: dict[str, str] = {}
    drawing = figure(FAULT, NORMAL)
    assert lettered(drawing, numbers) == (drawing, ["DejaVu Sans", "Cjk"])
    assert numbers == {}
    with warnings.catch_warnings():
        # Of a glyph that is missing.
        warnings.simplefilter("error")
        png(drawing)


def test_two_fonts_share_the_letters(font):
    font("Aaa", FAULT)
    font("Bbb", NORMAL)
    assert sorted(lettered(figure(FAULT, NORMAL), {})[1]) == ["Aaa", "Bbb", "DejaVu Sans"]


def test_without_a_font_numbers_stand_for_words(capsys):
    numbers: dict[str, str] = {}
    drawn, fonts = lettered(figure(FAULT, f"a {NORMAL}b", FAULT), numbers)
    assert fonts == ["DejaVu Sans"]
    assert numbers == {FAULT: "#1", f"{NORMAL}b": "#2"}
    assert drawn.title == "recall[#1]"
    (panel,) = drawn.panels
    assert panel.x.names == {0: "#1", 1: "a #2", 2: "#1"}
    assert panel.x.label == "größe"
    assert panel.marks[0].text == "#1: 0.7"
    # Another figure of the same gallery has the same numbers.
    assert lettered(figure(NORMAL, FAULT), numbers)[0].title == "recall[#3]"
    tell_numbers(numbers)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"#1 is {FAULT}, #2 is {NORMAL}b, #3 is {NORMAL}" in told
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png(figure(FAULT, NORMAL))


def test_everything_else_of_a_drawing_stays():
    values = {"a": [1, ("x", None)], "b": 2.5}
    assert changed(values, str.upper) == {"a": [1, ("X", None)], "b": 2.5}
    assert letters.letters_of("DejaVu Sans") >= set("aß")
