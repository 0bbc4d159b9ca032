"""Milliseconds of a loss and its gradient: ours against MindSpore's own, in PyNative and compiled."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from tests.benchmarks.measure import Report, median

# How many calls a measurement has, for each shape, after as many that settle what other losses left.
SHAPES = {(8192, 10): 20, (64, 80, 4096): 2}
# Whether PyNative waits for each kernel.
MODES = {"PyNative": False, "PyNative, synchronised": True, "compiled": True}


def run(quick: bool) -> Report:
    """Each loss in turn, round after round, for each shape, and each mode in a process of its own."""
    rounds = 3 if quick else 9
    rows, samples = [], {}
    for shape in SHAPES:
        for mode in MODES:
            # A mode's threads look for work long after, and disturb the next.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                seconds = process.submit(measure, shape, mode, rounds).result()
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
        f"Medians of {rounds} rounds, in which the four losses take turns, each with "
        f"{' or '.join(map(str, SHAPES.values()))} calls one after another and as many before them; "
        "before the first round each was called 12 times, which compiles what is compiled.",
        "The ratio is the median of the rounds' ratios, which a machine with other work disturbs less.",
        "The gradient is read before the value: whoever waits for a graph's value keeps a core from it.",
        "Synchronised is set_context(pynative_synchronize=True), which a CPU is faster with; compiled is ms.jit.",
        "losses/ checks its input and is right to 1e-5 down to losses of 1e-30, which nn is not.",
    )
    return Report("Losses: ms of value and gradient", rows, notes, samples)


def measure(shape: tuple[int, ...], mode: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of a call of every loss in every round, in a process that does nothing else."""
    import mindspore as ms

    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=MODES[mode])
    seconds: dict[str, list[float]] = defaultdict(list)
    calls = steps(shape, compiled=mode == "compiled")
    for call in calls.values():
        repeat(call, 12)
    for _ in range(rounds):
        for name, call in calls.items():
            repeat(call, SHAPES[shape])
            seconds[name].append(repeat(call, SHAPES[shape]))
    return dict(seconds)


def repeat(call: Callable[[], None], times: int) -> float:
    """Seconds of one of so many calls."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


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
            for result in reversed(function(logits, labels)):
                result.asnumpy()

        return call

    return {name: step(*given) for name, given in cells.items()}
