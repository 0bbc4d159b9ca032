"""How the native core comes to be: compiled once, whoever asks at the same time, or an obstacle in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lossfleet.runners.training.native import build

ROOT = Path(__file__).parents[2]
# Compiles nothing, slowly, and counts.
COMPILER = """#!/bin/sh
echo compiled >> "$COUNTED"
{then}
while [ "$1" != -o ]; do shift; done
echo library > "$2"
"""
ASK = "from lossfleet.runners.training.native.build import ROWS, library; print(library(ROWS))"


@pytest.fixture(autouse=True)
def _nothing_is_remembered():
    build.library.cache_clear()
    build.core.cache_clear()
    yield
    build.library.cache_clear()
    build.core.cache_clear()


@pytest.fixture
def count(tmp_path, monkeypatch) -> Path:
    """Where a compiler of the test's counts its calls."""
    counted = tmp_path / "counted"
    monkeypatch.setenv("COUNTED", str(counted))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return counted


def put_compiler(folder: Path, then: str = "") -> None:
    (folder / build.COMPILER).write_text(COMPILER.format(then=then))
    (folder / build.COMPILER).chmod(0o755)


def test_of_two_processes_one_compiles_and_both_have_the_library(tmp_path, count):
    put_compiler(tmp_path, "sleep 0.5")
    processes = [
        subprocess.Popen([sys.executable, "-c", ASK], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    (library,) = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert Path(library).read_text() == "library\n"
    assert count.read_text().splitlines() == ["compiled"]
    # Nothing is left of the way there.
    assert sorted(file.name for file in Path(library).parent.iterdir()) == [
        Path(library).name,
        "native.lock",
    ]


def test_another_cpu_source_or_flag_is_another_library(tmp_path, monkeypatch):
    names = {build.digest(build.ROWS)}
    assert build.digest(build.ROWS) in names
    monkeypatch.setattr(build, "cpu", lambda: "another CPU")
    names.add(build.digest(build.ROWS))
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    names.add(build.digest(build.ROWS))
    names.add(build.digest(build.DETECTORS))
    for name in ("core.cpp", "layers.h"):
        folder = tmp_path / name
        folder.mkdir()
        for file in build.FOLDER.glob("*.[ch]*"):
            (folder / file.name).write_text(file.read_text() + ("// changed\n" if file.name == name else ""))
        monkeypatch.setattr(build, "FOLDER", folder)
        names.add(build.digest(build.ROWS))
    assert len(names) == 6


def test_without_a_compiler_the_obstacle_names_it(tmp_path, count, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert build.obstacle() == "g++ is not on the path"
    # What was compiled before needs none.
    library = tmp_path / "cache" / "lossfleet" / f"native-{build.digest(build.ROWS)}.so"
    library.write_text("library")
    assert build.library(build.ROWS) == library


def test_the_obstacle_says_what_a_compiler_complains_of(tmp_path, count):
    put_compiler(tmp_path, "echo 'cstddef: no such file' >&2; exit 1")
    assert build.obstacle() == "g++ fails: cstddef: no such file"
    assert list((tmp_path / "cache" / "lossfleet").glob("native-*")) == []


def test_a_compiler_that_does_not_end_is_an_obstacle(tmp_path, count, monkeypatch):
    monkeypatch.setattr(build, "SECONDS_TO_COMPILE", 0.5)
    put_compiler(tmp_path, "sleep 600")
    assert build.obstacle() == "g++ has not compiled the core within 0.5 s"
    assert list((tmp_path / "cache" / "lossfleet").glob("native-*")) == []


def test_a_compiler_that_cannot_be_started_is_an_obstacle(tmp_path, count, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / build.COMPILER).write_bytes(b"\x7fELF")
    (tmp_path / build.COMPILER).chmod(0o755)
    assert build.obstacle() == "g++ cannot be started (Exec format error)"


def test_what_is_no_library_is_an_obstacle(tmp_path, count):
    put_compiler(tmp_path)
    assert "native-" in build.obstacle()


@pytest.mark.parametrize("cache", ["/proc/none", ""])
def test_without_a_cache_the_process_has_a_library_of_its_own(tmp_path, count, monkeypatch, cache):
    put_compiler(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)

    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    library = build.library(build.ROWS)
    assert library.exists()
    assert library.parent.name.startswith("lossfleet-native-")
