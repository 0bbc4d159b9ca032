"""Milliseconds a model-epoch: both engines, PyTorch eager and stacked, MindSpore's default mode."""

from __future__ import annotations

import os

from tests.benchmarks.measure import HAS_TORCH, NO_TORCH, Report, in_turn, median, peers
from tests.benchmarks.peers import FLOPS, SGEMM_SIZE


def run(quick: bool) -> list[Report]:
    """Every peer in turn, round after round, for each number of models."""
    sizes, rounds = ((1,), 1) if quick else ((1, 16, 64, 256, 1024), 9)
    cores = len(os.sched_getaffinity(0))
    singles = ("torch_eager", "solo", "pynative") if HAS_TORCH else ("solo", "pynative")
    rows, samples = [], {}
    with peers(sgemm=("sgemm",), **{name: (name,) for name in singles}) as single:
        for models in sizes:
            processes = min(cores, models)
            stacked: dict[str, tuple[object, ...]] = {
                "native": ("native", models),
                "fleet": ("fleet", models),
                "fleet_a_core": ("fleet", models, processes),
            }
            if HAS_TORCH:
                stacked["torch"] = ("torch_stacked", models)
                stacked["torch_1_thread"] = ("torch_stacked_1_thread", models)
                stacked["torch_a_core"] = ("torch_stacked_1_thread", models, processes)
            with peers(**stacked) as started:
                seconds = in_turn(started | single, rounds)
            for name, measured in seconds.items():
                samples[f"{name} K={models}"] = measured
            # An epoch of the stacked peers trains all models, one of the others trains one.
            ms = {name: 1000 * median(seconds[name]) / models for name in stacked}
            ms |= {name: 1000 * median(seconds[name]) for name in singles}
            rows.append(row(models, ms, 2 * SGEMM_SIZE**3 / median(seconds["sgemm"])))
    notes = (
        "A model-epoch: 400 rows, 30 features, 2 classes, MLP 32-32, batches of 64, AdamW, focal loss.",
        f"Medians of {rounds} rounds; in a round the peers take turns, each in processes of its own.",
        "A process a core: the models are shared among processes that are pinned to a core each and train at "
        "the same time; the slowest counts. Native is one process with a thread a core. Ratios take the faster engine.",
        "PyTorch eager, MindSpore solo and default train one model, measured anew beside each of the others.",
        "PyTorch stacked is the faster of its default threads and 1 thread; no PyTorch program does by itself "
        "what its last column shows.",
        "MindSpore solo is lossfleet's solo engine; default is the same without synchronised launches.",
        "The limit is the work's floating point operations at the speed of a large sgemm (NumPy).",
        *(() if HAS_TORCH else (NO_TORCH,)),
    )
    return [Report("Kernel: ms a model-epoch", rows, notes, samples)]


def row(models: int, ms: dict[str, float], flops: float) -> dict[str, object]:
    """A row of the table, of the milliseconds of every peer; without PyTorch it lacks PyTorch's columns."""
    fastest = min(ms["native"], ms["fleet"], ms["fleet_a_core"])
    columns: dict[str, object] = {
        "models": models,
        "native": ms["native"],
        "graph fleet, 1 process": ms["fleet"],
        "graph fleet, a process a core": ms["fleet_a_core"],
        "MindSpore solo": ms["solo"],
        "MindSpore default": ms["pynative"],
        "arithmetic limit": 1000 * FLOPS / flops,
        "default / lossfleet": ms["pynative"] / fastest,
        "sgemm GFLOP/s": flops / 1e9,
    }
    if HAS_TORCH:
        stacked = min(ms["torch"], ms["torch_1_thread"])
        columns |= {
            "PyTorch stacked": stacked,
            "PyTorch stacked, a process a core": ms["torch_a_core"],
            "PyTorch eager": ms["torch_eager"],
            "eager / lossfleet": ms["torch_eager"] / fastest,
            "stacked / lossfleet": stacked / fastest,
        }
    return columns
