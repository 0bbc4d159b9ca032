"""Milliseconds a model-epoch: the fleet, PyTorch eager and stacked, MindSpore's default mode."""

from __future__ import annotations

import time
from collections import defaultdict

from tests.benchmarks.measure import Report, median, peers
from tests.benchmarks.peers import FLOPS, SGEMM_SIZE

STACKED = ("fleet", "torch_stacked", "torch_stacked_1_thread")
# Time for the threads of the peer before to fall asleep.
PAUSE = 0.1


def run(quick: bool) -> Report:
    """Every peer in turn, round after round, for each number of models."""
    sizes, rounds = ((1, 16, 64), 3) if quick else ((1, 16, 64, 256, 1024), 9)
    rows, samples = [], {}
    with peers(torch_eager=1, solo=1, pynative=1, sgemm=1) as single:
        for models in sizes:
            seconds: dict[str, list[float]] = defaultdict(list)
            with peers(**dict.fromkeys(STACKED, models)) as stacked:
                for _ in range(rounds):
                    for name, peer in (stacked | single).items():
                        time.sleep(PAUSE)
                        seconds[name].append(peer.seconds())
            for name, measured in seconds.items():
                samples[f"{name} K={models}"] = measured
            # An epoch of the stacked peers trains all models, one of the others trains one.
            ms = {name: 1000 * median(seconds[name]) / models for name in STACKED}
            ms |= {name: 1000 * median(seconds[name]) for name in ("torch_eager", "solo", "pynative")}
            threaded, single_thread = ms["torch_stacked"], ms["torch_stacked_1_thread"]
            flops = 2 * SGEMM_SIZE**3 / median(seconds["sgemm"])
            limit = 1000 * FLOPS / flops
            rows.append(
                {
                    "models": models,
                    "fleet ms": ms["fleet"],
                    "torch stacked ms": threaded,
                    "on 1 thread ms": single_thread,
                    "torch eager ms": ms["torch_eager"],
                    "MindSpore solo ms": ms["solo"],
                    "MindSpore default ms": ms["pynative"],
                    "limit ms": limit,
                    "stacked / fleet": min(threaded, single_thread) / ms["fleet"],
                    "eager / fleet": ms["torch_eager"] / ms["fleet"],
                    "default / fleet": ms["pynative"] / ms["fleet"],
                    "fleet / limit": ms["fleet"] / limit,
                    "sgemm GFLOP/s": flops / 1e9,
                }
            )
    notes = (
        "A model-epoch: 400 rows, 30 features, 2 classes, MLP 32-32, batches of 64, AdamW, focal loss.",
        f"Medians of {rounds} rounds; in a round the peers take turns, each in a process of its own.",
        "Torch eager, MindSpore solo and default train one model, measured anew beside each of the others.",
        "Torch stacked runs with torch's default threads and on 1; the ratio takes the faster.",
        "MindSpore solo is lossfleet's solo engine; default is the same without synchronised launches.",
        "The limit is the work's floating point operations at the speed of a large sgemm (torch).",
    )
    return Report("Kernel: ms a model-epoch", rows, notes, samples)
