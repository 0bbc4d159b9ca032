"""Fused kernels: MindSpore joins neighbouring operations of a graph into one kernel that it compiles.

A fleet is bound by memory and by the start of kernels, not by arithmetic: fused, a model-epoch of 128 models
takes 0.16 ms instead of 0.30 on one core (AMD EPYC). MindSpore leaves this off on a CPU. The compiler takes
about 5 s for the first graph, so its kernels are kept for later processes; it links them with g++.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from lossfleet.runners.children import run_within
from lossfleet.runners.environment import cache_folder
from lossfleet.runners.locks import lock

FREE_BYTES = 64 * 2**20
# g++ links in a tenth of a second.
SECONDS_TO_LINK = 5
PREFIX = "lossfleet-kernels-"
KERNELS = "akg_kernel_meta"
LOCK = "lock"
# The compiler leaves this, spelled so, in the working directory.
COMPILER_LOG = "dsa_transfrom.log"
# MindSpore leaves this there when it cannot compile.
FAILED_GRAPHS = Path("rank_0")

_folder: tempfile.TemporaryDirectory[str] | None = None


def obstacle() -> str | None:
    """Why this machine cannot fuse kernels, or None if it can."""
    linker = shutil.which("g++")
    if linker is None:
        return "g++ is not on the path"
    package = importlib.util.find_spec("mindspore")
    if package is None or not (Path(package.origin or "").parent / "lib/plugin/cpu/libakg.so").exists():
        return "this MindSpore comes without its kernel compiler"
    if shutil.disk_usage(tempfile.gettempdir()).free < FREE_BYTES:
        return f"less than {FREE_BYTES // 2**20} MiB are free in {tempfile.gettempdir()}"
    return linker_failure(linker)


@lru_cache
def linker_failure(linker: str) -> str | None:
    """Why a linker does not link a library, or None: the kernel compiler would wait for ever for one that fails."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}link-") as folder:
        library = Path(folder) / "nothing.so"
        command = [linker, "-shared", "-o", str(library), "-lm"]
        try:
            done = run_within(SECONDS_TO_LINK, command)
        except OSError as error:
            return f"{linker} cannot be started ({error.strerror})"
        except subprocess.TimeoutExpired:
            return f"{linker} has not linked an empty library within {SECONDS_TO_LINK} s"
        return None if library.exists() else f"{linker} does not link (exit code {done.returncode})"


def fuse_kernels() -> None:
    """Let this process fuse the kernels of all graphs that it compiles from now on; once is enough.

    It takes the kernels that earlier processes published, and has a folder of its own for more: the compiler
    writes over what another process may have loaded.
    """
    global _folder
    if _folder is not None:
        return
    remove_left_folders()
    _folder = tempfile.TemporaryDirectory(prefix=PREFIX)
    own = Path(_folder.name)
    # Open, and so locked, until this process is gone.
    lock(os.open(own / LOCK, os.O_CREAT | os.O_RDWR))
    os.environ |= {
        # The compiler's exponential is off by 3e-4, the one that is not fused by 8e-6 (relative, from -20 to 5).
        "MS_DEV_GRAPH_KERNEL_FLAGS": "--opt_level=1 --disable_cluster_ops=Exp",
        "MS_COMPILER_CACHE_PATH": str(own),
        # Where the compiler may look for tuned schedules; of other folders it complains on standard output.
        "AKG_WHITE_LIST_PATH": "/",
    }
    with suppress(OSError, RuntimeError):
        copy_kernels(published_kernels(), own / KERNELS)


@contextmanager
def compiling() -> Iterator[None]:
    """For whatever may compile a graph: let the compiler's processes work and leave no traces.

    They inherit which signals are blocked, and end each other by SIGTERM.
    """
    was_there = FAILED_GRAPHS.exists()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if _folder is not None:
        if threading.current_thread() is threading.main_thread():
            # MindSpore puts a handler of its own in the place of Python's.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        Path(COMPILER_LOG).unlink(missing_ok=True)
        if not was_there:
            shutil.rmtree(FAILED_GRAPHS, ignore_errors=True)


def remove_left_folders() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), (folder / LOCK).open("rb") as file:
            lock(file, wait=False)
            shutil.rmtree(folder, ignore_errors=True)


def publish_kernels() -> None:
    """Keep what this process compiled for later processes; without room to keep it they compile it again."""
    if _folder is not None:
        with suppress(OSError, RuntimeError):
            copy_kernels(Path(_folder.name) / KERNELS, published_kernels())


def published_kernels() -> Path:
    """The user's cache folder of kernels, for this version of MindSpore.

    Raises:
        RuntimeError: the user has no home.
    """
    from importlib.metadata import version

    return cache_folder() / f"kernels-mindspore-{version('mindspore')}"


def copy_kernels(source: Path, target: Path) -> None:
    """Copy the kernels that the target does not have; one is complete when its description is there."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for description in source.glob("*.json"):
        for file in (description.with_suffix(".so"), description):
            if not (target / file.name).exists():
                part = target / f"{file.name}.{os.getpid()}"
                shutil.copy(file, part)
                part.replace(target / file.name)
