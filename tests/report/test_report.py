from __future__ import annotations

import base64
import os
from dataclasses import replace
from html.parser import HTMLParser

import mlflow_sweeps
import numpy as np
import pytest
import sweep_records
from figures_frame import HOSTILE, figures_frame, several
from matplotlib.image import imsave

from lossfleet.conf.errors import UserError
from lossfleet.sweeps.commands.cli import main
from lossfleet.sweeps.comparison.frame import Reproduction
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report import html as report
from lossfleet.sweeps.report.figures import draw_gallery, page
from lossfleet.sweeps.report.figures.sheets import Sheet

SWEEPS = [
    {
        "sweep": HOSTILE,
        "data": "wine",
        "started": 1_700_000_000.0,
        "environment": {"mindspore": "2.10.0", "git_commit": "c0ffee", "machine": HOSTILE},
        "continued": {"1": f"budget.trials: 2 -> 3 {HOSTILE}"},
        "mistakes": "",
        "params": {"budget.trials": "16", "ce.loss.name": "ce", "tracking.uri": "secret"},
    }
]


class Page(HTMLParser):
    """What a browser would see: the tags, the text, and everything it might load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data):
        self.text += data if self.tags[-1:] not in (["script"], ["style"]) else ""


def write(tmp_path, table, **changes):
    path = tmp_path / "report.html"
    report.write_report(summary(table), table, SWEEPS, figures=None, html=str(path), **changes)
    return path.read_text()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report in which every name is hostile."""
    table = figures_frame(HOSTILE, strategies=("ce", HOSTILE))
    table["class_names"] = [(HOSTILE, "common")] * len(table)
    table.columns = [name.replace("[rare]", f"[{HOSTILE}]") for name in table]
    table["params.sampler"] = HOSTILE
    return write(tmp_path_factory.mktemp("report"), table)


def test_a_report_has_everything_in_one_file(hostile):
    found = Page(hostile)
    for text in (
        "highest test balanced accuracy",
        "0.7",
        "corrected t-test (1)",
        "Nadeau and Bengio",
        "c0ffee",
    ):
        assert text in found.text
    for heading in (
        "Strategies on",
        "Best hyperparameters on",
        "Pairs of strategies on",
        "Figures",
        "Method",
    ):
        assert heading in found.text
    assert "budget.trials" in found.text
    assert "continued 1" in found.text
    assert "budget.trials: 2 -> 3" in found.text
    assert "secret" not in hostile
    assert found.tags.count("figure") == found.tags.count("img") >= 6


def test_a_report_loads_nothing(hostile):
    found = Page(hostile)
    assert found.loads
    assert all(load.startswith("data:image/png;base64,") for load in found.loads)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert "default-src 'none'" in hostile
    assert "@import" not in hostile.split("<script>")[0]
    assert len(hostile) < 8_000_000


def test_names_are_text(hostile):
    found = Page(hostile)
    # plotly.js and the lines that start it.
    assert found.tags.count("script") == 2
    assert found.text.count(HOSTILE) > 10


def test_several_data_sets_have_their_ranks():
    titles = [table.title for table in report.report_tables(summary(several()))]
    assert titles[0] == "test balanced accuracy"
    assert {"Best hyperparameters on iris", "Pairs of strategies on wine"} <= set(titles)
    assert titles[-1] == "Average ranks over 2 data sets"


def test_what_a_paper_published_is_a_table_of_its_own():
    paper = Reproduction("Table 9", ["strategy", "ap here", "ap published"], [["focal", "0.5", "0.3"]], [])
    tables = report.report_tables(replace(summary(several()), published=(paper,)))
    (found,) = (table for table in tables if table.title == "Table 9")
    assert ([cell.text for cell in found.rows[0]], found.header) == (["focal", "0.5", "0.3"], paper.header)
    assert "the splits that a setting is judged on" in found.note


def test_a_page_that_would_be_too_large_has_no_stills(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_STILLS", 1000)
    assert "img" not in Page(write(tmp_path, figures_frame())).tags


def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(os, "getpid", lambda: 17)
    (tmp_path / ".report.html.17").mkdir()
    gallery = draw_gallery(figures_frame()[lambda table: table["stage"] == "final"])
    with pytest.raises(OSError, match="directory"):
        page.write_page(path, title="new", gallery=gallery)
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("figures", "html", "what", "hint"),
    [
        (None, "nowhere/report.html", "nowhere does not exist", "--html report.html"),
        (None, "folder", "folder is a folder", "--html folder/report.html"),
        (None, "file/report.html", "file is no folder", "--html report.html"),
        ("file", None, "file is no folder", "--figures figures"),
        ("file/figures", None, "file is no folder", "--figures figures"),
    ],
)
def test_a_path_that_cannot_be_written_is_known_at_once(workdir, figures, html, what, hint):
    (workdir / "folder").mkdir()
    (workdir / "file").touch()
    with pytest.raises(UserError) as error:
        report.check_targets(figures, html)
    assert what in str(error.value)
    assert hint in str(error.value)
    report.check_targets("folder/new/figures", "folder/report.html")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(workdir):
    (workdir / "folder").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written to"):
        report.check_targets(None, "folder/report.html")


def test_compare_writes_both_from_mlflow(uri, workdir, capsys):
    drawn = workdir / "figures"
    drawn.mkdir()
    sheet = Sheet("found", "Found <1>", "In 狗 images.", [("cat", np.full((2, 1, 8, 8), 7, np.uint8))])
    (drawn / "found.png").write_bytes(sheet.png({}))
    imsave(drawn / "other.png", np.zeros((2, 2)))
    mlflow_sweeps.mirror(workdir, uri, sweep_records.sweep())
    assert main(["compare", "--html", "report.html", "--figures", "a/b", "--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("data,strategy,")
    *paths, last = captured.err.splitlines()
    assert last == "report.html"
    assert {each.rpartition("/")[0] for each in paths} == {"a/b"}
    written = (workdir / "report.html").read_text()
    text = Page(written).text
    # The sheet that the sweep has drawn.
    assert written.count('class="sheet"') == 1
    assert base64.b64encode((drawn / "found.png").read_bytes()).decode() in written
    assert (workdir / "a/b/found.png").read_bytes() == (drawn / "found.png").read_bytes()
    of_sheet = ("Found <1>", "In 狗 images.")
    of_sweep = ("focal has the highest", "Sweep first", "2023-11-14 22:13 UTC", "two cores", "c0ffee")
    for said in (*of_sheet, *of_sweep):
        assert said in text
    assert {"strategies.png", "figures.html"} <= {path.name for path in (workdir / "a" / "b").iterdir()}
