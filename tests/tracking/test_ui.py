"""A real sweep in MLflow's real UI, looked at with a browser; its screenshots are kept in test-artifacts/."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest
from forks import ForkedCommand
from postgres import free_port
from whole_sweeps import succeed, wait_until

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
SECONDS = 90
SWEEP = (
    "data=npz",
    "data.path=leaves.npz",
    "augmentation=standard",
    "strategy=focal",
    "loss.gamma=interval(0,5)",
    "loss.alpha=interval(0.1,0.9)",
    "budget.trials=3",
    "budget.replicates=2",
    "budget.epochs=2",
    "budget.rungs=1",
    "budget.final_replicates=2",
    "name=small",
    "references=[]",
    "keep.members=2",
)
# As the page has them.
SHEETS = ("examples", "augmentation", "mistakes", "occlusion")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run")
OPTIONS += ("disable-background-networking", "disable-component-update", "disable-sync")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished sweep of images that are not easily told apart."""
    made = tmp_path_factory.mktemp("ui")
    random = np.random.default_rng(0)
    pixels, labels = random.normal(120, 40, (90, 12, 12)), np.repeat(["healthy", "rust"], [60, 30])
    pixels[labels == "rust", 3:7, 3:7] += 40
    np.savez(made / "leaves.npz", X=pixels.clip(0, 255).astype(np.uint8), y=labels)
    succeed(made, "sweep", *SWEEP, figures=True)
    return made


@pytest.fixture(scope="module")
def served(folder):
    """The addresses of the trials and of the charts of the experiment that `lossfleet ui` prints."""
    port = free_port()
    server = ForkedCommand(("ui", "--port", str(port)), folder)
    try:
        shown = wait_until(lambda: "charts: " in server.printed.read_text(), server, pause=0.2)
        assert shown, server.errors.read_text()
        trials, charts = re.findall(r"(?:leaves-\w+|charts): (\S+)", server.printed.read_text())
        yield trials, charts
    finally:
        server.end()


@pytest.fixture(scope="module")
def address(served):
    """The plain address of the experiment, without the prepared view."""
    return served[0].partition("&")[0]


@pytest.fixture
def page():
    if CHROMIUM is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("there is no browser; 'make system' installs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = [f"--{option}" for option in OPTIONS]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        opened = browser.new_page(viewport={"width": 1600, "height": 1000})
        opened.set_default_timeout(1000 * SECONDS)
        yield opened
        browser.close()


def keep(page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"ui-{name}.png")


def go(page, address: str) -> None:
    """Open an address; the server answers some seconds after it was printed."""
    for _ in range(SECONDS):
        try:
            page.goto(address)
            return
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
            page.wait_for_timeout(500)


def open_experiment(page, address: str) -> None:
    go(page, address.partition("#")[0])
    # The UI forgets the workflow of an address on the next page, but remembers this choice.
    page.get_by_text("Model training", exact=True).click()
    page.goto(address)
    page.get_by_role("link", name="small", exact=True).first.wait_for()
    page.get_by_role("button", name="Close", exact=True).first.click()


def row(page, name: str):
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True)).first


def test_trials_are_found_under_their_sweep_and_compared_by_gamma_and_alpha(page, address):
    open_experiment(page, address)
    row(page, "small").locator("button:not([data-testid]):not([aria-label])").first.click()
    for name in ("focal 000", "focal 001", "focal 002"):
        row(page, name).get_by_role("checkbox").first.check()
    keep(page, "runs")
    page.get_by_role("button", name="Compare").first.click()
    page.get_by_role("heading", name="Comparing 3 Runs").wait_for()
    plot = page.locator(".js-plotly-plot")
    for hyperparameter in ("loss.gamma", "loss.alpha"):
        plot.get_by_text(hyperparameter, exact=True).wait_for()
    keep(page, "comparison")


def test_a_sweep_says_what_it_found_and_has_its_figures(page, address):
    open_experiment(page, address)
    page.get_by_role("link", name="small", exact=True).first.click()
    page.get_by_text("only focal was run").first.wait_for()
    keep(page, "sweep")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("figures", exact=True).click()
    for name in ("history", "occlusion"):
        page.get_by_text(f"{name}.png", exact=True).click()
        image = page.locator(f"img[src^='blob:'], img[src*='{name}.png']").first
        image.wait_for()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        keep(page, f"figure-{name}")


def test_the_page_of_figures_shows_every_sheet_with_its_legend(page, folder):
    page.goto((folder / "studies/small/figures/figures.html").as_uri())
    ARTIFACTS.mkdir(exist_ok=True)
    found = page.locator("figure:has(img.sheet)")
    assert found.evaluate_all("figures => figures.map(figure => figure.id)") == list(SHEETS)
    for name in SHEETS:
        figure = page.locator(f"#{name}")
        image = figure.locator("img")
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        assert image.bounding_box()["width"] <= figure.bounding_box()["width"]
        assert len(figure.locator("figcaption").inner_text()) > 40
        figure.screenshot(path=ARTIFACTS / f"sheet-{name}.png")
    # And whatever else is a picture.
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def views(folder) -> dict[str, dict]:
    """The views of experiments, by name, as MLflow has them in its tags."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        query = "SELECT value FROM experiment_tags WHERE key LIKE 'mlflow.sharedViewState.%'"
        found = [json.loads(value) for (value,) in connection.execute(query)]
    return {view["name"]: view for view in found}


def test_the_printed_links_open_the_trials_sorted_by_what_was_compared(page, served):
    trials, charts = served
    go(page, trials)
    page.get_by_role("link", name="focal 002", exact=True).wait_for()
    shown = page.get_by_role("link", name=re.compile("^focal (final|00.)"))
    assert shown.all_inner_texts()[0] == "focal final"
    assert sorted(shown.all_inner_texts()) == ["focal 000", "focal 001", "focal 002", "focal final"]
    assert page.get_by_role("link", name="small", exact=True).count() == 0
    page.get_by_role("button", name="Sort: test_balanced_accuracy").wait_for()
    page.get_by_role("button", name="Close", exact=True).first.click()
    headers = " ".join(page.get_by_role("columnheader").all_inner_texts())
    for name in (
        "test_balanced_accuracy",
        "test_balanced_accuracy_std",
        "loss.gamma",
        "loss.alpha",
        "strategy",
    ):
        assert name in headers
    assert "loss.tau" not in headers
    keep(page, "view")
    go(page, charts)
    page.get_by_role("button", name="Add chart").first.wait_for()
    page.get_by_text("focal final", exact=True).first.wait_for()
    keep(page, "charts")


def test_the_view_is_stored_as_the_share_button_stores_it(page, served, folder):
    go(page, served[0])
    page.get_by_role("link", name="focal 002", exact=True).wait_for()
    page.get_by_test_id("saved-views-trigger").click()
    page.get_by_test_id("saved-views-save-current").click()
    page.get_by_role("dialog").get_by_role("textbox").first.fill("theirs")
    page.get_by_role("dialog").get_by_role("button", name="Save").first.click()
    page.get_by_test_id("share-link-input").wait_for()
    link = page.get_by_test_id("share-link-input").input_value()
    found = views(folder)
    ours, theirs = found["trials"], found["theirs"]
    assert ours.keys() == theirs.keys()
    assert {name: type(value) for name, value in ours.items()} == {
        name: type(value) for name, value in theirs.items()
    }
    assert re.search(r"/#/experiments/\d+/runs\?viewStateShareKey=[\w-]+", link)
    state = theirs["state"]
    if state.startswith("deflate;"):
        state = zlib.decompress(base64.b64decode(state.removeprefix("deflate;"))).decode()
    kept = json.loads(state)
    # In a view that came by a link the button stores MLflow's defaults: the same fields, of the same kinds.
    for name, value in json.loads(ours["state"]).items():
        assert type(kept[name]) is type(value)
    assert all(re.fullmatch(r"\w+\.`[^`]+`", column) for column in kept["selectedColumns"])
    assert all(
        re.fullmatch(r"\w+\.`[^`]+`", column) for column in json.loads(ours["state"])["selectedColumns"]
    )
