"""Every command in the README, run as it stands there; sweeps with a smaller budget."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from forks import ForkedCommand, run_command
from postgres import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
QUICK = ["lossfleet", "sweep", "experiment=quick"]
SMALLER = (
    "budget.trials=3",
    "budget.replicates=2",
    "budget.epochs=3",
    "budget.rungs=3",
    "budget.final_replicates=3",
    "references=[dummy]",
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    found = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    assert found
    assert all(words[0] in ("lossfleet", "python") for words in found)
    return found


def run(words: list[str], folder: Path) -> str:
    if words[0] == "lossfleet":
        smaller = SMALLER if words[1] == "sweep" and "--print-config" not in words else ()
        done = run_command((*words[1:], *smaller), folder)
    else:
        command = [sys.executable, *words[1:]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the commands run, with the examples that they name, and a sweep in the place of the main job."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", made / "examples")
    run(QUICK, made)
    return made


def test_the_first_screen_leads_from_a_sweep_to_a_served_prediction(folder):
    screen = re.search(r"^## From nothing.*?^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert screen is not None
    sweep, activate, *served = screen[1].splitlines()
    assert sweep.startswith("make sweep ")
    assert activate.startswith(". .venv/bin/activate ")
    port = str(free_port())
    script = (
        "\n".join(served)
        .replace("page_blocks", f"breast_cancer --port {port}")
        .replace(":5001/", f":{port}/")
        # A machine that others load needs longer.
        .replace("--retry 60 ", "--retry 300 ")
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (folder / "answer").open("wb") as answer:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdout=answer,
            start_new_session=True,
        )
        try:
            assert shell.wait(400) == 0
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
    (predicted,) = [
        line for line in (folder / "answer").read_text().splitlines() if line.startswith('{"predictions"')
    ]
    rows = json.loads(predicted)["predictions"]
    assert len(rows) == 5
    assert all(sum(row.values()) == pytest.approx(1) for row in rows if row.pop("class") != "")


def test_commands_run_in_their_order(folder):
    ahead, *others = commands()
    assert ahead == QUICK
    for words in others:
        if words[1] in ("ui", "serve"):
            serve(words, folder)
        elif words[0] == "python":
            run(words, folder)
        else:
            assert run(words, folder).strip()


def serve(words: list[str], folder: Path) -> None:
    """Start the UI, or a model, on a free port and see that it answers, on 127.0.0.1 alone."""
    port = free_port()
    path, text = {"ui": ("", b"MLflow"), "serve": ("ping", b"")}[words[1]]
    words = [word if word not in ("5000", "5001") else str(port) for word in words]
    server = ForkedCommand(words[1:], folder)
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as page:
                    assert text in page.read()
                    return
            except OSError:
                assert server.poll() is None, server.errors.read_text()
                time.sleep(0.5)
        raise AssertionError("the server did not answer")
    finally:
        server.end()


def test_python_runs_on_what_the_commands_left(folder):
    for block in blocks("python"):
        command = [sys.executable, "-c", block]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "focal" in done.stdout


def test_the_readmes_loss_is_that_of_the_examples():
    assert blocks("py") == [(ROOT / "examples/mine/my_poly1.py").read_text()]


def test_make_targets_exist():
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets == ["sweep", "test"]
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")], ids=str
)
def test_what_a_page_names_exists(page):
    text = page.read_text()
    for path, heading in re.findall(r"\]\(([\w/.]*)(?:#([\w-]+))?\)", text):
        named = page.parent / path if path else page
        assert named.exists(), path
        assert not heading or heading in headings(named), f"{path}#{heading}"
    for path in re.findall(r"`((?:conf|losses|runners|sweeps|tests)/[\w/.]+\.\w+)`", text):
        assert (ROOT / path).exists() or path.endswith("results.json"), path
    for name in re.findall(r"`lossfleet((?:\.[a-z]\w*)+)", text):
        if name != ".plugins":
            *modules, last = name[1:].split(".")
            assert any(
                (ROOT.joinpath(*each)).with_suffix(".py").exists() or ROOT.joinpath(*each).is_dir()
                for each in ([*modules, last], modules)
            ), name


def headings(page: Path) -> set[str]:
    """As links name them: in small letters, without marks, a hyphen for each space."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
