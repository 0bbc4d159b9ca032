"""A real sweep in MLflow's real UI, looked at with a browser; its screenshots are kept in test-artifacts/."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from whole_sweeps import command, succeed

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
SECONDS = 90
SWEEP = (
    "data=breast_cancer",
    "strategy=focal",
    "loss.gamma=interval(0,5)",
    "loss.alpha=interval(0.1,0.9)",
    "budget.trials=3",
    "budget.replicates=2",
    "budget.epochs=2",
    "budget.rungs=1",
    "budget.final_replicates=2",
    "name=small",
    "keep=none",
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run")
OPTIONS += ("disable-background-networking", "disable-component-update", "disable-sync")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of the experiment that `lossfleet ui` prints."""
    folder = tmp_path_factory.mktemp("ui")
    succeed(folder, "sweep", *SWEEP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        command("ui", "--port", str(port)),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(SECONDS, server.kill)
    watchdog.start()
    try:
        printed = next((line for line in server.stdout if line.startswith("  breast_cancer: ")), None)
        assert printed, "the UI did not print the address of the experiment"
        yield printed.split()[-1]
    finally:
        watchdog.cancel()
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


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


def open_experiment(page, address: str) -> None:
    # The server answers some seconds after its address was printed.
    for _ in range(SECONDS):
        try:
            page.goto(address.partition("#")[0])
            break
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
            page.wait_for_timeout(500)
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
    page.get_by_text("history.png", exact=True).click()
    image = page.locator("img[src^='blob:'], img[src*='history.png']").first
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    keep(page, "figure")
