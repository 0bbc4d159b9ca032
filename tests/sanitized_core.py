"""Calls of the native core, compiled with the sanitizers of addresses and of undefined behaviour.

    python sanitized_core.py LIBRARY FOLDER

FOLDER has a file for each call: the inputs of `train_epoch` and its outputs, anything where the call is wrong.
In a process of its own, since the library of the sanitizer must be the first that a process loads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from lossfleet.runners.training.native import build
from lossfleet.runners.training.native.call import Call

OUTPUTS = 4


def replay(path: Path) -> None:
    """Do a call, and one of `predict_logits` with what it trained."""
    with np.load(path) as stored:
        arrays = [stored[f"arr_{index}"] for index in range(len(stored.files))]
    inputs, expected = arrays[:-OUTPUTS], arrays[-OUTPUTS:]
    outputs = [np.empty_like(each) for each in expected]
    call = Call("train_epoch", *inputs, *outputs)
    if path.stem.startswith("wrong"):
        try:
            call()
        except ValueError:
            return
        raise AssertionError(f"{path.stem} was not refused")
    call()
    for found, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5, err_msg=path.stem)
    logits = np.empty((int(inputs[8].size), len(inputs[4])), np.float32)
    Call("predict_logits", inputs[0], outputs[0], inputs[4], logits)()
    assert np.isfinite(logits).all(), path.stem


if __name__ == "__main__":
    library = Path(sys.argv[1])
    build.library = lambda source: library
    paths = sorted(Path(sys.argv[2]).glob("*.npz"))
    for each in paths:
        replay(each)
    print(len(paths), "calls")
