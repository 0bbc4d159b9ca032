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

# For each shape the rounds, and the calls of a measurement, after as many that settle what other losses left.
SHAPES = {(8192, 10): (25, 10), (64, 80, 4096): (9, 1)}
QUICK_SHAPES = {(97, 5): (1, 1)}
# Whether PyNative waits for each kernel.
MODES = {"PyNative": False, "PyNative, synchronised": True, "compiled": True}
# Which of a value and its gradient is waited for first.
VALUE_FIRST, GRADIENT_FIRST = (0, 1), (1, 0)

Step = Callable[[], Any]


def run(quick: bool) -> list[Report]:
    """Each loss in turn, round after round, for each shape, and each mode in a process of its own."""
    rows, samples = [], {}
    shapes = QUICK_SHAPES if quick else SHAPES
    for shape, (rounds, calls) in shapes.items():
        for mode in MODES:
            # A mode's threads look for work long after, and disturb the next.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                seconds = process.submit(measure, shape, mode, rounds, calls).result()
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
        f"Medians of {' or '.join(str(rounds) for rounds, _ in shapes.values())} rounds, in which the four losses take "
        f"turns, each with {' or '.join(str(calls) for _, calls in shapes.values())} calls one after another and as "
        "many before them; before the first round each was called 12 times, which compiles what is compiled.",
        "The ratio is the median of the rounds' ratios, which a machine with other work disturbs less.",
        "Value and gradient are read in the order that is faster for each loss, both being measured: on two cores, who "
        "waits for what is computed first keeps a core from the rest, and the scheduler takes steps of 4 ms.",
        "Synchronised is set_context(pynative_synchronize=True), which a CPU is faster with; compiled is ms.jit.",
        "losses/ checks its input and is right to 1e-5 down to losses of 1e-30, which nn is not.",
    )
    return [Report("Losses: ms of value and gradient", rows, notes, samples)]


def measure(shape: tuple[int, ...], mode: str, rounds: int, times: int) -> dict[str, list[float]]:
    """Seconds of a call of every loss in every round, of so many calls, in a process that does nothing else."""
    import mindspore as ms

    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=MODES[mode])
    seconds: dict[str, list[float]] = defaultdict(list)
    calls = steps(shape, compiled=mode == "compiled")
    for call in calls.values():
        repeat(call, VALUE_FIRST, 12)
    for _ in range(rounds):
        for name, call in calls.items():
            each = [settled(call, order, times) for order in (VALUE_FIRST, GRADIENT_FIRST)]
            seconds[name].append(min(each))
    return dict(seconds)


def settled(call: Step, order: tuple[int, int], times: int) -> float:
    """Seconds of one of so many calls, after as many others."""
    repeat(call, order, times)
    return repeat(call, order, times)


def repeat(call: Step, order: tuple[int, int], times: int) -> float:
    """Seconds of one of so many calls, each read before the next."""
    start = time.perf_counter()
    for _ in range(times):
        results = call()
        for place in order:
            results[place].asnumpy()
    return (time.perf_counter() - start) / times


def steps(shape: tuple[int, ...], *, compiled: bool) -> dict[str, Step]:
    """What is measured, by name: each begins a value and a gradient."""
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn

    from lossfleet import losses

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

    def step(cell: Any, labels: Any) -> Step:
        gradient = ms.value_and_grad(cell)

        def value_and_gradient(logits: Tensor, labels: Tensor) -> Any:
            return gradient(logits, labels)

        function = ms.jit(value_and_gradient) if compiled else value_and_gradient

        return lambda: function(logits, labels)

    return {name: step(*given) for name, given in cells.items()}
