"""How the native core comes to be: installed, else compiled once, whoever asks at the same time, or an obstacle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numpy.core import _multiarray_umath
from setuptools import Distribution, Extension

from lossfleet.runners.training.native import build, extension, libraries
from lossfleet.runners.training.native.libraries import COMPILER, DETECTORS, LEVELS, ROWS, library_name

# Compiles nothing, slowly, and counts.
STAND_IN = """#!/bin/sh
echo compiled >> "$COUNTED"
{then}
while [ "$1" != -o ]; do shift; done
echo library > "$2"
"""
ASK = """
import sys
from pathlib import Path
from lossfleet.runners.training.native import build
build.FOLDER = Path(sys.argv[1])
print(build.library("core.cpp"))
"""
# What systems say of their CPUs, and the level that it is.
CPUS = {
    "flags\t\t: fpu sse2 avx avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl\n": "avx512",
    "flags\t\t: fpu sse2 avx avx2 fma avx512f avx512dq avx512cd avx512bw\n": "avx2",
    "flags\t\t: fpu sse2 avx avx2 fma avx512f avx512dq avx512cd avx512vl\n": "avx2",
    "flags\t\t: fpu sse2 avx avx2 fma avx512f avx512cd avx512bw avx512vl\n": "avx2",
    "processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\nflags\t\t: fpu sse2\n": "avx2",
    "flags\t\t: fpu sse2 avx avx2 fma4\n": "plain",
    "Features\t: fp asimd fphp asimdhp\n": "plain",
    "": "plain",
}


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
    # Nothing is installed.
    monkeypatch.setattr(build, "FOLDER", tmp_path / "installed")
    monkeypatch.setenv("COUNTED", str(counted))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return counted


def put_compiler(folder: Path, then: str = "") -> None:
    (folder / COMPILER).write_text(STAND_IN.format(then=then))
    (folder / COMPILER).chmod(0o755)


def test_of_two_processes_one_compiles_and_both_have_the_library(tmp_path, count):
    put_compiler(tmp_path, "sleep 0.5")
    processes = [
        subprocess.Popen([sys.executable, "-c", ASK, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    (library,) = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert Path(library).read_text() == "library\n"
    assert count.read_text().splitlines() == ["compiled"]
    # Nothing is left of the way there.
    assert sorted(file.name for file in Path(library).parent.iterdir()) == [
        Path(library).name,
        "native.lock",
    ]


def test_another_level_source_flag_or_architecture_is_another_library(tmp_path, monkeypatch):
    names = {library_name(source, level) for source in (ROWS, DETECTORS) for level in LEVELS}
    assert library_name(ROWS, "avx2") in names
    monkeypatch.setattr(libraries.platform, "machine", lambda: "another architecture")
    names.add(library_name(ROWS, "avx2"))
    monkeypatch.setattr(libraries, "FLAGS", (*libraries.FLAGS, "-g"))
    names.add(library_name(ROWS, "avx2"))
    monkeypatch.setattr(libraries, "LEVELS", {**LEVELS, "avx2": ("avx2",)})
    names.add(library_name(ROWS, "avx2"))
    for name in ("core.cpp", "layers.h"):
        folder = tmp_path / name
        folder.mkdir()
        for file in libraries.FOLDER.glob("*.[ch]*"):
            (folder / file.name).write_text(file.read_text() + ("// changed\n" if file.name == name else ""))
        monkeypatch.setattr(libraries, "FOLDER", folder)
        names.add(library_name(ROWS, "avx2"))
    assert len(names) == 6 + 5


@pytest.mark.parametrize("said", CPUS)
def test_the_level_is_the_best_whose_every_feature_the_cpu_has(tmp_path, monkeypatch, said):
    monkeypatch.setattr(libraries, "CPU_INFORMATION", tmp_path / "cpuinfo")
    assert libraries.level_here() == "plain"
    (tmp_path / "cpuinfo").write_text(said)
    assert libraries.level_here() == CPUS[said]


def test_what_is_installed_is_taken_if_it_loads_and_is_of_these_sources(tmp_path, count, monkeypatch):
    put_compiler(tmp_path)
    build.FOLDER.mkdir()
    installed = build.FOLDER / library_name(ROWS, libraries.level_here())
    installed.write_text("for another system")
    assert build.library(ROWS).read_text() == "library\n"
    installed.unlink()
    # Any library will do.
    installed.symlink_to(_multiarray_umath.__file__)
    build.library.cache_clear()
    assert build.library(ROWS) == installed
    monkeypatch.setattr(libraries, "FLAGS", (*libraries.FLAGS, "-g"))
    build.library.cache_clear()
    assert build.library(ROWS).read_text() == "library\n"
    assert count.read_text().splitlines() == ["compiled"] * 2


def build_core(folder: Path, *, in_place: bool) -> set[str]:
    """Do what setuptools does; returns the names of the libraries that are there then."""
    modules = [Extension("lossfleet.runners.training.native.core", [])]
    command = extension.BuildCore(Distribution({"ext_modules": modules}))
    command.build_lib, command.inplace = str(folder), in_place
    command.ensure_finalized()
    command.run()
    return {file.name for file in folder.rglob("*.so")}


def test_a_wheel_has_all_levels_and_sources_have_that_of_this_machine(tmp_path, count, monkeypatch):
    put_compiler(tmp_path)
    monkeypatch.setattr(libraries.platform, "machine", lambda: "x86_64")
    sources, wheel = tmp_path / "sources", tmp_path / "wheel"
    sources.mkdir()
    monkeypatch.setattr(extension.core, "FOLDER", sources)
    of_wheel = {library_name(source, level) for source in (ROWS, DETECTORS) for level in LEVELS}
    here = {library_name(source, libraries.level_here()) for source in (ROWS, DETECTORS)}
    assert build_core(wheel, in_place=False) == of_wheel
    assert build_core(sources, in_place=True) == here
    assert len(count.read_text().splitlines()) == 6 + 2
    # Compiled once; what other sources have left goes, and what another machine has compiled stays.
    of_others = max(of_wheel - here)
    (sources / of_others).touch()
    (sources / "core-avx2-0123456789abcdef.so").touch()
    assert build_core(sources, in_place=True) == here | {of_others}
    assert len(count.read_text().splitlines()) == 6 + 2


def test_another_architecture_is_plain(tmp_path, count, monkeypatch):
    put_compiler(tmp_path)
    monkeypatch.setattr(libraries.platform, "machine", lambda: "aarch64")
    assert build_core(tmp_path / "wheel", in_place=False) == {
        library_name(ROWS, "plain"),
        library_name(DETECTORS, "plain"),
    }


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (None, "g++ is not on the path"),
        ("echo 'cstddef: no such file' >&2; exit 1", "g++ fails: cstddef: no such file"),
    ],
)
def test_an_installation_without_the_core_says_in_one_line_what_is_slower(
    tmp_path, count, monkeypatch, caplog, then, reason
):
    monkeypatch.setenv("PATH", str(tmp_path))
    if then:
        put_compiler(tmp_path, then)
    assert build_core(tmp_path / "wheel", in_place=False) == set()
    (line,) = caplog.messages
    assert "several times as slowly" in line
    assert f"is not compiled: {reason}; once g++ is there" in line


def test_without_a_compiler_the_obstacle_names_it(tmp_path, count, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert build.obstacle() == "g++ is not on the path"
    # What was compiled before needs none.
    library = tmp_path / "cache" / "lossfleet" / library_name(ROWS, libraries.level_here())
    library.write_text("library")
    assert build.library(ROWS) == library


def test_the_obstacle_says_what_a_compiler_complains_of(tmp_path, count):
    put_compiler(tmp_path, "echo 'cstddef: no such file' >&2; exit 1")
    assert build.obstacle() == "g++ fails: cstddef: no such file"
    assert [file.name for file in (tmp_path / "cache" / "lossfleet").iterdir()] == ["native.lock"]


def test_a_compiler_that_does_not_end_is_an_obstacle(tmp_path, count, monkeypatch):
    monkeypatch.setattr(build, "SECONDS_TO_COMPILE", 0.5)
    put_compiler(tmp_path, "sleep 600")
    assert build.obstacle() == "g++ has not compiled the core within 0.5 s"
    assert [file.name for file in (tmp_path / "cache" / "lossfleet").iterdir()] == ["native.lock"]


def test_a_compiler_that_cannot_be_started_is_an_obstacle(tmp_path, count, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / COMPILER).write_bytes(b"\x7fELF")
    (tmp_path / COMPILER).chmod(0o755)
    assert build.obstacle() == "g++ cannot be started (Exec format error)"


def test_what_is_no_library_is_an_obstacle(tmp_path, count):
    put_compiler(tmp_path)
    assert "core-" in build.obstacle()


@pytest.mark.parametrize("cache", ["/proc/none", ""])
def test_without_a_cache_the_process_has_a_library_of_its_own(tmp_path, count, monkeypatch, cache):
    put_compiler(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)

    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    library = build.library(ROWS)
    assert library.exists()
    assert library.parent.name.startswith("lossfleet-native-")
