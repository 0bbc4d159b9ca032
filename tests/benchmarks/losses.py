"""Milliseconds of a loss and its gradient: ours against MindSpore's own, in PyNative and compiled."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tests.benchmarks.measure import Report, median

SHAPES = ((8192, 10), (64, 80, 4096))
# Whether PyNative waits for each kernel.
MODES = {"PyNative": False, "PyNative, synchronised": True, "compiled": True}


def run(quick: bool) -> Report:
    """Each loss in turn, round after round, for each shape and mode."""
    import mindspore as ms

    rounds = 3 if quick else 9
    rows, samples = [], {}
    for shape in SHAPES:
        for mode, synchronize in MODES.items():
            ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=synchronize)
            seconds = take_turns(steps(shape, compiled=mode == "compiled"), rounds)
            for name, measured in seconds.items():
                samples[f"{name} {shape} {mode}"] = measured
            rows += [
                {
                    "shape": str(shape),
                    "mode": mode,
                    "loss": loss,
                    "losses ms": 1000 * median(seconds[f"losses.{loss}"]),
                    "mindspore.nn ms": 1000 * median(seconds[f"nn.{loss}"]),
                    "losses / nn": median(
                        [
                            ours / stock
                            for ours, stock in zip(
                                seconds[f"losses.{loss}"], seconds[f"nn.{loss}"], strict=True
                            )
                        ]
                    ),
                }
                for loss in ("FocalLoss", "CrossEntropyLoss")
            ]
    notes = (
        "Value and gradient of the mean by value_and_grad, labels as indices, no weights, gamma 2.",
        f"Medians of {rounds} rounds after two to warm up; in a round the four losses take turns, in one process.",
        "The ratio is the median of the rounds' ratios, which a machine with other work disturbs less.",
        "Synchronised is set_context(pynative_synchronize=True), which a CPU is faster with; compiled is ms.jit.",
        "losses/ checks its input and is right to 1e-5 down to losses of 1e-30, which nn is not.",
    )
    return Report("Losses: ms of value and gradient", rows, notes, samples)


def steps(shape: tuple[int, ...], *, compiled: bool) -> dict[str, Callable[[], None]]:
    """What is measured, by name: each computes a value and a gradient and waits for both."""
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn

    import losses

    random = np.random.default_rng(0)
    logits = Tensor(random.normal(size=shape).astype(np.float32))
    labels = Tensor(random.integers(0, shape[1], shape[:1] + shape[2:]).astype(np.int32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nn.FocalLoss is deprecated
        cells = {
            "losses.FocalLoss": (losses.FocalLoss(), labels.expand_dims(1)),
            "nn.FocalLoss": (nn.FocalLoss(), labels.expand_dims(1)),
            "losses.CrossEntropyLoss": (losses.CrossEntropyLoss(), labels),
            "nn.CrossEntropyLoss": (nn.CrossEntropyLoss(), labels),
        }

    def step(cell: Any, labels: Any) -> Callable[[], None]:
        gradient = ms.value_and_grad(cell)

        def value_and_gradient(logits: Tensor, labels: Tensor) -> Any:
            return gradient(logits, labels)

        function = ms.jit(value_and_gradient) if compiled else value_and_gradient

        def call() -> None:
            for result in function(logits, labels):
                result.asnumpy()

        return call

    return {name: step(*given) for name, given in cells.items()}


def take_turns(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step in every round, after two rounds to warm up."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 2):
        for name, call in steps.items():
            start = time.perf_counter()
            call()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds
