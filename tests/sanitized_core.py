"""Calls of the native core, recorded, and done again under the sanitizers of addresses and of undefined behaviour.

    python sanitized_core.py LIBRARY FOLDER

does those of a folder, in a process of its own, since a sanitizer's library must be the first that a process loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest.mock import patch

import numpy as np

from lossfleet.runners.training.native import call
from lossfleet.runners.training.native.build import opened
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.libraries import COMPILER, FOLDER, flags

# Without optimisation, which would take three times as long to compile.
SANITIZERS = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Each call that is done meanwhile becomes a file: its arrays before and after it, and whether it was refused."""
    numbers, do = count(), Call.__call__

    def record(self: Call) -> None:
        arrays = self._arrays
        # An array may come as an argument and as another one that is written.
        same = [next(n for n, other in enumerate(arrays) if other is each) for each in arrays]
        before, is_refused = [each.copy() for each in arrays], True
        try:
            do(self)
            is_refused = False
        finally:
            name = f"{next(numbers):03}-{self._function.__name__}"
            np.savez(folder / name, *before, *arrays, same=same, is_refused=is_refused)

    with patch.object(Call, "__call__", record):
        yield


def replayed(folder: Path, source: str, level: str) -> subprocess.CompletedProcess[str]:
    """Do the recorded calls of a folder with a library that is compiled for a level, under the sanitizers."""
    library = folder / "sanitized.so"
    own = [flag for flag in flags(level) if flag != "-O3"]
    subprocess.run(
        [COMPILER, *own, *SANITIZERS, str(FOLDER / source), "-o", str(library)], check=True, timeout=400
    )
    # Python's own memory is not all given back at its end.
    environment = {
        "LD_PRELOAD": f"{_of_compiler('libasan.so')} {_of_compiler('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    return subprocess.run(
        [sys.executable, __file__, str(library), str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=400,
    )


def _of_compiler(name: str) -> str:
    """Where the compiler has a library of its own."""
    command = [COMPILER, f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def replay(path: Path) -> None:
    """Do a call, and compare all of its arrays with those that were recorded."""
    with np.load(path) as stored:
        arrays = [stored[f"arr_{n}"] for n in range(2 * len(stored["same"]))]
        same, is_refused = stored["same"], bool(stored["is_refused"])
    before, after = arrays[: len(same)], arrays[len(same) :]
    given = [before[n] for n in same]
    try:
        Call(path.stem.split("-")[1], *given)()
    except ValueError:
        assert is_refused, f"{path.stem} was refused"
        return
    assert not is_refused, f"{path.stem} was not refused"
    for found, wanted in zip(given, after, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5, err_msg=path.stem)


if __name__ == "__main__":
    library = opened(Path(sys.argv[1]))
    call.core = lambda source: library
    paths = sorted(Path(sys.argv[2]).glob("*.npz"))
    for each in paths:
        replay(each)
    print(len(paths), "calls")
