"""The native core under the sanitizers of addresses and of undefined behaviour."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from test_layers import MODELS
from test_native import FAMILY, MININGS, WRONG, called, epoch_inputs

from lossfleet.runners.training.native import build

SCRIPT = Path(__file__).parents[1] / "sanitized_core.py"
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Of the first 20 rows, so that the last vector of examples is not full.
CUT = 20


def replayed(folder: Path) -> subprocess.CompletedProcess[str]:
    """Do the calls of a folder with the core under the sanitizers."""
    library = folder / "core.so"
    flags = [flag for flag in build.FLAGS if flag != "-O3"]
    command = [build.COMPILER, *flags, *SANITIZERS, str(build.FOLDER / build.ROWS), "-o", str(library)]
    subprocess.run(command, check=True, timeout=400)
    # Python's own memory is not all given back at its end.
    environment = {
        "LD_PRELOAD": f"{of_compiler('libasan.so')} {of_compiler('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(library), str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=400,
    )


def of_compiler(name: str) -> str:
    """Where the compiler has a library of its own."""
    command = [build.COMPILER, f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def store(folder: Path, name: str, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    np.savez(folder / f"{name}.npz", *inputs, *outputs)


def test_no_call_leaves_its_memory_or_does_what_is_undefined(tmp_path):
    calls = {(name, mining): {"mining": mining, "gamma": 1.5} for name in MODELS for mining in MININGS}
    calls |= {("two hidden", str(settings)): settings for settings in FAMILY}
    for number, ((name, _), settings) in enumerate(calls.items()):
        inputs = epoch_inputs(MODELS[name], **settings)
        inputs[6] = inputs[6][:CUT]
        inputs[11], inputs[12] = inputs[11][:CUT], np.ascontiguousarray(inputs[12][:, :CUT])
        store(tmp_path, f"right-{number}", inputs, called(inputs))
    for number, (index, value, _) in enumerate(WRONG.values()):
        inputs = epoch_inputs(MODELS["two hidden"])
        outputs = [*inputs[1:4], np.zeros(1, np.float32)]
        inputs[index] = value
        store(tmp_path, f"wrong-{number}", inputs, outputs)
    done = replayed(tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{len(calls) + len(WRONG)} calls\n"
