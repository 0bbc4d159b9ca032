"""Fused kernels: the same numbers as without, compiled once, and no traces."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lossfleet.runners.training import fusion

ROOT = Path(__file__).parents[2]
# A graph with mining and label smoothing, and the closed forms of the losses without.
SAME_NUMBERS = "fleets and smoothing or closed_form or log1p"
FILES = ("fleet", "stacked_focal")
SMALL_GRAPH = """
from lossfleet.runners.training import fusion
fusion.fuse_kernels()
import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

@ms.jit
def graph(x):
    return ops.sqrt(x * x + 1.0) - x

with fusion.compiling():
    print(float(graph(Tensor(np.full(100, 0.75, np.float32))).asnumpy()[-1]))
fusion.publish_kernels()
"""


def run(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder of its own, with a cache of its own."""
    own = {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **own, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_this_machine_can_fuse():
    assert fusion.obstacle() is None


def test_without_a_linker_no_kernels_are_fused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert fusion.obstacle() == "g++ is not on the path"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 1", "does not link (exit code 1)"),
        ("exit 0", "does not link (exit code 0)"),
        ("sleep 600", "has not linked an empty library within 0.2 s"),
        ("trap '' TERM; sleep 600 & wait", "has not linked an empty library within 0.2 s"),
    ],
)
def test_a_linker_that_fails_or_hangs_is_no_linker(script, reason, tmp_path, monkeypatch):
    linker = tmp_path / "g++"
    linker.write_text(f"#!/bin/sh\n{script}\n")
    linker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(fusion, "SECONDS_TO_LINK", 0.2)
    assert fusion.obstacle() == f"{linker} {reason}"


def test_a_linker_that_cannot_be_started_is_none(tmp_path, monkeypatch):
    linker = tmp_path / "g++"
    linker.write_bytes(b"\x7fELF")
    linker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fusion.obstacle() == f"{linker} cannot be started (Exec format error)"


def test_the_fleet_passes_its_tests_with_fused_kernels(tmp_path):
    (tmp_path / "fuse.py").write_text(
        "from lossfleet.runners.training import fusion\nfusion.fuse_kernels()\n"
    )
    ran = run(
        *("-m", "pytest", "-q", "-p", "fuse", "-p", "no:cacheprovider", "--rootdir", str(ROOT)),
        *("-k", SAME_NUMBERS, *(str(ROOT / f"tests/training/test_{name}.py") for name in FILES)),
        folder=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]


def test_kernels_are_compiled_once_and_leave_nothing_behind(tmp_path):
    (tmp_path / "graph.py").write_text(SMALL_GRAPH)
    first = run("-B", "graph.py", folder=tmp_path)
    assert (first.returncode, first.stdout) == (0, "0.5\n"), first.stderr
    kernels = [path.name for path in (tmp_path / "cache").rglob("*.so")]
    assert len(kernels) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "graph.py"]
    # Where nothing could be linked, the published kernel is all there is.
    again = run("-B", "graph.py", folder=tmp_path, PATH="")
    assert (again.returncode, again.stdout) == (0, "0.5\n"), again.stderr
    assert [path.name for path in (tmp_path / "cache").rglob("*.so")] == kernels


def test_the_compiler_works_where_signals_are_blocked_and_nothing_can_be_kept(tmp_path):
    """As in a sweep, whose signals one thread waits for; the compiler's processes end each other by SIGTERM."""
    (tmp_path / "cache").write_text("a file where the folder should be")
    block = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})\n"
    still = "print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())) == [signal.SIGINT, signal.SIGTERM])\n"
    (tmp_path / "graph.py").write_text(block + SMALL_GRAPH + still)
    ran = run("graph.py", folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "0.5\nTrue\n"), ran.stderr


def test_folders_of_killed_processes_are_removed_and_those_of_living_ones_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = tmp_path / f"{fusion.PREFIX}living"
    killed = tmp_path / f"{fusion.PREFIX}killed"
    starting = tmp_path / f"{fusion.PREFIX}starting"
    for folder in (living, killed, starting):
        folder.mkdir()
    (killed / fusion.LOCK).touch()
    hold = (
        f"import fcntl, sys; file = open({str(living / fusion.LOCK)!r}, 'w'); fcntl.flock(file, 2); "
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        fusion.remove_left_folders()
        assert sorted(tmp_path.iterdir()) == [living, starting]
        holder.communicate()
