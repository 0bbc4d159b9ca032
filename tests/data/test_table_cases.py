"""Tables as people have them: what is read of each, or why it is refused. A row of a table is a situation."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from table_files import write

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset, tell_notes, tell_small_classes
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import make_split
from lossfleet.runners.metrics.evaluation import confusion_names

ROWS = 210
A = np.random.default_rng(3).normal(size=ROWS).round(6)
Y = np.where(np.arange(ROWS) % 7 == 0, "yes", "no")


def read(path: Path, target: str = "y", **settings) -> Dataset:
    return open_dataset(choose("data", "csv", path=str(path), target=target, **settings))


def lines(header: str, *columns, separator: str = ",", end: str = "\n") -> str:
    """A file with a header and columns of words."""
    rows = [separator.join(map(str, cells)) for cells in zip(*columns, strict=True)]
    return end.join([header, *rows]) + end


def quoted(words) -> list[str]:
    return ['"' + str(word).replace('"', '""') + '"' for word in words]


def cycle(*words: str) -> list[str]:
    return [words[row % len(words)] for row in range(ROWS)]


W = cycle("red", "blue", "green")
PLAIN = lines("a,w,y", A, W, Y)
COMMA = [f"{value:.6f}".replace(".", ",") for value in A]


def zipped(text: str, *names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names or ("t.csv",):
            archive.writestr(name, text)
    return stream.getvalue()


def arff(text: str) -> str:
    attributes = "@attribute a numeric\n@attribute w {red, blue, green}\n@attribute y {no, yes}\n"
    return f"% a comment\n@relation t\n{attributes}@data\n" + text.split("\n", 1)[1]


# File name, its content, settings, and what is said of the file.
DIALECTS = {
    "plain": ("t.csv", PLAIN, {}, "commas, UTF-8"),
    "byte order mark": ("t.csv", PLAIN.encode("utf-8-sig"), {}, "commas, UTF-8"),
    "capitals": ("T.CSV", PLAIN, {}, "commas, UTF-8"),
    "brackets in the name": ("download (1).csv", PLAIN, {}, "commas, UTF-8"),
    "lines of Windows": ("t.csv", PLAIN.replace("\n", "\r\n"), {}, "commas, UTF-8"),
    "lines of an old Mac": ("t.csv", PLAIN.replace("\n", "\r"), {}, "commas, UTF-8"),
    "tabs": ("t.tsv", PLAIN.replace(",", "\t"), {}, "tabs, UTF-8"),
    "tabs in text": ("t.txt", PLAIN.replace(",", "\t"), {}, "tabs, UTF-8"),
    "semicolons": ("t.csv", PLAIN.replace(",", ";"), {}, "semicolons, UTF-8"),
    "pipes": ("t.psv", PLAIN.replace(",", "|"), {}, "pipes, UTF-8"),
    "spaces": ("t.dat", PLAIN.replace(",", " "), {}, "spaces, UTF-8"),
    "aligned": ("t.txt", PLAIN.replace(",", "   "), {}, "spaces, UTF-8"),
    "a given separator": ("t.csv", PLAIN.replace(",", "~"), {"separator": "~"}, "'~' between cells"),
    "a separator by name": ("t.csv", PLAIN.replace(",", "\t"), {"separator": "tab"}, "tabs"),
    "sep=": ("t.csv", "sep=;\n" + PLAIN.replace(",", ";"), {}, "semicolons"),
    "decimal commas": ("t.csv", lines("a;w;y", COMMA, W, Y, separator=";"), {}, "semicolons"),
    "decimal commas and tabs": ("t.tsv", lines("a\tw\ty", COMMA, W, Y, separator="\t"), {}, "tabs"),
    "decimal commas in quotes": ("t.csv", lines("a,w,y", quoted(COMMA), W, Y), {}, "commas"),
    "all quoted": ("t.csv", lines('"a";"w";"y"', quoted(A), quoted(W), quoted(Y), separator=";"), {}, "semicolons"),
    "a title": ("t.csv", "Report of May\n\n" + PLAIN, {}, "commas"),
    "comments": ("t.csv", "# made by hand\n# in May, twice\n" + PLAIN, {}, "commas"),
    "a header of NumPy": ("t.csv", "# " + PLAIN, {}, "commas"),
    "UTF-16": ("t.csv", PLAIN.encode("utf-16"), {}, "UTF-16-LE"),
    "UTF-16 without a mark": ("t.csv", PLAIN.encode("utf-16-be"), {}, "UTF-16-BE"),
    "Windows": ("t.csv", PLAIN.replace("red", "r\u2013d").encode("cp1252"), {}, "WINDOWS-1252"),
    "Chinese": ("t.csv", PLAIN.replace("red", "\u7ea2").encode("gb18030"), {"encoding": "gb18030"}, "GB18030"),
    "gzip": ("t.csv.gz", gzip.compress(PLAIN.encode()), {}, "commas"),
    "bzip2": ("t.csv.bz2", bz2.compress(PLAIN.encode()), {}, "commas"),
    "xz": ("t.tsv.xz", lzma.compress(PLAIN.replace(",", "\t").encode()), {}, "tabs"),
    "zip": ("t.zip", zipped(PLAIN), {}, "commas"),
    "zip of a Mac": ("t.csv.zip", zipped(PLAIN, "t.csv", "__MACOSX/._t.csv"), {}, "commas"),
    "ARFF": ("t.arff", arff(PLAIN), {}, "ARFF"),
    "quotes within cells": ("t.csv", PLAIN.replace("red", '6" pipe'), {}, "commas"),
    "lines within cells": ("t.csv", PLAIN.replace("red", '"one\ntwo, three"'), {}, "commas"),
    "a comma ends the header": ("t.csv", PLAIN.replace("a,w,y\n", "a,w,y,\n"), {}, "commas"),
    "a comma ends the rows": ("t.csv", PLAIN.replace("\n", ",\n").replace("y,\n", "y\n", 1), {}, "commas"),
    "a comma ends all lines": ("t.csv", PLAIN.replace("\n", ",\n"), {}, "commas"),
    "no header": ("t.csv", PLAIN.split("\n", 1)[1], {"header": "none"}, "no header"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "settings", "said"), DIALECTS.values(), ids=DIALECTS)
def test_however_a_file_is_written_its_cells_are_the_same(name, content, settings, said, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    dataset = read(path, "3" if "header" in settings else "y", **settings)
    assert said in ", ".join(dataset.reading.said)
    assert dataset.features.shape[1] == 2
    first, second = dataset.features
    np.testing.assert_array_equal(dataset.features[first].to_numpy(), A)
    words = dataset.features[second].astype(str)
    assert (words == words[1]).tolist() == [word == "blue" for word in W]
    assert words[1] == "blue"
    assert dataset.class_names == ("no", "yes")
    np.testing.assert_array_equal(dataset.labels == 1, Y == "yes")


def workbook(*sheets: list[list]) -> bytes:
    """A workbook of Excel with text, numbers and dates in its sheets."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    places = range(1, len(sheets) + 1)

    def cell(value) -> str:
        if isinstance(value, pd.Timestamp):
            # A date is a number of days, in a style that says so.
            return f'<c s="1"><v>{(value - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)!r}</v></c>'
        is_text = isinstance(value, str)
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>' if is_text else f"<c><v>{value}</v></c>"

    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        + "".join(f'<sheet name="S{each}" sheetId="{each}" r:id="r{each}"/>' for each in places)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(
            f'<Relationship Id="r{each}" Type="{office}/worksheet" Target="worksheets/s{each}.xml"/>'
            for each in places
        )
        + f'<Relationship Id="style" Type="{office}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{main}"><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
        "</styleSheet>",
    }
    for place, rows in zip(places, sheets, strict=True):
        written = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        files[f"xl/worksheets/s{place}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{written}</sheetData></worksheet>'
        )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def test_excel_and_folders_of_parts_are_read(tmp_path):
    days = pd.Series(pd.date_range("2024-02-27 12:30", periods=ROWS))
    table = pd.DataFrame({"a": A, "w": W, "when": days, "n": np.arange(ROWS) % 7, "y": Y})
    parts = tmp_path / "parts"
    (parts / "later").mkdir(parents=True)
    table.iloc[:100].to_parquet(parts / "part-0.parquet")
    table.iloc[100:].to_parquet(parts / "part-1.pq")
    (parts / "_SUCCESS").touch()
    rows = table.astype(object).to_numpy().tolist()
    (tmp_path / "t.xlsx").write_bytes(workbook([["Report"], list(table), *rows], [["notes"]]))
    for path, said in ((parts, "Parquet in 2 parts"), (tmp_path / "t.xlsx", "the first of 2 sheets, S1")):
        dataset = read(path)
        assert said in ", ".join(dataset.reading.said)
        np.testing.assert_array_equal(dataset.features["a"], A)
        np.testing.assert_array_equal(dataset.features["n"], table["n"])
        np.testing.assert_array_equal(dataset.features["when: weekday"], days.dt.weekday)
        np.testing.assert_allclose(dataset.features["when: days"], np.arange(ROWS))
        assert dataset.reading.columns["categories"] == ["w (3)"]
        assert dataset.class_names == ("no", "yes")


# The words of a column, the numbers that the first ones are, and what is told of it.
NUMBERS = {
    "decimal commas": (["3,5", "0,7", "12"], [3.5, 0.7, 12], "with a decimal comma"),
    "both marks, American": (["$1,200.50", "$900.00", "$12,000.25"], [1200.5, 900, 12000.25], "'$1,200.50'"),
    "both marks, German": (["1.200,50", "900,00", "12.000,25"], [1200.5, 900, 12000.25], "with a decimal comma"),
    "thousands alone": (["1,234", "12", "2,000,000"], [1234, 12, 2e6], "'1,234'"),
    "thousands that could be fractions": (["1,234", "1,500", "9,999"], [1234, 1500, 9999], "data.decimal decides"),
    "shares": (["12%", "3.5 %", "0%"], [12, 3.5, 0], "'12%'"),
    "spaces": (["1 000", "12 500", "7"], [1000, 12500, 7], "'1 000'"),
    "spaces that do not break": (["1\u00a0000", "12\u202f500", "7"], [1000, 12500, 7], "numbers such as"),
    "apostrophes": (["1'234", "1'234'567.5", "7"], [1234, 1234567.5, 7], '"1\'234"'),
    "euros": (["5.50 \u20ac", "7 \u20ac", "1,000.00 \u20ac"], [5.5, 7, 1000], "5.50"),
    "codes of money": (["USD 5", "USD 1,000.50", "USD 7"], [5, 1000.5, 7], "'USD 5'"),
    "bounds": (["<5", "7", "8.5"], [5, 7, 8.5], "'<5'"),
    "typographic minus": (["\u22125", "7", "8.5"], [-5, 7, 8.5], "\u22125"),
    "parentheses": (["(12)", "7", "(1,000.5)"], [-12, 7, -1000.5], "'(12)'"),
    "powers": (["1e3", "2.5E-2", "7"], [1000, 0.025, 7], None),
    "a plus": (["+5", "-7", "8.5"], [5, -7, 8.5], None),
    "unknown": (["unknown", "7.5", "8"], [np.nan, 7.5, 8], "'unknown' is missing, in 70 rows"),
    "dashes": (["-", "7.5", "8"], [np.nan, 7.5, 8], "'-' is missing"),
    "points": ([".", "7.5", "8"], [np.nan, 7.5, 8], "'.' is missing"),
    "errors of Excel": (["#DIV/0!", "7.5", "8"], [np.nan, 7.5, 8], "'#DIV/0!' is missing"),
    "MySQL": (["\\N", "7.5", "8"], [np.nan, 7.5, 8], "is missing"),
    "R and pandas": (["NA", "nan", "8"], [np.nan, np.nan, 8], None),
    "in brackets": (["(null)", "7,5", "8"], [np.nan, 7.5, 8], "'(null)' is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "values", "told"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_in_disguise_are_numbers_and_told(words, values, told, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines("c,a,y", quoted(cycle(*words)), A, Y))
    dataset = read(path)
    assert dataset.reading.columns["numbers"] == ["c", "a"]
    np.testing.assert_array_equal(dataset.features["c"][: len(values)], values)
    if told is None:
        assert dataset.notes == ()
    else:
        assert dataset.notes[0].startswith("column c: ")
        assert told in dataset.notes[0]


# The words of a column, settings, the categories that it has, and what is told of it.
WORDS = {
    "zip codes": (["01234", "12345", "99999"], {}, ["01234", "12345", "99999"], "'01234' is written as a code"),
    "one leading zero": (["01", "1", "1e0"], {}, ["01", "1", "1e0"], "'01'"),
    "long numbers": (["1234567890123456", "2", "3"], {}, ["1234567890123456", "2", "3"], "a code"),
    "zeros alone": (["00", "1", "2"], {}, ["00", "1", "2"], "a code"),
    "phones": (["0301234", "0401234", "0891234"], {}, ["0301234", "0401234", "0891234"], "a code"),
    "codes that one names": (["7", "8", "9"], {"categorical": ("c",)}, ["7", "8", "9"], None),
    "words and numbers": (["low", "7", "high"], {}, ["7", "high", "low"], "though 70 of its 210 cells are numbers"),
    "units": (["5 kg", "7 kg", "9 lb"], {}, ["5 kg", "7 kg", "9 lb"], "they begin with digits"),
    "two decimal marks": (["1.5", "1,5", "7"], {}, ["1,5", "1.5", "7"], "data.decimal decides"),
    "addresses": (["10.0.0.1", "10.0.0.2", "10.0.0.31"], {}, ["10.0.0.1", "10.0.0.2", "10.0.0.31"], "begin with"),
    "unknown among words": (["unknown", "red", "blue"], {}, ["blue", "red", "unknown"], None),
    "words that are missing": (["x", "red", "blue"], {"missing": ("x",)}, ["blue", "red"], None),
    "nothing is missing": (["NA", "red", "blue"], {"missing": ()}, ["NA", "blue", "red"], None),
    "spellings": (["Red", "red", "blue"], {}, ["Red", "blue", "red"], "data.fold_case=true takes them as one"),
    "folded": (["Red", "red", "light  blue"], {"fold_case": True}, ["Red", "light  blue"], "taken as one"),
    "folded spaces": (["sky blue", "sky  blue", "x"], {"fold_case": True}, ["sky blue", "x"], "taken as one"),
    "truth values": (["true", "false", "true"], {}, ["false", "true"], None),
    "few of many": (["a", "b", "c"], {"categories": 2}, ["(other)", "a", "b"], "the 2 most frequent of 3"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "settings", "categories", "told"), WORDS.values(), ids=WORDS)
def test_words_and_codes_are_categories_and_told(words, settings, categories, told, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines("c,a,y", quoted(cycle(*words)), A, Y))
    dataset = read(path, **settings)
    assert sorted(dataset.features["c"].cat.categories) == categories
    if told is None:
        assert dataset.notes == ()
    else:
        assert told in dataset.notes[0]


YMD = ((2020, 2, 15), (2020, 1, 1), (2021, 3, 5))
NOON = 45 + 12.5 / 24
# The words of a column, and what the first one is, year, month, weekday, hour and days after 2020-01-01.
DATES = {
    "ISO": (["2020-02-15", "2020-01-01", "2021-03-05"], (2020, 2, 5, 0, 45)),
    "ISO with a time": (["2020-02-15T12:30:00Z", "2020-01-01", "2021-03-05 23:10"], (2020, 2, 5, 12, NOON)),
    "slashes": (["2020/02/15", "2020/01/01", "2021/03/05"], (2020, 2, 5, 0, 45)),
    "without zeros": (["2020/2/15", "2020/1/1", "2021/3/5"], (2020, 2, 5, 0, 45)),
    "German": (["15.02.2020", "1.1.2020", "05.03.2021"], (2020, 2, 5, 0, 45)),
    "German with a time": (["15.02.2020 12:30", "01.01.2020 00:00", "05.03.2021 23:10"], (2020, 2, 5, 12, NOON)),
    "American": (["02/15/2020", "01/01/2020", "3/5/2021"], (2020, 2, 5, 0, 45)),
    "American with a time": (["2/15/2020 12:30 PM", "1/1/2020 12:00 AM", "3/5/2021 9:00 PM"], (2020, 2, 5, 12, NOON)),
    "British": (["15/02/2020", "01/01/2020", "05/03/2021"], (2020, 2, 5, 0, 45)),
    "two digits": (["15/02/20", "01/01/20", "05/03/21"], (2020, 2, 5, 0, 45)),
    "months in words": (["15-Feb-2020", "1-Jan-2020", "5-Mar-2021"], (2020, 2, 5, 0, 45)),
    "long": (["February 15, 2020", "January 1, 2020", "March 5, 2021"], (2020, 2, 5, 0, 45)),
    "compact": (["20200215", "20200101", "20210305"], (2020, 2, 5, 0, 45)),
    "Chinese": ([f"{year}\u5e74{month}\u6708{day}\u65e5" for year, month, day in YMD],
                (2020, 2, 5, 0, 45)),
}  # fmt: skip


@pytest.mark.parametrize(("words", "parts"), DATES.values(), ids=DATES)
def test_dates_are_numbers_and_told(words, parts, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines("when,a,y", quoted([*words, "", "unknown", *cycle(*words)[5:]]), A, Y), "utf-8")
    if words[0].isdigit():
        path.write_text(path.read_text().replace("unknown", ""))
    dataset = read(path)
    assert dataset.reading.columns["dates"] == ["when"]
    assert dataset.notes[0].startswith("column when: dates, ")
    found = dataset.features
    for name, value in zip(("year", "month", "weekday", "hour", "days"), parts, strict=True):
        if f"when: {name}" in found:
            assert found[f"when: {name}"][0] == pytest.approx(value)
            assert found[f"when: {name}"][3:5].isna().all()
    assert ("when: hour" in found) == (parts[3] > 0)
    assert list(read(path, dates="days").features) == ["a", "when: days"]
    dropped = read(path, dates="drop")
    assert list(dropped.features) == ["a"]
    assert dropped.reading.columns["left out"] == ["when"]


def test_an_ambiguous_date_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines("when,a,y", cycle("01/02/2020", "03/04/2020", "05/06/2021"), A, Y))
    assert read(path).notes[0].endswith("the day could be the month too")


COUNT = list(range(ROWS))
SHUFFLED = np.random.default_rng(5).permutation(ROWS)
# The header and the first column, settings, and the column that is left out.
COUNTERS = {
    "pandas' index": ("Unnamed: 0", COUNT, {}, "Unnamed: 0"),
    "pandas' index of parts": ("Unnamed: 0", [row % 70 for row in COUNT], {}, "Unnamed: 0"),
    "no name": ("", COUNT, {}, "column_1"),
    "from one on": ("n", [row + 1 for row in COUNT], {}, "n"),
    "shuffled": ("n", SHUFFLED, {}, "n"),
    "backwards": ("n", COUNT[::-1], {}, "n"),
    "identifiers": ("customer", 1000 + 37 * SHUFFLED, {}, "customer"),
    "as floats": ("n", [f"{row}.0" for row in COUNT], {}, "n"),
    "words": ("name", [f"person {row}" for row in SHUFFLED], {}, "name"),
    "nothing": ("empty", [""] * ROWS, {}, "empty"),
    "nothing without a name": ("", [""] * ROWS, {}, "column_1"),
    "kept": ("n", COUNT, {"keep": ("n",)}, None),
    "measured": ("n", [row // 2 for row in COUNT], {}, None),
    "with gaps": ("n", ["", *COUNT[1:]], {}, None),
}  # fmt: skip


@pytest.mark.parametrize(("name", "cells", "settings", "left_out"), COUNTERS.values(), ids=COUNTERS)
def test_columns_that_number_rows_are_left_out_and_told(name, cells, settings, left_out, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines(f"{name},a,y", cells, A, Y))
    dataset = read(path, **settings)
    assert dataset.reading.columns["left out"] == ([] if left_out is None else [left_out])
    assert list(dataset.features) == (["a"] if left_out else [name, "a"])
    if left_out:
        assert any(note.startswith(f"column {left_out} left out: ") for note in dataset.notes)


def test_what_parquet_says_of_columns_counts(tmp_path):
    table = pd.DataFrame({"a": A, "w": W, "y": Y, "zone": pd.Categorical(np.arange(ROWS) % 5 + 1)})
    for index in (table.sample(frac=1, random_state=1), table.assign(k=SHUFFLED % 70).set_index("k")):
        dataset = read(write_index(index, tmp_path / "t.parquet"))
        assert list(dataset.features) == ["a", "w", "zone"]
        assert dataset.features["zone"].cat.categories.tolist() == ["1", "2", "3", "4", "5"]
        assert len(dataset.reading.columns["left out"]) == 1
    spaced = write(table.rename(columns={"y": " Label", "a": "a "}), tmp_path / "s.parquet")
    assert list(read(spaced, " Label").features) == list(read(spaced, "Label").features) == ["a", "w", "zone"]
    wide = table.assign(number=(np.arange(ROWS) // 2 + 2**53 + 1).astype(np.int64))
    assert read(write(wide, tmp_path / "w.parquet")).features["number"].nunique() == ROWS // 2


def write_index(table: pd.DataFrame, path: Path) -> Path:
    table.to_parquet(path)
    return path


# The cells of the target, settings, class names with their rows, and what is told.
TARGETS = {
    "None": (["None", "None", "Apnea"], {}, {"None": 140, "Apnea": 70}, "'None' is a class, of 140 rows"),
    "NA": (["NA", "EU", "EU"], {}, {"EU": 140, "NA": 70}, "'NA' is a class"),
    "n/a": (["n/a", "low", "low"], {}, {"low": 140, "n/a": 70}, "'n/a' is a class"),
    "null": (["null", "a", "b"], {}, {"a": 70, "b": 70, "null": 70}, "'null' is a class"),
    "nan among numbers": (["nan", "0", "1", "1"], {}, {"1": 104, "0": 53, "nan": 53}, "'nan' is a class"),
    "NA is missing": (["NA", "EU", "AS"], {"missing": ("NA",)}, {"AS": 70, "EU": 70}, "70 of 210 rows left out"),
    "a question": (["?", "b", "a", "a"], {}, {"a": 104, "b": 53}, "53 of 210 rows left out that have no y"),
    "empty": (["", "b", "a", "a"], {}, {"a": 104, "b": 53}, "53 of 210 rows left out that have no y"),
    "nothing is missing": (["?", "b", "a"], {"missing": ()}, {"?": 70, "a": 70, "b": 70}, None),
    "codes": (["01", "1", "1e0"], {}, {"01": 70, "1": 70, "1e0": 70}, None),
    "powers": (["1e0", "1", "2"], {}, {"1": 70, "1e0": 70, "2": 70}, None),
    "floats": (["1.0", "0.0", "0.0"], {}, {"0": 140, "1": 70}, None),
    "shares": (["10%", "20%", "20%"], {}, {"20%": 140, "10%": 70}, None),
    "one is larger": (["1", "1", "0"], {}, {"1": 140, "0": 70}, None),
    "folded": (["Yes", "yes", "yes", "no"], {"fold_case": True}, {"yes": 158, "no": 52}, None),
    "dates": (["2020-01-01", "2020-01-02", "2020-01-02"], {}, {"2020-01-02": 140, "2020-01-01": 70}, None),
}  # fmt: skip


@pytest.mark.parametrize(("cells", "settings", "classes", "told"), TARGETS.values(), ids=TARGETS)
def test_classes_are_called_what_they_are_called(cells, settings, classes, told, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines("a,y", A, cycle(*cells)))
    dataset = read(path, repeated="keep", **settings)
    assert dict(zip(dataset.class_names, dataset.class_counts.tolist(), strict=True)) == classes
    assert any(told in note for note in dataset.notes) if told else dataset.notes == ()


# The header, the names that features get, and what is told.
HEADERS = {
    "numbers that count": ("0,1", ["0"], None),
    "years": ("2019,2020", ["2019"], None),
    "numbers of a row": ("5.1,yes", ["5.1"], "if the file has no header, write data.header=none"),
    "letters": ("gr\u00f6\u00dfe,\u7c7b\u522b", ["gr\u00f6\u00dfe"], None),
    "marks": ("#id [Nm],failed?", ["#id [Nm]"], None),
    "spaces": (" a , y ", ["a"], None),
    "quotes": ('"a, b","y"', ["a, b"], None),
}


@pytest.mark.parametrize(("header", "names", "told"), HEADERS.values(), ids=HEADERS)
def test_headers_are_read_as_they_are(header, names, told, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines(header, A, Y), "utf-8")
    dataset = read(path, header.rpartition(",")[2].strip('" '))
    assert list(dataset.features) == names
    assert any(told in note for note in dataset.notes) if told else dataset.notes == ()


def test_names_that_are_there_twice_are_told_apart(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines(" a,a, a,a.1,y", A, -A, W, W, Y))
    dataset = read(path, " y")
    assert list(dataset.features) == ["a", "a.2", "a.3", "a.1"]
    assert dataset.notes[0] == "two columns are named 'a': the second one, column 2, is read as 'a.2'"
    np.testing.assert_array_equal(dataset.features["a.2"], -A)


def test_a_header_of_r_has_a_name_less(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(lines('"a" "y"', quoted(range(1, ROWS + 1)), A, quoted(Y), separator=" "))
    dataset = read(path)
    assert list(dataset.features) == ["a"]
    assert dataset.reading.columns["left out"] == ["column_1"]


def with_a(**cells: str) -> str:
    """The plain table with other cells in some rows of the first column."""
    return lines("a,w,y", [cells.get(f"r{row + 1}", value) for row, value in enumerate(A)], W, Y)


# File name, content, settings, and the words of what is wrong, expected and mended.
REFUSED = {
    "infinite": ("t.csv", with_a(r4="inf"), {}, ["'a' has inf in row 4", "finite", "data.drop=[a]"]),
    "a word": ("t.csv", with_a(r4="3.5 kg"), {}, ["'3.5 kg' in row 4", "numbers in 209 of its 210", "data.missing"]),
    "spellings of classes": (
        "t.csv", lines("a,y", A, cycle("Yes", "yes", "no")), {}, ["'Yes', 'yes'", "data.fold_case=true"]
    ),
    "spaces in classes": ("t.csv", lines("a,y", A, cycle("a b", "a  b", "c")), {}, ["'a b', 'a  b'", "fold_case"]),
    "no class": ("t.csv", PLAIN.replace("yes", ""), {"unlabelled": "refuse"}, ["missing in 30 of 210 rows: 1, 8"]),
    "long rows": ("t.csv", PLAIN + "1,2,3,4\n1,2\n", {}, ["row 211 of t.csv has 4 cells", "row 212 2 cells"]),
    "open quotation": ("t.csv", PLAIN + '1,"red,no\n1,red,no\n', {}, ["quotation in row 211", "close the quotation"]),
    "not that encoding": (
        "t.csv", PLAIN.replace("red", "r\u00f6t").encode("cp1252"), {"encoding": "utf-8"}, ["byte 0xf6", "utf-8"]
    ),
    "Japanese": (
        "t.csv", PLAIN.replace("red", "\u8d64\u3044\u5b9f").encode("shift_jis"), {}, ["byte 0x", "data.encoding"]
    ),
    "zeros": ("t.csv", PLAIN.replace("red", "r\0d"), {}, ["byte 0x00", "in line 2"]),
    "two tables": ("t.zip", zipped(PLAIN, "a.csv", "b.csv"), {}, ["2 tables: a.csv, b.csv", "unpack it"]),
    "no zip": ("t.zip", PLAIN, {}, ["cannot be read as CSV", "write the table again"]),
    "no workbook": ("t.xlsx", PLAIN, {}, ["cannot be read as Excel"]),
    "no ARFF": ("t.arff", PLAIN, {}, ["cannot be read as ARFF"]),
    "no feature": (
        "t.csv", lines("id,y", COUNT, Y), {}, ["no column with values beside y; left out are id", "data.keep=[id]"]
    ),
    "no such column": ("t.csv", PLAIN, {"drop": ("ww",)}, ["data.drop names 'ww'", "did you mean w?"]),
    "faults together": (
        "t.csv",
        lines("a,b,w,y", ["inf", *A[1:]], [*A[1:], "x"], W, cycle("Yes", "yes", "no")),
        {"drop": ("zz",), "group": "nobody"},
        ["t.csv has 5 faults", "1. data.drop names 'zz'", "2. data.group names", "'a' has inf"]
        + ["'b' has 'x' in row 210", "'Yes', 'yes'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "settings", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_with_all_faults(name, content, settings, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read(path, **settings)
    for each in words:
        assert each in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://example.org/t.csv", ["an address", "download it first", "curl -LO"]),
        ("t.json", ["t.json", "ends in .csv"]),
        ("t.parquet.gz", ["t.parquet.gz"]),
    ],
)
def test_names_that_are_no_tables_are_refused_unread(path, words):
    with pytest.raises(UserError) as caught:
        choose("data", "csv", path=path, target="y")
    assert all(word in str(caught.value) for word in words)


def test_a_folder_without_parts_is_said_to_be_one(tmp_path):
    with pytest.raises(UserError, match="which is a folder without Parquet files"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"data\.encoding is .klingon."):
        read(tmp_path, encoding="klingon")


def test_many_categories_keep_the_frequent_ones(tmp_path):
    path = tmp_path / "t.csv"
    # Of 310 words the first 50 are in three rows each, or in two.
    words = [f"w{row % 50}" for row in range(130)] + [f"w{row}" for row in range(50, 310)]
    y = np.where(np.arange(len(words)) % 5, "no", "yes")
    path.write_text(lines("c,a,y", words, np.resize(A, len(words)), y))
    dataset = read(path)
    kept = set(dataset.features["c"].cat.categories)
    assert kept == {f"w{number}" for number in range(50)} | {"(other)"}
    assert (dataset.features["c"] == "(other)").sum() == 260
    assert "the 50 most frequent of 310 categories" in dataset.notes[0]
    assert len(read(path, categories=300).features["c"].cat.categories) == 301


def test_a_column_that_gives_the_class_away_is_told(tmp_path):
    path = tmp_path / "t.csv"
    random = np.random.default_rng(7)
    noise = np.where(Y == "yes", 2, 0) + random.normal(size=ROWS)
    by_number = np.where(Y == "yes", 10, 0) + random.normal(size=ROWS)
    by_word = [f"s{row % 5}" if y == "yes" else f"t{row % 5}" for row, y in enumerate(Y)]
    path.write_text(lines("noise,after,status,a,y", noise.round(3), by_number.round(3), by_word, A, Y))
    found = [note for note in read(path).notes if note.startswith("possible leak")]
    assert len(found) == 1
    assert "after, status predict" in found[0] or "status, after predict" in found[0]
    path.write_text(lines("noise,a,y", noise.round(3), A, Y))
    assert not any("possible leak" in note for note in read(path).notes)


def test_long_lines_and_many_columns_are_read(tmp_path):
    path = tmp_path / "t.csv"
    columns = 3001
    names = ",".join(f"{'gene' * 100}{place}" for place in range(columns))
    assert len(names) > 2**20
    cells = [",".join(str(row * place % 7) for place in range(columns)) for row in range(1, 41)]
    path.write_text(lines(f"{names},y", cells, Y[:40]))
    assert read(path).features.shape == (40, columns)
    path.write_text(lines("a,w,y", A, ["long" * 2**20, "red", *W[2:]], Y))
    assert len(read(path).features["w"].cat.categories) == 4


def test_a_decimal_that_is_given_is_that_of_every_column(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines("c,a,y", cycle("1.234", "2.500", "3.001"), quoted(COMMA), Y))
    assert read(path).features["c"][0] == 1.234
    given = read(path, decimal=",").features
    assert given["c"].tolist()[:3] == [1234, 2500, 3001]
    np.testing.assert_array_equal(given["a"], A)
    # Behind semicolons, another column says which it is.
    path.write_text(lines("c;a;y", cycle("1.234", "2.500", "3.001"), COMMA, Y, separator=";"))
    assert read(path).features["c"][0] == 1234


random = np.random.default_rng(11)
RARE = [150, 40, 3, 2, 1, 3]
# The columns of a file, class counts, settings, and what is said of it, small parts of classes included.
FEW = {
    "rows of the rarest class": (
        {"a": random.normal(size=400), "y": ["rare"] * 5 + ["common"] * 395},
        *({}, {"common": 395, "rare": 5}, ["fewer than 5 validation or test rows", "rare has 1 and 1"]),
    ),
    "values of the features": (
        {
            "q1": random.choice(["0", "1"], 1000),
            "q2": random.choice(["0", "1"], 1000),
            "y": np.where(np.arange(1000) % 11, "no", "yes"),
        },
        *({}, {"no": 909, "yes": 91}, ["992 of 1000 rows repeat", "each of 4 sets", "data.repeated=keep"]),
    ),
    "too small classes left out": (
        {"a": random.normal(size=199), "y": np.repeat(["common", "some", "r1", "r2", "r3", "r4"], RARE)},
        *({"rare": "drop"}, {"common": 150, "some": 40}, ["9 rows left out", "r1 (3 rows), r4 (3 rows), r2 (2 rows)"]),
    ),
    "rows of a hundred classes": (
        {"a": random.normal(size=3000), "y": np.repeat([f"c{label:03d}" for label in range(100)], 30)},
        *({}, {f"c{label:03d}": 30 for label in range(100)}, ["classes (100): c000 30, c001 30", "600 test rows"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "settings", "counts", "said"), FEW.values(), ids=FEW)
def test_what_there_is_little_of_is_kept_or_told(columns, settings, counts, said, tmp_path, capsys):
    path = write(pd.DataFrame(columns).sample(frac=1, random_state=1), tmp_path / "t.csv")
    data = choose("data", "csv", path=str(path), target="y", **settings)
    dataset = open_dataset(data)
    for seed in range(3):
        split = make_split(dataset, Shares(0.2, 0.2), seed=seed, split=seed)
        tell_notes(data, dataset, split)
        tell_small_classes(dataset, split)
        told = capsys.readouterr().err
        assert all(word in told for word in said)
        labels = np.concatenate([split.train_labels, split.validation_labels, split.test_labels])
        found = dict(zip(dataset.class_names, np.bincount(labels).tolist(), strict=True))
        assert found == counts
    # Of many classes no pair is a metric.
    names = confusion_names(dataset.class_names)
    assert len(names) == (4 if len(counts) == 2 else 0)
